"""Every number that advice cites is in the page or the table that it cites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finetune.advice.conditions import STOP
from finetune.advice.evidence import EVIDENCE
from leaderboards.gate.policy import DEFAULT_MARGIN
from leaderboards.published import read_publications

ROOT = Path(__file__).parents[3]
NUMBERS = re.compile(r"(?<![\w.-])\d+\.\d+|(?<![\w.-])\d+(?= %)")
"""Figures: numbers with a decimal, and whole ones in percent."""


def section(page: str, anchor: str) -> str:
    """The text below the heading with an anchor, up to the next one of its level or above."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for level in (2, 3):
        parts = re.split(rf"^(?=#{{2,{level}}} )", text, flags=re.MULTILINE)
        slugs = {re.sub(r"[^a-z0-9]+", "-", part.splitlines()[0].lower()).strip("-"): part for part in parts}
        explicit = next((part for part in parts if f"{{#{anchor}}}" in part.splitlines()[0]), None)
        if found := explicit or slugs.get(anchor):
            return found
    raise AssertionError(f"{page} has no {anchor}")


def figures(says: str) -> list[str]:
    return NUMBERS.findall(says)


@pytest.mark.parametrize("key", [key for key, one in EVIDENCE.items() if one.source.startswith("docs/")])
def test_figures_of_pages(key: str) -> None:
    page, _, anchor = EVIDENCE[key].source.partition("#")
    text = section(page, anchor)
    assert figures(EVIDENCE[key].says)
    for figure in figures(EVIDENCE[key].says):
        if key == "hybrid-small" and figure == "30":  # the run's name says it: hybrid-30
            assert "hybrid-30" in text
        elif key in ("replay",) and figure == "10":  # as the command's table of ways has it
            assert '"ratio": 0.1' in (ROOT / "tools" / "remedies.py").read_text()
        elif key == "parts-small" and figure in ("74.4", "73.6", "76.2", "49.4"):
            assert f" {figure} " in section(page, "all-numbers")
        else:
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d]|\.\d)", text), (key, figure)


@pytest.mark.parametrize("key", [key for key, one in EVIDENCE.items() if "2309.10313" in one.source])
def test_figures_of_emts_tables(key: str) -> None:
    numbers = {int(number) for number in re.findall(r"\d+", EVIDENCE[key].source.partition("table")[2])}
    emt = next(paper for paper in read_publications() if paper.arxiv.startswith("2309.10313"))
    printed = {
        f"{value:.1f}"
        for table in emt.tables
        if table.number in numbers
        for row in table.rows
        if row.method in (None, "linear", "lora") and "13b" not in row.model
        for value in row.accuracy.values()
    }
    assert figures(EVIDENCE[key].says)
    assert set(figures(EVIDENCE[key].says)) <= printed


def test_emts_figures_are_of_the_rows_that_are_named() -> None:
    """By hand from tables 3 and 4: the projector and LoRA after CIFAR-10, and each on miniImageNet itself."""
    emt = next(paper for paper in read_publications() if paper.arxiv.startswith("2309.10313"))
    rows = {row.model: row.accuracy for table in emt.tables for row in table.rows}
    linear, lora = (rows[f"LLaVA-7b, {way}, CIFAR-10, 3 epochs"] for way in ("linear", "LoRA"))
    own = [rows[f"LLaVA-7b, {way}, miniImageNet, 3 epochs"]["emt_miniimagenet"] for way in ("linear", "LoRA")]
    pairs = [f"{linear[task]:.1f} and {lora[task]:.1f}" for task in ("emt_cifar10", "emt_miniimagenet", "emt_mnist")]
    for pair in (*pairs, f"{own[0]:.1f} and {own[1]:.1f}"):
        assert pair in EVIDENCE["projector"].says
    once = rows["LLaVA-7b, linear, CIFAR-10, 1 epoch"]
    for task in ("emt_cifar10", "emt_miniimagenet", "emt_cifar100"):
        assert f"{once[task]:.1f} to {linear[task]:.1f}" in EVIDENCE["epochs"].says
    first = rows["LLaVA-7b, linear, miniImageNet, 1 epoch"]["emt_miniimagenet"]
    assert f"{first:.1f} to {own[0]:.1f}" in EVIDENCE["epochs"].says


def test_the_paper_whose_figures_are_not_at_hand_is_cited_without_any_result() -> None:
    """Its captions name a rate, and shares of other data; no accuracy."""
    for one in (one for one in EVIDENCE.values() if "2603.14493" in one.source):
        assert set(figures(one.says)) <= {"70"}
        assert "not at hand" in one.scale


def test_training_stops_where_the_gate_would_fail() -> None:
    assert STOP == DEFAULT_MARGIN

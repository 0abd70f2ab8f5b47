"""What goes into a repository on the hub: a model's results and report, or a leaderboard as a static Space.

Here the files are made; `push` and `hosts` send them. A model's card that is there already is kept: its metadata gets
our results, its text one section between two marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import ModelCard

from emt_core.errors import UserError, one_line
from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.markdown import escape, render
from leaderboards.exports.model_index import eval_results
from leaderboards.exports.run import export
from leaderboards.exports.settings import ExportSettings
from leaderboards.gate.decide import GateResult
from leaderboards.gate.output import sentence
from leaderboards.report.forest import as_svg, of_gate

CARD = "README.md"
FOLDER = "emt-eval"
"""Where a model's repository gets what is ours alone."""

INDEX, REPORTS = "index.html", "reports"
"""A leaderboard's page, and the folder of its reports."""

SITE_MARK = '<meta name="generator" content="emt-eval">'
"""What tells a leaderboard's page from somebody else's."""

TAG = "emt-eval"
BEGIN, END = "<!-- emt-eval: begin -->", "<!-- emt-eval: end -->"

_REPORT = re.compile(rf"{REPORTS}/[0-9]+-[^/]+\.html")
_SHOWN = re.compile(rf"{FOLDER}/(report\.html|forgetting\.svg)")
_SECTION = re.compile(rf"\n*{BEGIN}.*?{END}\n*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tested:
    """A model's verdict against its base, and the report's file if it is published too."""

    result: GateResult
    report: Path | None


def model_files(
    summary: RunSummary, settings: ExportSettings, card: str | None, tested: Tested | None
) -> tuple[dict[str, bytes], list[str]]:
    """Return the files of a model's repository, and what could not be made.

    Args:
        summary: the model's run.
        settings: the model's name and its data sets on the hub.
        card: the card that is there, None if there is none.
        tested: the verdict against the base, if there is one.

    Raises:
        UserError: the card that is there cannot be read.
    """
    files: dict[str, bytes] = {}
    notes = []
    with TemporaryDirectory() as scratch:
        try:
            for file in export(summary, "hf-eval-results", Path(scratch), settings):
                # A name of our own: another's file about the same data set stays.
                files[f".eval_results/{FOLDER}-{file.name}"] = file.read_bytes()
        except UserError as error:
            notes.append(f"no .eval_results: {error}")
    if tested is not None:
        files[f"{FOLDER}/forgetting.svg"] = as_svg(of_gate(tested.result)).encode()
        if tested.report is not None:
            files[f"{FOLDER}/report.html"] = tested.report.read_bytes()
    files[CARD] = _card(summary, settings, card, _section(summary, settings, tested)).encode()
    return files, notes


def site_files(site: Path) -> dict[str, bytes]:
    """Return the files of a leaderboard's site."""
    return {file.relative_to(site).as_posix(): file.read_bytes() for file in sorted(site.rglob("*")) if file.is_file()}


def space_files(site: Path, title: str, card: str | None) -> dict[str, bytes]:
    """Return the files of a static Space that shows a site; a card that is there stays.

    Raises:
        UserError: what is there is not ours.
    """
    if card is not None and TAG not in (_metadata(card).get("tags") or ()):
        raise UserError(f"--to {title}: that Space has a card without the tag {TAG}, so it is not replaced")
    files = site_files(site)
    if card is None:
        files[CARD] = _SPACE.format(title=title.rpartition("/")[2], tag=TAG).encode()
    return files


def stale_files(names: Iterable[str], files: Mapping[str, bytes], *, site: bool) -> list[str]:
    """Return which files of an earlier push are to go, since this one has none of that name.

    Of a site these are reports; of a model, the report and the picture, which its card no longer shows. A model's
    scores stay: another run of it may have brought them.
    """
    pattern = _REPORT if site else _SHOWN
    return sorted(name for name in names if pattern.fullmatch(name) and name not in files)


_SPACE = """\
---
title: {title}
emoji: 🧭
colorFrom: green
colorTo: blue
sdk: static
pinned: false
tags: [{tag}, leaderboard]
---

What fine-tuned multimodal LLMs forgot, model by model, with intervals. Made by emt-eval.
"""


def _card(summary: RunSummary, settings: ExportSettings, card: str | None, section: str) -> str:
    name = str(settings.model)
    parsed = _parse(card if card is not None else f"---\npipeline_tag: image-text-to-text\n---\n\n# {name}\n")
    ours = eval_results(summary, settings)
    known = {result.unique_identifier for result in ours}
    others = [result for result in parsed.data.eval_results or [] if result.unique_identifier not in known]
    parsed.data.eval_results = [*others, *ours]
    parsed.data.model_name = parsed.data.model_name or name.rpartition("/")[2]
    without = _SECTION.sub("\n\n", parsed.text).rstrip()
    parsed.text = f"{without}\n\n{BEGIN}\n{section}\n{END}\n"
    return str(parsed)


def _section(summary: RunSummary, settings: ExportSettings, tested: Tested | None) -> str:
    parts = ["## Evaluation\n", render(summary, settings)]
    if tested is not None:
        base = escape(tested.result.comparison.base.name)
        parts.append(f"### What it forgot, compared with {base}\n")
        parts.append(f"{escape(sentence(tested.result))}\n")
        parts.append(f"![Forgetting by task, with intervals and margins]({FOLDER}/forgetting.svg)\n")
        if tested.report is not None:
            parts.append(f"[The report]({FOLDER}/report.html), with every answer that it shows.\n")
    return "\n".join(parts).rstrip()


def _parse(card: str) -> Any:
    try:
        return ModelCard(card)
    except Exception as error:
        raise UserError(f"{CARD}: the card that is there cannot be read: {one_line(error)}") from error


def _metadata(card: str) -> Mapping[str, Any]:
    return dict(_parse(card).data.to_dict())

"""The leaderboard: its table, its command, and the page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.summary import summarise
from leaderboards.gate.policy import Policy
from leaderboards.published import read_publications
from leaderboards.report.candidates import parse_candidates
from leaderboards.site.build import build_site
from leaderboards.site.families import families_of
from tests.support.layout import WIDTHS, faint, faults, overlapping
from tests.support.synthetic_runs import judged_sample, write_run


def _run(folder: Path, name: str, **right: int) -> str:
    rows = {
        task: [judged_sample(i, "correct" if i < n else "unscored" if i == 199 else "incorrect") for i in range(200)]
        for task, n in right.items()
    }
    return str(write_run(folder / name, rows, name="<i>model").parent)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two candidates and a run of one task against a base, with their encoder, beside the published results."""
    base = _run(tmp_path, "base", emt_mnist=100, imagenet_vqa=120)
    good = _run(tmp_path, "good", emt_mnist=100, imagenet_vqa=190)
    bad = _run(tmp_path, "bad", emt_mnist=20, imagenet_vqa=190)
    small = _run(tmp_path, "small", emt_mnist=100)
    named = parse_candidates([_run(tmp_path, "clip", emt_mnist=160), base, good, bad, small])
    out = tmp_path / "site"
    written = build_site(named[2:], out, base=named[1], encoder=named[0], policy=Policy(margin=5.0))
    assert [path.relative_to(out).as_posix() for path in written] == [
        "index.html",
        "reports/01-good.html",
        "reports/02-bad.html",
        "reports/03-small.html",
    ]
    return out


def test_the_page_needs_no_other_file(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src)\s*=|@import|url\(""", page)
    links = set(re.findall(r'href="([^"]+)"', page))
    assert links == {
        "https://arxiv.org/abs/2510.08564v2",
        "reports/01-good.html",
        "reports/02-bad.html",
        "reports/03-small.html",
        "https://arxiv.org/abs/2309.10313v3",
        "https://arxiv.org/abs/2603.14493",
    }
    assert "&lt;i&gt;model" in page
    assert "<i>model" not in page


def test_the_same_runs_give_the_same_bytes(site: Path, tmp_path: Path) -> None:
    named = parse_candidates([str(tmp_path / name) for name in ("clip", "base", "good", "bad", "small")])
    again = tmp_path / "again"
    build_site(named[2:], again, base=named[1], encoder=named[0], policy=Policy(margin=5.0))
    assert (again / "index.html").read_bytes() == (site / "index.html").read_bytes()


def _shown(page: Any) -> list[str]:
    """The families whose tables are seen."""
    return [heading.inner_text() for heading in page.locator(".family h2").all() if heading.is_visible()]


def _names(page: Any) -> list[str]:
    return page.locator(".board tbody tr:not([data-heading]):visible td:first-child bdi").all_inner_texts()


def test_families_are_tabs_without_javascript(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html", scripts=False)
    assert _shown(page) == ["Forgetting matrix"]
    page.locator("label", has_text="EMT").click()
    assert _shown(page) == ["EMT"]
    # By keyboard: the arrows choose, as in any group of radio buttons.
    page.locator("#family-2").focus()
    page.keyboard.press("ArrowLeft")
    assert _shown(page) == ["Forgetting matrix"]
    assert page.locator("#family-1 + label").evaluate("label => getComputedStyle(label).outlineStyle") == "solid"
    assert page.get_by_role("radio", name="EMT").count() == 1
    assert page.get_by_role("group", name="Tasks").count() == 1
    assert not page.locator(".controls").is_visible()  # search needs a script
    page.emulate_media(media="print")
    assert _shown(page) == ["Forgetting matrix", "EMT"]
    assert not page.locator(".tabs").is_visible()


def test_a_model_without_a_value_in_the_family_is_left_out(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    assert _names(page) == ["base", "good", "bad"]
    assert page.inner_text("#shown") == "3 of 3 models"
    assert "Not evaluated on these tasks: clip and small." in page.inner_text("#tasks-1")
    heads = page.locator("#tasks-1 thead th").all_inner_texts()
    assert [head.split("\n")[0].strip() for head in heads] == ["model", "ID text × ID image", "imagenet_vqa"]
    page.locator("label", has_text="EMT").click()
    assert page.inner_text("#shown") == "55 of 55 models"  # 5 runs and the paper's 50
    assert page.locator("#tasks-2 thead th").count() == 5
    assert "Not evaluated" not in page.inner_text("#tasks-2")


def test_own_runs_are_pinned_and_encoders_stand_with_their_models(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    page.locator("label", has_text="EMT").click()
    parts = page.locator("#tasks-2 tbody")
    headings = ["Your runs", "CLIP ViT-L-14 and its fine-tunes", "ViT-L-14 CLIP and the MLLMs built on it"]
    assert parts.locator("[data-heading]").all_inner_texts()[:3] == headings
    assert _names(page)[:5] == ["clip", "base", "good", "bad", "small"]
    colour = "cell => getComputedStyle(cell).backgroundColor"
    own, other = (parts.nth(index).locator("td").first.evaluate(colour) for index in (0, 1))
    assert own != other
    # LLaVA stands below its encoder; 77.36 − 56.96, and fine-tuned on MNIST 77.36 − 98.03.
    built = parts.nth(2).locator("tr:not([data-heading])")
    assert built.first.inner_text().split("\n")[0] == "ViT-L-14 CLIP"
    assert "gap" not in built.first.inner_text()
    mnist = dict(zip(_names(page)[14:], built.locator("td:nth-child(2)").all_inner_texts(), strict=False))
    assert mnist["LLaVA-7b"] == "57.0\ngap 20.4"
    assert mnist["LLaVA-7b, linear, MNIST, 3 epochs"] == "98.0\ngap −20.7"
    # Sorted by the encoder's own best column, the user's runs stay first.
    page.locator("#tasks-2 th", has_text="emt_").first.get_by_role("button").click()
    assert _names(page)[:5] == ["clip", "base", "good", "small", "bad"]
    assert parts.first.get_attribute("class") == "own"


def test_own_gaps_are_of_the_documents_that_both_scored(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    # No run of the encoder has a value here: no gap is known, which is not 0.
    assert page.locator("#tasks-1 .gap").all_inner_texts() == ["gap –"] * 6
    page.locator("label", has_text="EMT").click()
    first, second = (page.locator("#tasks-2 .own tr").nth(index).locator("td").nth(1) for index in (1, 2))
    assert "gap" not in first.inner_text()
    # Of 199 that both scored, 160 and 100: 80.4 and 50.3 %, Wilson's interval of the latter 43.4 to 57.1.
    assert first.inner_text().startswith("80.4\n")
    lines = second.inner_text().split("\n")
    assert lines[:4] == ["50.3", "43.4 to 57.1", "n = 199, 1 unscored", "gap 30.2"]
    low, high = map(float, lines[4].split(" to "))
    assert 20 < low < 30.2 < high < 40


def test_it_sorts_filters_and_links(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    page.locator("label", has_text="EMT").click()
    page.locator("#tasks-2 th", has_text="mnist").get_by_role("button").click()
    for part in page.locator("#tasks-2 tbody").all():
        values = part.locator("td:nth-child(2)").evaluate_all(_VALUES)
        assert values == sorted(values, reverse=True)
    best = [part.locator("td:nth-child(2)").evaluate_all(_VALUES)[0] for part in page.locator("#tasks-2 tbody").all()]
    assert best[1:] == sorted(best[1:], reverse=True)
    page.uncheck("#published")
    assert page.inner_text("#shown") == "5 of 55 models"
    assert page.locator("#tasks-2 tbody:visible").count() == 1
    page.fill("#search", "bad")
    assert _names(page) == ["bad"]
    row = page.locator("#tasks-2 .own tr:visible").last
    assert "report: forgetting" in row.inner_text()
    assert row.locator("a").get_attribute("href") == "reports/02-bad.html"
    assert (site / "reports" / "02-bad.html").is_file()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(site: Path, open_page: Callable[..., Any], width: int, scheme: str) -> None:
    page = open_page(site / "index.html", width=width, scheme=scheme)
    for number in (1, 2):
        page.locator(f"#family-{number} + label").click()
        assert page.locator("table.board:visible").count() == 1
        assert faults(page) == []
        assert overlapping(page) == []
        assert faint(page) == []


def test_it_fits_on_paper(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html", width=718)  # A4 without its margins
    page.emulate_media(media="print")
    assert faults(page) == []


def test_families_of_tasks(tmp_path: Path) -> None:
    rows = [judged_sample(i, "correct") for i in range(4)]
    names = ("emt_mnist_lite", "imagenet_vqa", "flowers102", "imagewikiqa_distractor", "mine", "yours", "alone")
    groups = {"forgetting_matrix": names[1:4], "ours": names[4:6], "small": names[4:5]}
    run = write_run(tmp_path, dict.fromkeys(names, rows), groups=groups)
    families = families_of([summarise(read_run(run))], read_publications())
    assert {name: families[name] for name in names} == {
        "emt_mnist_lite": "EMT",
        "imagenet_vqa": "Forgetting matrix",
        "flowers102": "Forgetting matrix",
        "imagewikiqa_distractor": "Forgetting matrix",
        "mine": "ours",
        "yours": "ours",
        "alone": "Other tasks",
    }


def test_without_a_base_or_the_papers(tmp_path: Path) -> None:
    runs = parse_candidates([_run(tmp_path, "only", emt_mnist=10)])
    (index,) = build_site(runs, tmp_path / "site", published=False)
    page = index.read_text(encoding="utf-8")
    shown = page.split("</style>")[1].split("<script>")[0].lower()
    for absent in ("published", "arxiv", "gap", 'type="radio"'):
        assert absent not in shown


def test_an_existing_site_is_kept(site: Path, tmp_path: Path) -> None:
    runs = parse_candidates([str(tmp_path / "good")])
    with pytest.raises(UserError, match=r"index\.html already exists"):
        build_site(runs, site)
    build_site(runs, site, overwrite=True)


_VALUES = "cells => cells.map((cell) => Number(cell.dataset.value))"

"""The report in a real headless Chromium, without a network."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from emt_tasks.commands.app import main
from tests.leaderboards.comparison.test_training import look, write_log
from tests.support.hostile import HOSTILE
from tests.support.layout import WIDTHS, faint, faults, overlapping
from tests.support.synthetic_runs import judged_sample, write_counts, write_run


def _shown(text: str) -> str:
    return text.replace("\x00", "␀").replace("\x1b", "␛")[:2000]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose candidate answers with what a page must not obey, over two tasks of 60 classes."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = list(HOSTILE.values())
    names = [f"class {i:02}" for i in range(59)] + ["<b>class</b>\u202e"]
    base, candidate = [], []
    for i in range(600):
        given = {"target": names[i % 60], "prompt": "What is <i>this</i>?"}
        lost = i < 40
        text = texts[i] if i < len(texts) else f"answer {i}"
        base.append(judged_sample(i, "correct", text=f"right {i}", **given))
        kind = ("extrinsic" if i % 2 else "intrinsic") if lost else "correct"
        candidate.append(judged_sample(i, kind, text=text, **given))
    gained = [judged_sample(i, "incorrect") for i in range(200)], [judged_sample(i, "correct") for i in range(200)]
    watched = list(enumerate(("imagewikiqa", "flowers102", "x" * 60, "<i>x")))
    looks = [{"step": 5 * step, "probe": {task: look(1 - 0.01 * step * row, kl=0.1 * step * row)
                                          for row, task in watched}} for step in range(30)]  # fmt: skip
    write_log(folder / "weights", *looks)
    for name, rows, more in (("base", base, gained[0]), ("candidate", candidate, gained[1])):
        weights = f"pretrained={folder / 'weights'}" if name == "candidate" else None
        write_run(folder, {"imagewikiqa": rows, "flowers102": more}, name=name, model_args=weights)
    out = folder / "report.html"
    assert main(["report", str(folder / "base"), str(folder / "candidate"), "-o", str(out)]) == 0
    return out


def _choose_task(page: Any, part: str, name: str) -> None:
    page.select_option(f"#{part} label:has-text('Task') select", name)


def test_what_a_model_wrote_is_only_ever_text(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    _choose_task(page, "flips", "imagewikiqa")
    found = {}
    while True:
        for text in page.locator("#flips .answers > div:nth-child(2) bdi.foreign").all():
            found[text.evaluate("element => element.textContent")] = text
        following = page.locator("#flips .pager button", has_text="Next")
        if following.is_disabled():
            break
        following.click()
    for kind, text in HOSTILE.items():
        assert _shown(text) in found, kind
    assert page.evaluate("window.owned") is None
    assert page.title() == "What candidate forgot"
    assert page.locator("#flips .answers script, #flips .answers img, #flips .answers textarea").count() == 0


def test_a_very_long_answer_is_cut_with_its_length(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    _choose_task(page, "flips", "imagewikiqa")
    page.fill("#flips input[type=search]", "long answer")
    assert page.locator("#flips article").count() == 1
    assert "1\u202f080\u202f000 characters, the first 2\u202f000 shown" in page.inner_text("#flips article")
    assert report.stat().st_size < 1_000_000


def test_text_from_right_to_left_stays_in_its_box(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    _choose_task(page, "flips", "imagewikiqa")
    page.fill("#flips input[type=search]", "evil")
    box = page.locator("#flips .answers > div:nth-child(2) bdi.foreign").first
    assert box.evaluate("element => getComputedStyle(element).unicodeBidi") == "isolate"
    assert box.get_attribute("dir") == "auto"
    assert page.locator("#flips article .id").first.inner_text().endswith("· lost")


def test_flips_are_filtered_and_paged(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    _choose_task(page, "flips", "imagewikiqa")
    said = page.locator("#flips output")
    assert said.inner_text() == "1–10 of 40"
    assert page.locator("#flips article").count() == 10
    page.locator("#flips .pager button", has_text="Next").click()
    assert said.inner_text() == "11–20 of 40"
    page.select_option("#flips label:has-text('Candidate') select", "extrinsic")
    assert said.inner_text() == "1–10 of 20"
    assert {chip.inner_text() for chip in page.locator("#flips .answers > div:nth-child(2) .chip").all()} == {
        "extrinsic"
    }
    page.select_option("#flips label:has-text('Change') select", "gained")
    assert said.inner_text() == "No such sample"
    _choose_task(page, "flips", "flowers102")
    assert said.inner_text() == "1–10 of 200"
    assert page.evaluate("document.querySelectorAll('#flips *').length") < 1000  # of 200 samples ten are in the page


def test_classes_are_sorted_and_paged(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    _choose_task(page, "classes", "imagewikiqa")
    rows = page.locator("#classes tbody tr")
    assert rows.count() == 25
    assert page.locator("#classes output").inner_text() == "1–25 of 60 classes"
    assert page.locator("#classes th[aria-sort=descending]").inner_text().startswith("forgetting")
    assert [float(value) for value in rows.locator("td:nth-child(5)").all_inner_texts()] == [10.0] * 25
    page.click("#classes th:nth-child(1) button")
    assert rows.first.locator("td").first.inner_text() == "<b>class</b>\u202e"
    page.click("#classes th:nth-child(1) button")
    assert rows.first.locator("td").first.inner_text() == "class 58"


def test_all_numbers_sort_as_numbers(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report)
    button = page.locator("table.sortable thead button", has_text="forgetting").first
    column = button.locator("xpath=ancestor::table").locator("tbody td:nth-child(5)")
    button.click()
    assert [text.split("\n")[0] for text in column.all_inner_texts()] == ["6.7", "−100.0"]
    button.click()
    assert [text.split("\n")[0] for text in column.all_inner_texts()] == ["−100.0", "6.7"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(report: Path, open_page: Callable[..., Any], width: int, scheme: str) -> None:
    page = open_page(report, width=width, scheme=scheme)
    assert faults(page) == []
    assert overlapping(page) == []
    assert faint(page) == []


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recipes that end in one spot, one of which never leaves the base, and an encoder: every table there is."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def run(name: str, learnt: int, kept: int) -> str:
        return write_counts(
            folder / name, {"imagenet_vqa": learnt, "imagewikiqa": kept, "a_task_of_a_rather_long_name": kept}, 300
        )

    base, encoder = run("base", 150, 240), run("encoder", 280, 280)
    others = [f"{recipe}={run(f'{recipe}-{n}', 150 + 60 * n, 240 - 60 * n)}" for recipe in "abc" for n in (1, 2)]
    others.append(f"still={run('still', 150, 240)}")
    out = folder / "report.html"
    flags = ["--encoder", encoder, "--finetuned-on", "imagenet_vqa", "-o", str(out)]
    assert main(["report", base, *others, *flags]) == 0
    return out


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_table_of_several_candidates_fits_or_scrolls(
    checkpoints: Path, open_page: Callable[..., Any], width: int, scheme: str
) -> None:
    page = open_page(checkpoints, width=width, scheme=scheme)
    page.click("#traces summary")
    assert page.locator("table:visible").count() == 5
    assert faults(page) == []
    assert overlapping(page) == []
    assert faint(page) == []
    numbers = page.locator(".scroll[aria-label^='All numbers']:visible")
    hidden = numbers.evaluate("box => box.scrollWidth - box.clientWidth")
    if width == 1440:
        assert hidden == 0
    else:
        assert hidden > 0
        numbers.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("box => box.scrollLeft > 0", arg=numbers.element_handle())


def test_it_fits_on_paper(checkpoints: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(checkpoints, width=718)  # A4 without its margins
    page.emulate_media(media="print")
    assert faults(page) == []


def test_on_a_phone_a_candidates_verdict_stands_below_its_name(
    checkpoints: Path, open_page: Callable[..., Any]
) -> None:
    row = open_page(checkpoints, width=390).locator("table.fold tbody tr").first
    name, verdict, decided = (cell.bounding_box() for cell in row.locator("td").all())
    assert name["y"] == verdict["y"] < decided["y"]
    assert verdict["x"] + verdict["width"] <= 390
    assert row.locator("td").nth(2).evaluate("cell => getComputedStyle(cell, '::before').content") == (
        '"decided by: forgetting, one-sided bounds"'
    )


@pytest.mark.parametrize("width", [390, 1440])
def test_no_mark_of_the_traces_hides_another(checkpoints: Path, open_page: Callable[..., Any], width: int) -> None:
    page = open_page(checkpoints, width=width)
    for panel in page.locator("#traces figure").all():
        # The base and its twin, and three recipes' marks on two further spots: each reaches farther out than the last.
        marks = panel.evaluate(_MARKS)
        assert sorted(len(spot) for spot in marks) == [2, 3, 3]
        for spot in marks:
            sizes = sorted(mark["size"] for mark in spot)
            assert all(outer - inner >= 6 for inner, outer in pairwise(sizes)), spot
            assert len({mark["colour"] for mark in spot}) == len(spot)
            assert all(mark["seen"] for mark in spot), spot
        # Three lines from spot to spot: the first solid, the others with ever wider gaps between their dashes.
        lines = panel.locator(".curve > line:not(.error)").evaluate_all(
            "lines => lines.map((line) => [line.getAttribute('x1'), line.getAttribute('stroke-dasharray')])"
        )
        by_start: dict[str, set[str]] = {}
        for start, dashes in lines:
            by_start.setdefault(start, set()).add(dashes)
        assert sorted(len(dashes) for dashes in by_start.values()) in ([3, 3], [3, 4])


def test_the_theme_can_be_turned(report: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(report, scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    assert page.inner_text("#theme") == "☀ Light"
    page.click("#theme")
    assert page.inner_text("#theme") == "☾ Dark"
    light = page.evaluate(colour)
    assert light != dark
    assert light == open_page(report, scheme="light").evaluate(colour)


def test_images_and_the_reason_why_there_is_none(pictures: Path, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    config = {
        "config": {
            "dataset_path": "parquet",
            "dataset_kwargs": {"data_files": {"test": str(pictures)}},
            "test_split": "test",
        }
    }
    for name, kind in (("base", "correct"), ("candidate", "incorrect")):
        rows = [judged_sample(i, kind, prompt=f"Picture {i}?") for i in range(5)]
        write_run(tmp_path, {"toy": rows}, name=name, toy=config)
    out = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "base"), str(tmp_path / "candidate"), "-o", str(out)]) == 0
    page = open_page(out)
    images = page.locator("#flips img")
    assert images.count() == 3
    assert [image.evaluate("element => element.naturalWidth") for image in images.all()] == [160, 160, 28]
    reasons = page.locator(".noimage").all_inner_texts()
    assert reasons == ["No image: the image cannot be read", "No image: the data set has only the image's path"]


def test_several_candidates_are_traced_and_chosen(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    def run(folder: str, learnt: int, kept: int) -> str:
        return write_counts(tmp_path / folder, {"imagenet_vqa": learnt, "imagewikiqa": kept}, 300)

    base = run("base", 150, 240)
    others = [run("lora/checkpoint-1", 200, 230), run("lora/checkpoint-2", 250, 200), run("full", 270, 90)]
    out = tmp_path / "report.html"
    assert main(["report", base, *others, "-o", str(out)]) == 0
    page = open_page(out)
    assert "Of 3 candidates compared with base" in page.inner_text("main")
    assert page.locator("#traces figure").count() == 2
    # Two recipes, in each panel: the base, which is one model, two marks and one; two segments and one.
    assert page.locator("#traces figure:first-child .curve path").count() == 4
    assert page.locator("#traces figure:first-child .curve > line:not(.error)").count() == 3
    assert page.locator("[data-candidate]:visible").count() == 1
    page.click("button[data-choose='2']")
    assert page.input_value("#candidate") == "2"
    assert "full forgot, compared with base" in page.locator("[data-candidate]:visible .sentence").inner_text()
    assert page.locator("#flips output").inner_text().startswith("1–10 of ")


# The marks of a panel, by the spot that they are on: how wide each is drawn, its colour, and whether a point of its
# outline is on top there, and so visible.
_MARKS = """(panel) => {
  panel.scrollIntoView({ block: "center" });
  const spots = new Map();
  for (const mark of panel.querySelectorAll(".curve > svg")) {
    const shape = mark.querySelector("circle") || mark.querySelector("path");
    const box = shape.getBoundingClientRect();
    const place = `${mark.getAttribute("x")} ${mark.getAttribute("y")}`;
    const style = getComputedStyle(shape);
    const middle = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    const outline = [...Array(72).keys()].map((step) => step * Math.PI / 36)
      .map((turn) => [Math.cos(turn) * (box.width / 2 - 1), Math.sin(turn) * (box.height / 2 - 1)])
      .map(([across, down]) => [middle[0] + across, middle[1] + down]);
    const on = outline.filter(([x, y]) => mark.contains(document.elementFromPoint(x, y)));
    if (!spots.has(place)) spots.set(place, []);
    spots.get(place).push({ size: box.width, colour: style.stroke + style.fill, seen: on.length > 24 });
  }
  return [...spots.values()];
}"""

"""The page as a file, and the command that writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from emt_tasks.commands.app import main
from tests.support.synthetic_runs import judged_sample, write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """A base, and a candidate that lost a tenth of one task."""
    rows = [judged_sample(i, "correct", target=f"class {i % 5}") for i in range(300)]
    worse = [judged_sample(i, "incorrect" if i < 30 else "correct", target=f"class {i % 5}") for i in range(300)]
    paths = [
        write_run(tmp_path / name, {"flowers102": samples, "imagenet_vqa": rows}, name=name)
        for name, samples in (("base", rows), ("candidate", worse))
    ]
    return str(paths[0]), str(paths[1])


def test_one_file_that_needs_no_other(runs: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    assert main(["report", *runs, "-o", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)|@import|url\(|https?://""", page)
    assert "candidate forgot, compared with base: flowers102, 10.0 points" in page
    assert page.count("<script") == 2
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [task["lost"] for task in data["flips"][0]] == [30, 0]
    assert len(data["classes"][0][0]["rows"]) == 5


def test_the_same_runs_give_the_same_bytes(runs: tuple[str, str], tmp_path: Path) -> None:
    pages = [tmp_path / f"{index}.html" for index in range(2)]
    for page in pages:
        assert main(["report", *runs, "-o", str(page)]) == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_nothing_is_overwritten_unless_asked(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    out.write_text("mine")
    assert main(["report", *runs, "-o", str(out)]) == 2
    assert out.read_text() == "mine"
    assert "already exists" in capsys.readouterr().err
    assert main(["report", *runs, "-o", str(out), "--overwrite"]) == 0
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_mistakes_are_one_line(runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, candidate = runs
    out = str(tmp_path / "report.html")
    for arguments, part in (
        (["report", base, str(tmp_path / "none"), "-o", out], "does not exist"),
        (["report", base, candidate, "-o", out, "--margin", "200"], "a margin of 200 points allows any drop"),
        (["report", base, candidate, "-o", out, "--tasks", "emt_mnist"], "emt_mnist is not in both runs"),
        (["report", base, candidate, "-o", out, "--metric", "x"], "expected TASK=NAME"),
        (
            ["report", base, candidate, "-o", str(tmp_path / "base" / "base" / "20260101_120000_results.json" / "x")],
            "x",
        ),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert part in said
        assert said.count("\n") == 1


def test_a_report_without_a_flip_or_a_quadrant(tmp_path: Path) -> None:
    rows = [judged_sample(i, "unscored") for i in range(3)]
    base, candidate = (str(write_run(tmp_path, {"emt_mnist": rows}, name=name)) for name in ("base", "candidate"))
    out = tmp_path / "report.html"
    assert main(["report", base, candidate, "-o", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert "Undecided" in page
    assert "100.0 % of its documents are missing or unscored" in page
    assert 'id="flips"' not in page
    assert 'class="matrix"' not in page


def test_flips_shown_are_limited(runs: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert main(["report", *runs, "-o", str(out), "--flips", "7"]) == 0
    data = json.loads(out.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])
    assert [len(task["rows"]) for task in data["flips"][0]] == [7, 0]


def test_encoder_and_leakage_have_their_columns(tmp_path: Path) -> None:
    def run(name: str, right: int, text: str) -> str:
        rows = [judged_sample(i, "correct" if i < right else "extrinsic", text=text, labels=()) for i in range(200)]
        return str(write_run(tmp_path, {"flowers102": rows}, name=name))

    # The candidate's 80 wrong answers name an airplane, a class of the task it was fine-tuned on: 40 % leak.
    base, candidate = run("base", 160, "nothing here"), run("candidate", 120, "an airplane")
    encoder = run("encoder", 180, "a rose")
    out = tmp_path / "report.html"
    assert main(["report", base, candidate, "--encoder", encoder, "--finetuned-on", "emt_cifar10", "-o", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    heads = re.findall(r'<th scope="col"><button type="button">([^<]+)', page.split("All numbers", 1)[1])
    cells = re.findall(r'<td data-value="([^"]*)"', page.split("All numbers", 1)[1])
    row = dict(zip(heads, cells[: heads.index("left out") + 1], strict=False))
    # Accuracies 80, 60 and 90 %: 20 points forgotten, the encoder 30 points ahead of the candidate.
    assert [row[name] for name in ("base", "candidate", "forgetting", "encoder", "encoder gap", "leakage")] == [
        "80",
        "60",
        "20",
        "90",
        "30",
        "40",
    ]
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert {flip["candidate"]["category"] for flip in data["flips"][0][0]["rows"]} == {"leakage"}
    assert "leakage 40" in page

"""Which runs make a curve, and what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboards.report.candidates import parse_candidates


def _read(*arguments: str) -> list[tuple[str, int | None, str]]:
    return [(found.recipe, found.step, found.label) for found in parse_candidates(arguments)]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("runs/lora/checkpoint-200", ("lora", 200, "lora checkpoint-200")),
        ("runs/lora/200", ("lora", 200, "lora 200")),
        ("runs/lora/epoch_3/", ("lora", 3, "lora epoch_3")),
        ("runs/lora-ep3", ("lora-ep", 3, "lora-ep3")),
        ("runs/lora-2ep", ("lora", 2, "lora-2ep")),
        ("runs/llava-7b", ("llava-7b", None, "llava-7b")),
        ("full=runs/x", ("full", None, "full")),
        ("full=runs/checkpoint-8", ("full", 8, "full checkpoint-8")),
        ("runs/lora/checkpoint-200/2026_results.json", ("lora", 200, "lora checkpoint-200")),
    ],
)
def test_one_run(argument: str, expected: tuple[str, int | None, str]) -> None:
    assert _read(argument) == [expected]


def test_labels_differ_even_where_names_do_not() -> None:
    labels = [label for _, _, label in _read("a/x/same", "b/x/same", "b/x/same")]
    assert len(set(labels)) == 3
    assert labels[0].endswith("a/x/same")


def test_a_folder_whose_name_holds_an_equals_sign_is_taken_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lr=1e-6"
    folder.mkdir()
    (found,) = parse_candidates([str(folder)])
    assert found.path == folder

"""`emt data to-llava` and `emt data check`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from emt_tasks.commands import finetune as cli
from finetune.data.disjoint import overlaps
from finetune.data.images import fingerprint
from finetune.data.sources import open_source
from finetune.recipes.schema import SourceEntry


def run(command: object, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_llava_files_are_emts_format_and_read_back(data_dir: Path, tmp_path: Path) -> None:
    code, printed = run(cli.to_llava, "cifar10", "-o", str(tmp_path / "out"))
    file = Path(printed.strip())
    assert (code, file) == (0, tmp_path / "out" / "cifar10_train.json")
    entries = json.loads(file.read_text())
    assert entries[0] == {
        "id": "cifar10:train/0",
        "image": "airplane/0.png",
        "conversations": [
            {"from": "human", "value": "What is the object in the image? <image>"},
            {"from": "gpt", "value": "The object is a(n) airplane."},
        ],
    }
    original, written = open_source(SourceEntry(data="cifar10")), open_source(SourceEntry(data=str(file)))
    assert len(written) == len(original)
    for row in (0, 13):
        assert written[row].turns == (original.turn(row),)  # the file's image stands where its text says
        assert written[row].load_images()[0].tobytes() == original[row].load_images()[0].tobytes()
        assert (tmp_path / "out" / entries[row]["image"]).read_bytes() == original[row].stored()[0]["bytes"]


def test_nothing_is_overwritten(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(Exception, match=r"not empty.*--overwrite"):
        run(cli.to_llava, "cifar10", "-o", str(tmp_path))
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_images_fingerprint_is_its_content() -> None:
    picture = Image.effect_noise((9, 7), 90).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "BMP")
    assert fingerprint(Image.open(buffer)) == fingerprint(picture)
    assert fingerprint(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) != fingerprint(picture)
    # as many pixels, all black, in another shape
    assert fingerprint(Image.new("RGB", (2, 6))) != fingerprint(Image.new("RGB", (3, 4)))


def test_overlaps_are_counted_and_named(data_dir: Path) -> None:
    (found,) = overlaps([SourceEntry(data="mnist")], [SourceEntry(data="mnist", split="test")])
    assert (found.train, found.evaluation, found.images, found.evaluation_rows) == (24, 4, 4, 4)
    assert found.pairs == [(20, 0), (21, 1), (22, 2), (23, 3)]


def test_check_by_name(data_dir: Path) -> None:
    code, printed = run(cli.check_data, "--train", "mnist", "--against", "mnist:test")
    assert code == 2
    assert printed == (
        "mnist:train (24) and mnist:test (4): 4 images in both, 4 evaluation rows (100.0 %); "
        "e.g. rows 20 and 0, 21 and 1, 22 and 2, 23 and 3\n"
    )
    code, printed = run(cli.check_data, "--train", "mnist", "--against", "cifar10:test")
    assert (code, printed) == (0, "mnist:train (24) and cifar10:test (24): disjoint\n")


def test_check_a_recipe_against_its_tasks(data_dir: Path, recipe_file: Callable[..., str]) -> None:
    file = recipe_file(evaluate={"tasks": ["emt_mnist", "idt_oodi"]})
    code, printed = run(cli.check_data, file, "--json")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert code == 2
    assert [(line["evaluation_name"], line["images"]) for line in lines] == [("mnist:test", 4), ("flowers102:test", 0)]


def test_nothing_to_compare(recipe_file: Callable[..., str]) -> None:
    with pytest.raises(Exception, match="--against: nothing to compare"):
        run(cli.check_data, recipe_file())


def test_the_demos_splits_are_disjoint() -> None:
    names = ("demo_digits", "demo_shapes")
    found = overlaps(
        [SourceEntry(data=name) for name in names], [SourceEntry(data=name, split="test") for name in names]
    )
    assert [overlap.images for overlap in found] == [0] * 4

"""What holds for every data set: recognition, refusals, whole files or none."""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFile
from rich.console import Console

import emt_tasks.datasets.prepare
from emt_core.errors import UserError
from emt_core.files import replacing
from emt_tasks.datasets.catalog import datasets
from emt_tasks.datasets.prepare import preparations
from emt_tasks.datasets.prepare.images import map_ahead
from emt_tasks.datasets.prepare.parquet import write_parquet
from tests.support.copies import noise, prepare, rows, write_image, write_mnist


def test_every_data_set_of_the_tasks_can_be_prepared():
    for name, preparation in preparations().items():
        row = datasets()[name]
        assert row.split in row.rows
        assert set(row.columns.roles().values()) <= set(preparation.features())


@pytest.mark.parametrize("name", preparations())
def test_nothing_recognised_says_what_is_there_and_what_was_expected(tmp_path, name):
    for entry in ("readme.md", "b.txt"):
        (tmp_path / entry).touch()
    (tmp_path / "figures").mkdir()
    with pytest.raises(UserError) as caught:
        prepare(name, tmp_path, tmp_path / "data")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: no layout of {name} recognised in b.txt, figures/, readme.md; expected ")
    assert preparations()[name].expects in message
    assert "\n" not in message


def test_an_empty_folder_and_a_file(tmp_path):
    with pytest.raises(UserError, match="recognised in this empty folder"):
        prepare("mnist", tmp_path, tmp_path / "data")
    (tmp_path / "digits.zip").touch()
    with pytest.raises(UserError, match=r"digits.zip: no layout of mnist recognised in this file"):
        prepare("mnist", tmp_path / "digits.zip", tmp_path / "data")


def test_two_layouts_at_once(tmp_path):
    write_mnist(tmp_path, "test", noise(1, 28, 28), [1])
    write_image(tmp_path / "test" / "1" / "a.png")
    with pytest.raises(UserError, match=r"contains IDX files in .* and class folders in .*; give the one"):
        prepare("mnist", tmp_path, tmp_path / "data")


def test_what_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such file or folder; expected a copy of mnist"):
        prepare("mnist", tmp_path / "nowhere", tmp_path)
    with pytest.raises(UserError, match=r"nowhere: no such file or folder; expected the annotations of ocr_vqa"):
        prepare("ocr_vqa", tmp_path, tmp_path, annotations=tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"unknown data set 'svhn'; choose one of mnist, cifar10"):
        prepare("svhn", tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"--split val: mnist has train and test"):
        prepare("mnist", tmp_path, tmp_path, split="val")
    write_mnist(tmp_path, "test", noise(1, 28, 28), [1])
    with pytest.raises(UserError, match=r"--split train: IDX files in .*: found only test of mnist"):
        prepare("mnist", tmp_path, tmp_path, split="train")


def test_existing_files_are_replaced_only_when_asked(tmp_path):
    write_mnist(tmp_path, "test", noise(2, 28, 28), [1, 2])
    files, _ = prepare("mnist", tmp_path, tmp_path / "data")
    before = files[0].read_bytes()
    write_mnist(tmp_path, "test", noise(1, 28, 28), [3])
    with pytest.raises(UserError, match=r"test.parquet: already exists; give --overwrite"):
        prepare("mnist", tmp_path, tmp_path / "data")
    assert files[0].read_bytes() == before
    prepare("mnist", tmp_path, tmp_path / "data", overwrite=True)
    assert [row["label"] for row in rows(files[0])] == [3]
    assert list(files[0].parent.iterdir()) == files


def test_the_same_source_gives_the_same_bytes(tmp_path):
    for number in range(40):
        write_image(tmp_path / "test" / str(number % 10) / f"{number}.png", number)
    one, _ = prepare("mnist", tmp_path, tmp_path / "one")
    two, _ = prepare("mnist", tmp_path, tmp_path / "two")
    assert one[0].read_bytes() == two[0].read_bytes()


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "image file is truncated"),
        (lambda data: b"<html>404 Not Found</html>", "found 26 bytes: not an image"),
        (lambda data: b"", "found 0 bytes: not an image"),
    ],
)
def test_a_damaged_image_is_named_and_nothing_is_left(tmp_path, monkeypatch, damage, reason, lenient):
    # lmms-eval sets this for the whole process, and Pillow then fills up what is missing.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    for split in ("train", "test"):
        for number in range(30):
            write_image(tmp_path / split / "4" / f"{number:02d}.jpg", number, size=(64, 64))
    broken = tmp_path / "test" / "4" / "17.jpg"
    broken.write_bytes(damage(broken.read_bytes()))
    with pytest.raises(UserError, match=f"test/4/17.jpg: expected a readable image, .*{reason}"):
        prepare("mnist", tmp_path, tmp_path / "data" / "deep")
    # train was whole already, and the folders were made for it.
    assert not (tmp_path / "data").exists()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_nothing_is_left_when_interrupted(tmp_path):
    def interrupted(features):
        for number in range(1500):
            yield {"image": {"bytes": b"x", "path": None}, "label": number % 10}
        raise KeyboardInterrupt

    features = preparations()["mnist"].features()
    old = tmp_path / "mnist" / "test.parquet"
    old.parent.mkdir()
    old.write_bytes(b"the one before")
    with pytest.raises(KeyboardInterrupt), replacing([old]) as partials:
        write_parquet(partials[0], features, interrupted(features))
    assert list(old.parent.iterdir()) == [old]
    assert old.read_bytes() == b"the one before"


def test_ctrl_c_in_a_terminal(tmp_path):
    count = 20_000
    write_mnist(tmp_path / "source", "test", noise(count, 28, 28), noise(count) % 10)
    call = (
        "import pathlib, sys; from emt_tasks.datasets.prepare import prepare; "
        "prepare('mnist', *map(pathlib.Path, sys.argv[1:]))"
    )
    command = [sys.executable, "-c", call, str(tmp_path / "source"), str(tmp_path / "data")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "data" / "mnist"
    while process.poll() is None and not (folder.is_dir() and any(folder.iterdir())):
        time.sleep(0.01)
    assert [entry.name.endswith(".partial") for entry in folder.iterdir()] == [True]
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in error
    assert not (tmp_path / "data").exists()


def test_an_output_that_cannot_be_written(tmp_path):
    write_mnist(tmp_path, "test", noise(1, 28, 28), [1])
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"data/mnist: cannot be written: (File exists|Not a directory)"):
        prepare("mnist", tmp_path, tmp_path / "data")


def test_large_sources_stay_out_of_memory(tmp_path):
    """Images are read a few ahead of the writer, and a row group closes at 1,000 rows or 32 MiB."""
    asked = []
    results = map_ahead(lambda item: item * item, (asked.append(item) or item for item in range(1000)))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(asked) <= 3 + 4 * 8
    assert list(results) == [item * item for item in range(3, 1000)]

    features = preparations()["mnist"].features()
    mebibyte = bytes(2**20)
    small = [{"image": {"bytes": b"x", "path": None}, "label": 0}] * 1001
    large = [{"image": {"bytes": mebibyte, "path": None}, "label": 1}] * 40
    write_parquet(tmp_path / "a.parquet", features, iter(small + large))
    groups = pq.ParquetFile(tmp_path / "a.parquet").metadata
    # 1,000 small rows; then 1 small and 32 large ones, which pass 32 MiB; then the last 8.
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [1000, 33, 8]


def test_what_is_said_goes_to_stderr(tmp_path, capsys):
    write_mnist(tmp_path / "source", "test", noise(3, 28, 28), [1, 2, 3])
    emt_tasks.datasets.prepare.prepare("mnist", tmp_path / "source", tmp_path / "data")
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(":")[0] for line in said.err.splitlines()] == [
        "mnist",
        "mnist, test",
        f"wrote {tmp_path}/data/mnist/test.parquet",
    ]


@pytest.mark.parametrize("damaged", [False, True])
def test_the_progress_bar_leaves_a_clean_terminal(tmp_path, damaged):
    write_image(tmp_path / "test" / "4" / "a.png")
    (tmp_path / "test" / "4" / "b.png").write_bytes(b"" if damaged else write_image(tmp_path / "b.png"))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    with contextlib.suppress(UserError):
        emt_tasks.datasets.prepare.prepare("mnist", tmp_path, tmp_path / "data", console=terminal)
    said = terminal.file.getvalue()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert said.index(hide) < said.index("mnist, test ") < said.index(show)
    assert ("100%" in said) is not damaged


def test_the_list_of_layouts_is_cheap():
    call = (
        "import sys; from emt_tasks.datasets.prepare import preparations; preparations();"
        "print(*({'datasets', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_any_kind_of_picture_is_kept_as_it_is(tmp_path):
    kinds = {
        "a.png": "RGBA",
        "b.png": "P",
        "c.jpg": "L",
        "d.jpg": "CMYK",
        "e.webp": "RGB",
        "f.bmp": "1",
        "g.tiff": "I;16",
    }
    picture = Image.fromarray(noise(8, 8, 3))
    (tmp_path / "test" / "0").mkdir(parents=True)
    for name, mode in kinds.items():
        image = picture.convert("L").convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)
        image.save(tmp_path / "test" / "0" / name)
    files, _ = prepare("mnist", tmp_path, tmp_path / "data")
    for row in rows(files[0]):
        name = row["image"]["path"]
        assert row["image"]["bytes"] == (tmp_path / "test" / "0" / name).read_bytes()
        assert Image.open(io.BytesIO(row["image"]["bytes"])).mode == kinds[name]

"""OCR-VQA from dataset.json and the covers."""

from __future__ import annotations

import json

import pytest

from emt_core.errors import UserError
from tests.support.copies import load, prepare, rows, write_image

BOOKS = {
    "B002": {"imageURL": "http://covers/two.gif", "split": 3, "title": "Two", "authorName": "Ann", "genre": "Travel"},
    "0001": {"imageURL": "http://covers/one.jpg", "split": 3, "title": "One", "authorName": "Bob", "genre": "Law"},
    "0003": {"imageURL": "http://covers/three.jpg", "split": 1, "title": "3", "authorName": None, "genre": "Law"},
}


def write_books(folder, books=BOOKS):
    questions = {"questions": ["Who wrote this?", "What is the title?"]}
    entries = {
        book: questions | {"answers": [str(entry["authorName"]), entry["title"]]} | entry
        for book, entry in books.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(entries))
    return folder / "dataset.json"


def test_the_covers_and_their_questions(tmp_path):
    write_books(tmp_path)
    kept = write_image(tmp_path / "images" / "0001.jpg", size=(9, 13))
    # One that was converted since: its suffix is no longer its address's.
    write_image(tmp_path / "images" / "B002.png", 1)
    files, _ = prepare("ocr_vqa", tmp_path, tmp_path / "data", split="test")
    one, two = rows(files[0])
    assert one == {
        "image": {"bytes": kept, "path": "0001.jpg"},
        "image_id": "0001",
        "questions": ["Who wrote this?", "What is the title?"],
        "answers": ["Bob", "One"],
        "title": "One",
        "authorName": "Bob",
        "genre": "Law",
        "image_width": 9,
        "image_height": 13,
        "image_url": "http://covers/one.jpg",
        "set_name": "test",
    }
    assert two["image_id"] == "B002"
    assert two["image"]["path"] == "B002.png"


def test_all_splits_load_as_pictures(tmp_path):
    annotations = write_books(tmp_path / "annotations")
    write_image(tmp_path / "covers" / "0001.jpg")
    write_image(tmp_path / "covers" / "0003.jpg")
    write_image(tmp_path / "covers" / "B002.gif", kind="GIF")
    with pytest.raises(UserError, match=r"ocr_vqa, validation: expected images, found none"):
        prepare("ocr_vqa", tmp_path / "covers", tmp_path / "data", annotations=annotations)
    write_books(tmp_path / "annotations", BOOKS | {"9999": BOOKS["0001"] | {"split": 2}})
    write_image(tmp_path / "covers" / "9999.jpg")
    files, _ = prepare("ocr_vqa", tmp_path / "covers", tmp_path / "data", annotations=annotations)
    assert [file.stem for file in files] == ["train", "validation", "test"]
    dataset = load(files[2])
    assert dataset["image_id"] == ["0001", "B002"]
    assert dataset[1]["image"].format == "GIF"
    assert dataset[1]["answers"] == ["Ann", "Two"]


def test_the_suffix_of_the_address_wins(tmp_path):
    write_books(tmp_path, {"0001": BOOKS["0001"]})
    write_image(tmp_path / "images" / "0001.gif", 1, kind="GIF")
    write_image(tmp_path / "images" / "0001.jpg", 2)
    files, _ = prepare("ocr_vqa", tmp_path, tmp_path / "data", split="test")
    assert rows(files[0])[0]["image"]["path"] == "0001.jpg"


def test_missing_covers(tmp_path):
    write_books(tmp_path)
    write_image(tmp_path / "images" / "B002.gif", kind="GIF")
    with pytest.raises(UserError, match=r"test: 1 of 2 images are missing, the first 0001.jpg"):
        prepare("ocr_vqa", tmp_path, tmp_path / "data", split="test")
    files, said = prepare("ocr_vqa", tmp_path, tmp_path / "data", split="test", allow_missing=True)
    assert "1 of 2 images are missing, the first 0001.jpg; their rows are left out" in said
    assert [row["image_id"] for row in rows(files[0])] == ["B002"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"expected JSON"),
        ("[]", r"expected an object that maps each book's id"),
        ('{"1": {"split": 4}}', r"book 1: expected 1, 2 or 3 for 'split', found 4"),
        ('{"1": {"split": 3, "questions": ["?"], "answers": []}}', r"book 1: expected two lists of equal length"),
        ('{"1": {"split": 3, "answers": []}}', r"book 1: expected two lists of equal length"),
    ],
)
def test_damaged_annotations(tmp_path, content, message):
    (tmp_path / "images").mkdir()
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=f"dataset.json: {message}"):
        prepare("ocr_vqa", tmp_path, tmp_path / "data", split="test")

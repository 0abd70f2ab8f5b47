"""ImageWikiQA from its JSONL and a copy of ImageNet."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from tests.support.copies import load, prepare, rows, write_image, write_lines

TEXT = "What is it made of?\nA. Wood\nB. Stone\nC. Snow\nD. Glass\nChoose A, B, C, or D."


def question(number, **more):
    row = {"image": f"images/ILSVRC2012_val_{number:08d}.JPEG", "text": TEXT, "label": "C"}
    return row | {"wiki": "Made of snow.", "classname": "igloo"} | more


@pytest.mark.parametrize("folder", ["{image}", "images/{image}", "val/{image}", "val/n03599486/{image}"])
def test_images_wherever_imagenet_lies(tmp_path, folder):
    image = "ILSVRC2012_val_00000007.JPEG"
    kept = write_image(tmp_path / folder.format(image=image), kind="JPEG")
    write_lines(tmp_path / "imagewikiqa.jsonl", [question(7)])
    files, said = prepare("imagewikiqa", tmp_path, tmp_path / "data")
    assert "1 rows; the published data set has 2,000" in said
    assert rows(files[0]) == [
        {
            "image": {"bytes": kept, "path": image},
            "image_path": f"images/{image}",
            "text": TEXT,
            "label": "C",
            "wiki": "Made of snow.",
            "classname": "igloo",
        }
    ]


def test_the_jsonl_elsewhere_and_an_image_asked_about_twice(tmp_path):
    write_image(tmp_path / "val" / "ILSVRC2012_val_00000007.JPEG", kind="JPEG")
    write_lines(tmp_path / "questions.jsonl", [question(7), question(7, label="A")])
    annotations = tmp_path / "questions.jsonl"
    files, _ = prepare("imagewikiqa", tmp_path / "val", tmp_path / "data", annotations=annotations)
    dataset = load(files[0])
    assert dataset["label"] == ["C", "A"]
    assert dataset[1]["image"].size == (8, 6)


def test_rows_of_the_first_release(tmp_path):
    # Its authors' path with the wnid in it, no wiki, and the class only in the question's id.
    image = "./data/ImageNet/imagenet/val/n04336792/ILSVRC2012_val_00000007.JPEG"
    row = {"image": image, "text": TEXT, "category": "conv", "label": "C"}
    write_image(tmp_path / "ILSVRC2012_val_00000007_n04336792.JPEG", kind="JPEG")
    write_lines(tmp_path / "imagewikiqa.jsonl", [row | {"question_id": "horse-drawn vehicle_C_question767_image3"}])
    files, _ = prepare("imagewikiqa", tmp_path, tmp_path / "data")
    (stored,) = rows(files[0])
    assert stored["image_path"] == "images/ILSVRC2012_val_00000007.JPEG"
    assert stored["classname"] == "horse-drawn vehicle"
    assert stored["wiki"] is None


def test_missing_images(tmp_path):
    write_image(tmp_path / "ILSVRC2012_val_00000007.JPEG", kind="JPEG")
    write_lines(tmp_path / "imagewikiqa.jsonl", [question(3), question(7), question(9)])
    lost = r"2 of 3 images are missing, the first ILSVRC2012_val_00000003.JPEG"
    with pytest.raises(UserError, match=f"{lost}; find them, or skip their rows with --allow-missing"):
        prepare("imagewikiqa", tmp_path, tmp_path / "data")
    files, said = prepare("imagewikiqa", tmp_path, tmp_path / "data", allow_missing=True)
    assert "2 of 3 images are missing" in said
    assert [row["image_path"] for row in rows(files[0])] == ["images/ILSVRC2012_val_00000007.JPEG"]


def test_no_images_at_all(tmp_path):
    write_lines(tmp_path / "imagewikiqa.jsonl", [question(3)])
    with pytest.raises(UserError, match=r"no ImageNet validation images; expected val/"):
        prepare("imagewikiqa", tmp_path, tmp_path / "data", allow_missing=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"expected one JSON object per line: .*line contains invalid json"),
        ("[1]", r"expected one JSON object per line"),
        ('{"text": "?", "label": "A"}', r"line 1: expected text for 'image', found None"),
        ('{"image": "a.jpg", "text": "?", "label": "A"}', r"line 1: expected text for 'classname', found ''"),
        ('{"image": "a.jpg", "text": "?", "label": "E", "classname": "x"}', r"A, B, C or D for 'label', found 'E'"),
    ],
)
def test_damaged_rows(tmp_path, line, message):
    write_image(tmp_path / "ILSVRC2012_val_00000007.JPEG", kind="JPEG")
    (tmp_path / "imagewikiqa.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=f"imagewikiqa.jsonl.*{message}"):
        prepare("imagewikiqa", tmp_path, tmp_path / "data")


def test_the_real_questions_survive(tmp_path, real_data):
    """All 2,000 real questions, written out as the release has them, come back row for row."""
    given = rows(real_data / "imagewikiqa" / "test.parquet")
    (tmp_path / "val").mkdir()
    for row in given:
        (tmp_path / "val" / row["image_path"].removeprefix("images/")).write_bytes(row["image"]["bytes"])
    texts = [{key: value for key, value in row.items() if key != "image"} for row in given]
    write_lines(tmp_path / "imagewikiqa.jsonl", [{"image": row.pop("image_path"), **row} for row in map(dict, texts)])
    files, said = prepare("imagewikiqa", tmp_path, tmp_path / "data")
    assert "published" not in said
    stored = rows(files[0])
    assert [row["image"]["bytes"] for row in stored] == [row["image"]["bytes"] for row in given]
    assert [{key: value for key, value in row.items() if key != "image"} for row in stored] == texts

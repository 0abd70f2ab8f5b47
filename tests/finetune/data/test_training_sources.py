"""Sources and conversation formats: what comes out of each data set, and what is said of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageColumn
from PIL import Image, ImageFile

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.tasks import registry
from finetune.data.conversations import Format, Turn
from finetune.data.sources import open_source
from finetune.recipes.schema import SourceEntry


def source(data: str, **fields: Any) -> Any:
    return open_source(SourceEntry(data=data, **fields))


@pytest.mark.parametrize(
    ("data", "question", "answer"),
    [  # row 3 has class 3, for MNIST scikit-learn's fourth digit, a 3
        ("cifar10", "What is the object in the image? <image>", "The object is a(n) cat."),
        ("cifar100", "What is the object in the image? <image>", "The object is a(n) bear."),
        ("mnist", "What is the number in the image? <image>", "The number is 3."),
        ("flowers102", "What type of object is in this photo?", vocabularies.load("flowers102").labels[3].name),
        ("ocr_vqa", "Is this a guide?\nAnswer the question using a single word or phrase.", "No"),
    ],
)
def test_formats(data_dir: Path, data: str, question: str, answer: str) -> None:
    opened = source(data)
    assert opened.turn(3) == Turn(question, answer)
    example = opened[3]
    assert example.turns == (Turn(question.replace(" <image>", ""), answer),)
    (image,) = example.load_images()
    assert image.mode == "RGB"


@pytest.mark.parametrize(("data", "task"), [("imagenet1k", "imagenet_vqa"), ("flowers102", "flowers102")])
def test_in_distribution_text_is_the_tasks_own(data_dir: Path, data: str, task: str) -> None:
    config = registry.load(registry.entries()[task].file)
    assert source(data)[0].turns[0].question == config["doc_to_text"]


def test_a_recipe_may_ask_otherwise(data_dir: Path) -> None:
    opened = source("cifar10", question="Is it <image> a {label}?", answer="yes, {label}")
    assert opened[0].turns == (Turn("Is it a airplane?", "yes, airplane"),)
    with pytest.raises(UserError, match="asks for the field 'colour'; the data has label"):
        source("cifar10", answer="{colour}")


def test_limit_takes_every_class_in_its_share(data_dir: Path) -> None:
    opened = source("cifar10", limit=10)  # 24 rows, classes 0 to 3 three times, the others twice
    assert len(opened) == 10
    assert len({opened[index].turns[0].answer for index in range(10)}) == 10


@pytest.mark.parametrize(
    ("labels", "feature"),
    [([6, 1], ClassLabel(names=vocabularies.load("cifar10").names[::-1])), (["cat", "ship"], Value("string"))],
)
def test_classes_are_matched_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[Any], feature: Any
) -> None:
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    (tmp_path / "cifar10").mkdir()
    features = Features(img=ImageColumn(), label=feature)
    for split, given in (("train", labels), ("validation", [*labels, None])):
        rows = {"img": [Image.new("RGB", (4, 4))] * len(given), "label": given}
        Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "cifar10" / f"{split}.parquet")
    opened = source("cifar10")
    assert [opened.turn(row).answer for row in range(2)] == ["The object is a(n) cat.", "The object is a(n) ship."]
    with pytest.raises(UserError, match="cifar10: label, row 2: found None, expected a class's number or name"):
        source("cifar10", split="validation")


def test_the_demo_is_a_source() -> None:
    opened = source("demo_digits", limit=20)
    assert len(opened) == 20
    assert opened[0].turns[0].answer


@pytest.mark.parametrize(
    ("data", "fields", "expected"),
    [
        ("nothing", {}, "unknown data set 'nothing'"),
        ("mnist", {"split": "dev"}, "mnist: no .*dev.parquet .*emt data prepare mnist"),
        ("absent.json", {}, "absent.json cannot be read as JSON"),
    ],
)
def test_what_cannot_be_opened(data_dir: Path, data: str, fields: dict[str, str], expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        source(data, **fields)
    assert "\n" not in str(caught.value)


def conversation(image: str | None = "a.png", **changes: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nWhat is this?" if image else "What is this?"},
        {"from": "gpt", "value": "A square."},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "Red."},
    ]
    return {"id": "1", **({"image": image} if image else {}), "conversations": turns} | changes


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_llava_conversations(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "pictures" / "a.png")
    entries = [conversation(), conversation(image=None)]
    file = tmp_path / f"mine{suffix}"
    file.write_text(json.dumps(entries) if suffix == ".json" else "\n".join(map(json.dumps, entries)))
    opened = source(str(file), images=str(tmp_path / "pictures"))
    assert len(opened) == 2
    first, second = opened[0], opened[1]
    assert first.turns == (Turn("What is this?", "A square."), Turn("Its colour?", "Red."))
    assert (first.image_count, second.image_count) == (1, 0)
    assert first.load_images()[0].getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "mine.json is empty"),
        ({"a": 1}, "expected a list of conversations, found dict"),
        ([conversation(image="b.png")], r"entry 0: no image .*b.png"),
        (
            [conversation(conversations=[{"from": "gpt", "value": "x"}])],
            "entry 0: expected conversations that alternate user and assistant",
        ),
        ([conversation(conversations=[])], "entry 0: expected conversations"),
        (["text"], "entry 0: expected an object with conversations, found 'text'"),
    ],
)
def test_faulty_llava_files(tmp_path: Path, content: Any, expected: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=expected):
        source(str(tmp_path / "mine.json"))[0]


def test_a_damaged_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as lmms-eval leaves it
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "mine.json").write_text(json.dumps([conversation()]))
    opened = source(str(tmp_path / "mine.json"))
    for damaged in (content[: len(content) // 2], b"no image", b""):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(UserError, match=r"mine.json, entry 0 .*a.png.*: the image cannot be read") as caught:
            opened[0].load_images()
        assert "\n" not in str(caught.value)


HUMAN, GPT = {"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (["a"], r"entry 1: expected an object with conversations, found \['a'\]"),
        ({"conversations": None}, "found nothing"),
        ({"conversations": {"human": "What?"}}, "found {'human': 'What\\?'}"),
        ({"conversations": ["What?", "That."]}, r"found \['What\?', 'That.'\]"),
        ({"conversations": [HUMAN, GPT, HUMAN]}, "found user, assistant, user"),
        ({"conversations": [HUMAN, {"from": "gpt"}]}, "message 1: gpt has no text, found None"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": None}]}, "message 1: gpt has no text, found None"),
        ({"conversations": [{"from": "human", "value": " \n"}, GPT]}, r"message 0: human has no text, found ' \\n'"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": 3}]}, "message 1: gpt has no text, found 3"),
        (
            {"conversations": [HUMAN, {"from": "gpt", "value": "See <image>."}]},
            "message 1: gpt has an image; only a question can",
        ),
        ({"image": 7, "conversations": [HUMAN, GPT]}, "image: expected an image or a list of images, found 7"),
        ({"image": ["a.png", None], "conversations": [HUMAN, GPT]}, "image: expected an image or a list of images"),
        ({"conversations": [{"from": "human", "value": "<image>\n<image>"}, GPT]}, "2 <image> marks .* and 0 images"),
    ],
)
def test_a_faulty_entry_is_one_line_that_names_it(tmp_path: Path, entry: object, message: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([{"conversations": [HUMAN, GPT]}, entry]))
    with pytest.raises(UserError, match=message) as caught:
        source(str(file))[1]
    assert "\n" not in str(caught.value)
    assert f"{file}, entry 1" in str(caught.value)


def test_a_null_is_not_the_word_none() -> None:
    asks = Format("What is {thing}?", "{answer}")
    with pytest.raises(UserError, match="toy, row 3: 'answer' is null"):
        asks({"thing": "it", "answer": None}, "toy, row 3")


def test_json_lines_may_have_blank_ones(tmp_path: Path) -> None:
    line = json.dumps({"conversations": [HUMAN, GPT]})
    (tmp_path / "mine.jsonl").write_text(f"\n{line}\n\n{line}\n \n")
    assert len(open_source(SourceEntry(data=str(tmp_path / "mine.jsonl")))) == 2

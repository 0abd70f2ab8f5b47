"""One conversation in each of the formats that people keep it in, and what is said of rows that are in none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageColumn
from PIL import Image

from emt_core.errors import UserError
from finetune.data.conversations import Turn
from finetune.data.formats import read_conversation
from finetune.data.sources import open_source
from finetune.recipes.schema import Columns, SourceEntry

TURNS = (Turn("What is this?", "A square."), Turn("Its colour?", "Red."))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def said(
    *texts: str, names: tuple[str, str] = ("user", "assistant"), keys: tuple[str, str] = ("role", "content")
) -> Any:
    return [{keys[0]: names[number % 2], keys[1]: text} for number, text in enumerate(texts)]


def parts(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "A square."},
            *said("Its colour?", "Red.")]  # fmt: skip


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


LLAVA = said(
    "<image>\nWhat is this?", "A square.", "Its colour?", "Red.", names=("human", "gpt"), keys=("from", "value")
)
OPENAI = said("What is this?", "A square.", "Its colour?", "Red.")
DATA_URL = "data:image/png;base64,"


@pytest.mark.parametrize(
    "row",
    [
        {"image": "a.png", "conversations": LLAVA},
        {"images": ["a.png"], "conversations": LLAVA},  # ShareGPT
        {"images": ["a.png"], "messages": OPENAI},
        {"image": "a.png", "messages": [{**turn, "weight": 1} for turn in OPENAI]},
        {"images": ["a.png"], "messages": parts({"type": "image"}, text("What is this?"))},  # TRL
        {"messages": parts({"type": "image", "image": "a.png"}, text("What is this?"))},
        {"messages": parts({"type": "image_url", "image_url": {"url": "file://a.png"}}, text("What is this?"))},
        {"messages": parts({"type": "image_url", "image_url": {"url": DATA_URL}}, text("What is this?"))},
        {"messages": parts({"type": "image", "base64": ""}, text("What "), text("is this?"))},
        {"messages": parts({"type": "image", "text": None, "path": "a.png"}, {**text("What is this?"), "path": None})},
        {"image": "a.png", "prompt": OPENAI[:3], "completion": OPENAI[3:]},
        {"messages": [{**OPENAI[0], "images": ["a.png"]}, *OPENAI[1:]]},  # Ollama
    ],
)  # fmt: skip
def test_one_conversation_in_all_formats(row: dict[str, Any], picture: Path) -> None:
    content = base64.b64encode(picture.read_bytes()).decode()
    row = json.loads(
        json.dumps(row).replace(DATA_URL, DATA_URL + content).replace('"base64": ""', f'"base64": "{content}"')
    )
    found = read_conversation(row, "row 0", Columns(), picture.parent.joinpath)
    assert (found.turns, found.system) == (TURNS, None)
    (image,) = found.images
    assert image == picture or image == {"bytes": picture.read_bytes()}


@pytest.mark.parametrize("row", [{"image": "a.png", "question": "What is this?", "answer": "A square."},
                                 {"image": "a.png", "prompt": "What is this?", "completion": "A square."}])  # fmt: skip
def test_one_question_and_answer(row: dict[str, Any], picture: Path) -> None:
    assert read_conversation(row, "row 0", Columns(), picture.parent.joinpath).turns == TURNS[:1]


@pytest.mark.parametrize("row", [{"messages": [{"role": "system", "content": "Be brief."}, *OPENAI]},
                                 {"system": "Be brief.", "conversations": OPENAI},
                                 {"system": "Be brief.", "messages": OPENAI}])  # fmt: skip
def test_a_system_text(row: dict[str, Any]) -> None:
    found = read_conversation(row, "row 0", Columns(), Path)
    assert (found.turns, found.system, found.images) == (TURNS, "Be brief.", ())


def test_images_are_in_the_order_of_their_marks(picture: Path) -> None:
    for name in "bcd":
        Image.new("RGB", (4, 4)).save(picture.with_name(f"{name}.png"))
    row = {
        "images": ["b.png", "d.png"],
        "messages": [
            {
                "role": "user",
                "content": [text("Is "), {"type": "image", "image": "a.png"}, text(" as "), {"type": "image"}],
            },
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": [{"type": "image", "image": "c.png"}, {"type": "image"}, text("And here?")]},
            {"role": "assistant", "content": [text("No"), text(".")]},
        ],
    }  # fmt: skip
    found = read_conversation(row, "row 0", Columns(), picture.parent.joinpath)
    assert found.turns == (Turn("Is <image> as <image>", "Yes."), Turn("<image><image>And here?", "No."))
    assert [image.name for image in found.images] == ["a.png", "b.png", "c.png", "d.png"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "What?"}, "expected messages, conversations, or question and answer; found text; say under columns"),
        ({"messages": [*OPENAI, {"role": "tool", "content": "x"}]}, "message 4: role 'tool'; expected user, assistant"),
        ({"messages": OPENAI[:3]}, "found user, assistant, user"),
        ({"messages": [{"role": "assistant", "content": "Hi."}, *OPENAI]}, "found assistant, user, assistant, user, …"),
        ({"messages": [{"role": "system", "content": "Hi."}]}, "found nothing"),
        ({"messages": [OPENAI[0], {**OPENAI[1], "weight": 0}]}, "message 1: weight 0 is not supported"),
        ({"messages": [OPENAI[0], {"role": "assistant", "content": None, "tool_calls": []}]}, "assistant has no text"),
        ({"messages": parts({"type": "video", "video": "a.mp4"}, text("What?"))}, "parts of type text or image"),
        ({"messages": parts({"type": "image"}, text("What?"))}, "1 <image> marks in the text, and 0 images"),
        ({"images": ["a.png"], "messages": parts({"type": "image", "image": "a.png"}, text("x"))}, "and 2 images"),
        ({"messages": parts(text("<image> What?"))}, "expected a text without <image>"),
        ({"messages": parts({"type": "image", "image": "b.png"}, text("x"))}, "no image .*b.png"),
        ({"messages": parts({"type": "image", "url": "https://a.b/c.png"}, text("x"))}, "is on the web; download"),
        ({"messages": parts({"type": "image", "url": "data:image/png;base64,?"}, text("x"))}, "not in base64"),
        ({"image": "a" * 5000, "question": "q", "answer": "a"}, "File name too long"),
        ({"system": 5, "question": "q", "answer": "a"}, "system: expected a text, found 5"),
    ],
)  # fmt: skip
def test_rows_in_no_format(row: dict[str, Any], message: str, picture: Path) -> None:
    with pytest.raises(UserError, match=f"row 0.*{message}") as caught:
        read_conversation(row, "row 0", Columns(), picture.parent.joinpath)
    assert "\n" not in str(caught.value)


def test_a_number_is_an_answer() -> None:
    found = read_conversation({"question": "How many?", "answer": 3}, "row 0", Columns(), Path)
    assert found.turns == (Turn("How many?", "3"),)


def test_columns_by_other_names(picture: Path) -> None:
    columns = Columns(question="problem", answer="solution", image="photo", system="rules")
    row = {"photo": "a.png", "problem": "What is this?", "solution": "A square.", "rules": "Be brief.", "id": 3}
    found = read_conversation(row, "row 0", columns, picture.parent.joinpath)
    assert (found.turns, found.system, found.images) == (TURNS[:1], "Be brief.", (picture,))
    row = {"photo": "a.png", "chat": OPENAI}
    found = read_conversation(row, "row 0", Columns(messages="chat", image="photo"), picture.parent.joinpath)
    assert (found.turns, found.images) == (TURNS, (picture,))


@pytest.fixture
def table() -> Dataset:
    rows = {
        "photo": [Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")],
        "label": [1, 0],
        "size": ["small", "large"],
    }
    features = Features(photo=ImageColumn(), label=ClassLabel(names=["circle", "square"]), size=Value("string"))
    return Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("kind", ["parquet", "folder", "saved", "saved splits"])
def test_tables(kind: str, table: Dataset, tmp_path: Path) -> None:
    where = tmp_path / "shapes"
    match kind:
        case "parquet":
            where = tmp_path / "shapes.parquet"
            table.to_parquet(where)
        case "folder":
            where.mkdir()
            table.to_parquet(where / "train-00000-of-00001.parquet")
        case "saved":
            table.save_to_disk(where)
        case "saved splits":
            DatasetDict({"train": table}).save_to_disk(where)
    entry = SourceEntry(data=str(where), columns=Columns(image="photo"), question="What is this?", answer="A {label}.")
    opened = open_source(entry)
    assert [opened[row].turns for row in range(2)] == [TURNS[:1], (Turn("What is this?", "A circle."),)]
    assert [opened[row].load_images()[0].getpixel((0, 0)) for row in range(2)] == [(255, 0, 0), (0, 0, 255)]


def test_conversations_in_parquet(tmp_path: Path) -> None:
    message = {"role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")})}
    features = Features(images=List(ImageColumn()), messages=List(message))
    rows = {
        "images": [[Image.new("RGB", (4, 4), "red")]],
        "messages": [[
            {"role": "user", "content": [{"type": "image", "text": None}, text("What is this?")]},
            {"role": "assistant", "content": [text("A square.")]},
        ]],
    }  # fmt: skip
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "chats.parquet")
    opened = open_source(SourceEntry(data=str(tmp_path / "chats.parquet")))
    assert opened[0].turns == TURNS[:1]
    assert opened[0].load_images()[0].size == (4, 4)


def test_large_images_are_reduced(tmp_path: Path) -> None:
    Image.new("RGB", (400, 100)).save(tmp_path / "a.png")
    (tmp_path / "mine.json").write_text(json.dumps([{"image": "a.png", "conversations": LLAVA}]))
    entry = SourceEntry(data=str(tmp_path / "mine.json"))
    assert open_source(entry, 10_000)[0].load_images()[0].size == (200, 50)  # half of each side: a quarter of 40,000
    assert open_source(entry, 40_000)[0].load_images()[0].size == (400, 100)


def test_what_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not")
    for data in (str(tmp_path / "broken.parquet"), str(tmp_path / "absent.parquet"), "owner/absent"):
        with pytest.raises(UserError, match=f"mixture: {data} .* cannot be read") as caught:
            open_source(SourceEntry(data=data))
        assert "\n" not in str(caught.value)

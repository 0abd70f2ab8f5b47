"""The formats that people keep training data in: which of them a row has, and its turns, system text and images.

| format | fields of a row |
|---|---|
| LLaVA, ShareGPT | `conversations`: a list of `{"from": "human" or "gpt", "value": …}`, with `image` or `images` |
| OpenAI, TRL | `messages`: a list of `{"role": …, "content": a text, or a list of text and image parts}` |
| prompt and completion (TRL) | `prompt` and `completion`: texts or messages |
| question and answer | `question` and `answer`, with `image` or `images` |

`Columns` says where a data set calls them otherwise. An image is a path, a `data:` URL, or what the hub's parquet files
have; the mark `<image>` or an image part says where it stands, and without one it comes before the first question.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, listed
from finetune.data.conversations import IMAGE_MARK, Turn, with_leading_images
from finetune.recipes.schema import Columns

_ASKS, _ANSWERS, _SYSTEM = "user", "assistant", "system"
_ROLES = {
    "human": _ASKS,
    "user": _ASKS,
    "gpt": _ANSWERS,
    "assistant": _ANSWERS,
    "model": _ANSWERS,
    "chatgpt": _ANSWERS,
    "system": _SYSTEM,
}
_PARTS = {"text": "text", "input_text": "text", "image": "image", "image_url": "image", "input_image": "image"}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a row says: its turns, its images as stored, in the order of their marks, and a text for the system."""

    turns: tuple[Turn, ...]
    images: tuple[Any, ...]
    system: str | None = None


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    text: str
    images: tuple[Any, ...]
    """Those in parts; None is one that the row's image column has."""


def read_conversation(row: Any, where: str, columns: Columns, locate: Callable[[str], Path]) -> Conversation:
    """Return the conversation of a row in any of the formats.

    Args:
        row: an object with the fields of one of the formats.
        where: names the row in messages.
        columns: what the fields are called.
        locate: returns the file of an image that is given by its name.

    Raises:
        UserError: the row has no such fields, a text is missing, or images and marks do not match; names the row.
    """
    if not isinstance(row, Mapping):
        raise UserError(f"{where}: expected an object with conversations, found {_shown(row)}")
    messages = _messages(row, where, columns)
    system = row.get(columns.system) or None
    if messages and messages[0].role == _SYSTEM:
        system, messages = messages[0].text, messages[1:]
    if system is not None and not isinstance(system, str):
        raise UserError(f"{where}: {columns.system}: expected a text, found {_shown(system)}")
    _check_order(messages, where)
    given = _images(row, where, columns)
    turns, stored = _place(messages, given, where)
    images = tuple(_stored(image, where, locate) for image in stored)
    return Conversation(with_leading_images(turns), images, system)


def _messages(row: Mapping[str, Any], where: str, columns: Columns) -> list[_Message]:
    for name in (columns.messages, "conversations", "messages"):
        if name is not None and name in row:
            return _listed_messages(row[name], f"{where}", name)
    for asks, answers in ((columns.question, columns.answer), ("prompt", "completion")):
        if asks in row and answers in row:
            return [*_said(row[asks], _ASKS, where, asks), *_said(row[answers], _ANSWERS, where, answers)]
    raise UserError(
        f"{where}: expected messages, conversations, or {columns.question} and {columns.answer}; "
        f"found {listed(row)}; say under columns what they are called"
    )


def _said(value: Any, role: str, where: str, name: str) -> list[_Message]:
    """Return the messages of one field: a text, or messages."""
    if isinstance(value, list):
        return _listed_messages(value, where, name)
    if isinstance(value, int | float) and not isinstance(value, bool):  # a table's number is the answer's text
        value = str(value)
    return [_message({"role": role, "content": value}, f"{where}, {name}")]


def _listed_messages(value: Any, where: str, name: str) -> list[_Message]:
    if not isinstance(value, list) or not value or not all(isinstance(message, Mapping) for message in value):
        raise UserError(
            f"{where}: expected {name} that alternate user and assistant (human and gpt); found {_shown(value)}"
        )
    return [_message(message, f"{where}, message {number}") for number, message in enumerate(value)]


def _message(message: Mapping[str, Any], where: str) -> _Message:
    said = message.get("role") or message.get("from")
    role = _ROLES.get(str(said))
    if role is None:
        raise UserError(f"{where}: role {said!r}; expected user, assistant or system (human or gpt)")
    if message.get("weight") == 0:
        raise UserError(f"{where}: weight 0 is not supported: every answer is learned")
    content = message.get("content") if message.get("content") is not None else message.get("value")
    text, images = _content(content, where) if isinstance(content, list) else (content, [])
    if message.get("images"):  # as Ollama has them
        own = message["images"] if isinstance(message["images"], list) else [message["images"]]
        text, images = f"{IMAGE_MARK * len(own)}{text or ''}", [*own, *images]
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: {said} has no text, found {content!r:.40}")
    if role != _ASKS and (images or IMAGE_MARK in text):
        raise UserError(f"{where}: {said} has an image; only a question can")
    return _Message(role, text, tuple(images))


def _content(parts: Sequence[Any], where: str) -> tuple[str, list[Any]]:
    """Return the text of a list of parts, with a mark for each image, and the images."""
    texts: list[str] = []
    images: list[Any] = []
    for part in parts:
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        kind = _PARTS.get(str(part.get("type"))) if isinstance(part, Mapping) else None
        if kind is None:
            raise UserError(f"{where}: expected parts of type text or image, found {_shown(part)}")
        if kind == "text":
            text = part.get("text")
            if not isinstance(text, str) or IMAGE_MARK in text:
                raise UserError(
                    f"{where}: a part of type text has {_shown(text)}; expected a text without {IMAGE_MARK}"
                )
            texts.append(text)
        else:
            texts.append(IMAGE_MARK)
            images.append(_image_of_part(part))
    return "".join(texts), images


def _image_of_part(part: Mapping[str, Any]) -> Any:
    for name in ("image", "image_url", "url", "path", "base64"):
        value = part.get(name)
        if isinstance(value, Mapping) and "url" in value:
            value = value["url"]
        if value is not None:
            return f"data:image/*;base64,{value}" if name == "base64" else value
    return None


def _check_order(messages: Sequence[_Message], where: str) -> None:
    roles = [message.role for message in messages]
    if not roles or roles != [_ASKS, _ANSWERS] * (len(roles) // 2):
        raise UserError(
            f"{where}: expected conversations that alternate user and assistant (human and gpt); "
            f"found {listed(roles[:4])}{', …' * (len(roles) > 4)}"
        )


def _images(row: Mapping[str, Any], where: str, columns: Columns) -> list[Any]:
    """Return the images in the row's own field."""
    value = next((row[name] for name in (columns.image, "image", "images") if row.get(name)), None)
    images = value if isinstance(value, list) else [] if value is None else [value]
    if any(image is None or image == "" or isinstance(image, int | float | list) for image in images):
        raise UserError(f"{where}: {columns.image}: expected an image or a list of images, found {value!r:.60}")
    return images


def _place(messages: Sequence[_Message], given: list[Any], where: str) -> tuple[list[Turn], list[Any]]:
    """Return the turns, and the images in the order of their marks."""
    rest = iter(given)
    marks = sum(message.text.count(IMAGE_MARK) for message in messages)
    own = sum(image is not None for message in messages for image in message.images)
    if marks and marks != own + len(given):
        raise UserError(f"{where}: {marks} {IMAGE_MARK} marks in the text, and {own + len(given)} images")
    images: list[Any] = []
    for message in messages:
        parts = message.images or (None,) * message.text.count(IMAGE_MARK)
        images += [next(rest) if image is None else image for image in parts]
    pairs = zip(messages[::2], messages[1::2], strict=True)
    return [Turn(asks.text, answers.text) for asks, answers in pairs], [*images, *rest]


def _stored(image: Any, where: str, locate: Callable[[str], Path]) -> Any:
    """Return what `finetune.data.images.decode` takes.

    Raises:
        UserError: the image's file is missing, or the image is on the web.
    """
    if isinstance(image, Mapping) and image.get("bytes") is None and image.get("path"):
        image = str(image["path"])
    if not isinstance(image, str):
        return image
    if image.startswith("data:"):
        try:
            return {"bytes": base64.b64decode(image.partition(",")[2], validate=True)}
        except (binascii.Error, ValueError) as error:
            raise UserError(f"{where}: an image's data: URL is not in base64 ({error})") from error
    if image.startswith(("http://", "https://")):
        raise UserError(f"{where}: {image:.60} is on the web; download the images, and give their files")
    file = locate(image.removeprefix("file://"))
    try:
        found = file.is_file()
    except OSError as error:  # the name is too long
        raise UserError(f"{where}: image {image:.40}…: {error.strerror}") from error
    if not found:
        raise UserError(f"{where}: no image {file}; give the image folder as images:")
    return file


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.60}"

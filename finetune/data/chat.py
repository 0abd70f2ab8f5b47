"""Conversations in the checkpoint's chat template, with the question exactly as evaluation asks it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from emt_core.errors import UserError, one_line
from emt_tasks.models.prompting import PLAIN_TEMPLATE, Prompter
from finetune.data.conversations import IMAGE_MARK, Turn

_SYSTEM, _ANSWER = "@@EMT-SYSTEM@@", "@@EMT-ANSWER-{}@@"
_TEXT = "@@EMT-TEXT-{}-{}@@"
"""Stands for one piece of a question's text: the one between two images."""

_ANY_TEXT = re.compile(r"@@EMT-(?:SYSTEM|TEXT-\d+-\d+)@@")
_SPLIT = re.compile(f"({re.escape(IMAGE_MARK)})")

Segments = tuple[str | None, ...]
"""A question's texts in order; None is an image."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation as the model reads it.

    `prompt` is the text up to the first answer, with `images` images. `follow` are the texts behind it: an answer, what
    the template writes up to the next answer with its number of images, and so on; the last one ends the conversation.
    """

    prompt: str
    images: int
    follow: tuple[tuple[str, bool], ...]
    later: tuple[int, ...]

    @property
    def spreads_images(self) -> bool:
        """Whether a later question has images."""
        return any(self.later)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a rendered conversation depends on, other than its texts: `questions` has marks for those."""

    questions: tuple[Segments, ...]
    system: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    """A rendered conversation, with marks for its texts: the prompt, and what comes before and after each answer."""

    prompt: str
    around: tuple[tuple[str, str], ...]


class TrainingChat:
    """Puts conversations into the chat template of a processor.

    A question whose images come first gets its prompt from the `Prompter` that evaluates models, so both see the same
    text. The text between prompt and answer, and after an answer, comes from the chat template.
    """

    def __init__(self, processor: Any) -> None:
        self.prompter = Prompter(processor)
        self._processor = processor
        self._frame = lru_cache(maxsize=256)(self._frame_of)

    def __call__(self, turns: Sequence[Turn], images: int, system: str | None = None) -> Chat:
        """Return a conversation's texts.

        Args:
            turns: its questions, with marks where images stand, or without any if they come first.
            images: how many there are.
            system: a text for the system.

        Raises:
            UserError: the checkpoint's template cannot render it.
        """
        questions = _segments(turns, images)
        first = _images(questions[0])
        as_evaluated = not system and len(questions[0]) == first + 1 and questions[0][-1] is not None
        shape = _Shape(tuple(_marked(segments, number) for number, segments in enumerate(questions)), bool(system))
        texts = {
            _TEXT.format(number, place): text
            for number, segments in enumerate(questions)
            for place, text in enumerate(segments)
            if text is not None
        } | {_SYSTEM: system or ""}
        frame = self._frame(shape)
        prompt = self.prompter.render(questions[0][-1] or "", first) if as_evaluated else _filled(frame.prompt, texts)
        follow: list[tuple[str, bool]] = []
        for turn, (lead, behind) in zip(turns, frame.around, strict=True):
            follow += [(lead + turn.answer, True), (_filled(behind, texts), False)]
        later = map(_images, questions[1:])
        return Chat(prompt, first, tuple(follow), (*later, 0))

    def border(self, images: int) -> str:
        """Return the text between a question and its answer in the prompt."""
        return self.prompter.frame(images)[1]

    def _frame_of(self, shape: _Shape) -> _Frame:
        """Split a rendered conversation at its answers.

        What the template writes between the prompt and an answer, such as a blank, belongs to the answer: the model
        generates it.
        """
        text = self._rendered(shape)
        before: list[str] = []
        around: list[tuple[str, str]] = []
        for number, segments in enumerate(shape.questions):
            asked, _, text = text.partition(_ANSWER.format(number))
            lead = asked[asked.rfind("@@") + 2 :] if "@@" in asked else asked  # what follows the question's last text
            border = self.border(_images(segments))
            start = lead.rfind(border)
            own = (lead[start + len(border) :] if border else lead[len(lead.rstrip()) :]) if start >= 0 else ""
            before.append(asked[: len(asked) - len(own)])
            around.append((own, ""))
        behind = [*before[1:], text]
        return _Frame(before[0], tuple((own, after) for (own, _), after in zip(around, behind, strict=True)))

    def _rendered(self, shape: _Shape) -> str:
        """Render a whole conversation with marks for its texts."""
        owner = next((part for part in (self._processor, self._processor.tokenizer)
                      if getattr(part, "chat_template", None)), None)  # fmt: skip
        if owner is None:
            return self._plain(shape)

        failure = ""
        for content in (_typed, self._string):
            messages = [{"role": "system", "content": content((_SYSTEM,))}] if shape.system else []
            for number, segments in enumerate(shape.questions):
                messages += [
                    {"role": "user", "content": content(segments)},
                    {"role": "assistant", "content": content((_ANSWER.format(number),))},
                ]
            try:
                text = owner.apply_chat_template(messages, tokenize=False)
            except (TemplateError, AttributeError, KeyError, TypeError, ValueError) as error:
                failure = f" ({one_line(error)})"
                continue
            if isinstance(text, str) and self._is_sound(text, shape):
                return text
        what = f"{len(shape.questions)} questions and answers{' with a system text' if shape.system else ''}"
        raise UserError(f"model: its chat template cannot render {what}{failure}")

    def _is_sound(self, text: str, shape: _Shape) -> bool:
        """Whether a rendered conversation has each text once, in order, and a place for every image."""
        marks = [_SYSTEM] if shape.system else []
        for number, segments in enumerate(shape.questions):
            marks += [segment for segment in segments if segment is not None]
            marks.append(_ANSWER.format(number))
        places = [text.find(mark) for mark in marks]
        images = sum(map(_images, shape.questions))
        token = self.prompter.image_token
        found = text.count(token) if token else 0
        once = all(text.count(mark) == 1 for mark in marks)
        return once and places == sorted(places) and (found == images or (not found and self.prompter.inserts_images))

    def _string(self, segments: Segments) -> str:
        token = self.prompter.image_token
        if not token or self.prompter.inserts_images:
            return "".join(text for text in segments if text is not None)
        pieces = []
        for text, following in zip(segments, [*segments[1:], ""], strict=True):
            # An image before its question has a line for itself, as in evaluation.
            separate = following is None or following[:1].strip()
            pieces.append(text if text is not None else f"{token}\n" if separate else token)
        return "".join(pieces)

    def _plain(self, shape: _Shape) -> str:
        """Render a conversation of a checkpoint that has no template, as `Prompter` does for one question."""
        form = "{prompt}" if self.prompter.inserts_images else PLAIN_TEMPLATE
        turns = [
            f"{form.format(images='', prompt=self._string(segments))} {_ANSWER.format(number)}"
            for number, segments in enumerate(shape.questions)
        ]
        return "\n".join([_SYSTEM] * shape.system + turns)


def _segments(turns: Sequence[Turn], images: int) -> list[Segments]:
    """Split questions at their images' marks; without any mark, all images come before the first question."""
    if any(IMAGE_MARK in turn.question for turn in turns):
        return [_split(turn.question) for turn in turns]
    first, *rest = turns
    return [((None,) * images) + (first.question,), *((turn.question,) for turn in rest)]


def _split(question: str) -> Segments:
    pieces = [piece for piece in _SPLIT.split(question) if piece.strip()]
    leading = [piece == IMAGE_MARK for piece in pieces].index(False) if set(pieces) != {IMAGE_MARK} else len(pieces)
    if leading and leading < len(pieces):
        pieces[leading] = pieces[leading].lstrip()
    return tuple(None if piece == IMAGE_MARK else piece for piece in pieces)


def _images(segments: Segments) -> int:
    return sum(text is None for text in segments)


def _marked(segments: Segments, number: int) -> Segments:
    return tuple(None if text is None else _TEXT.format(number, place) for place, text in enumerate(segments))


def _typed(segments: Segments) -> Any:
    return [{"type": "image"} if text is None else {"type": "text", "text": text} for text in segments]


def _filled(text: str, texts: Mapping[str, str]) -> str:
    """Put the texts for their marks, all at once: a text may look like a mark."""
    return _ANY_TEXT.sub(lambda mark: texts[mark[0]], text)

"""Conversations in the checkpoint's chat template, with the question exactly as evaluation asks it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from emt_core.errors import UserError, one_line
from emt_tasks.models.prompting import PLAIN_TEMPLATE, Prompter
from finetune.data.conversations import Turn

_QUESTION, _ANSWER = "@@EMT-QUESTION-{}@@", "@@EMT-ANSWER-{}@@"


class TrainingChat:
    """Splits a conversation into the prompt of its first question and what follows.

    The prompt comes from the `Prompter` that evaluates models, so both see the same text. The text between
    prompt and answer, and after an answer, comes from the chat template.
    """

    def __init__(self, processor: Any) -> None:
        self.prompter = Prompter(processor)
        self._processor = processor
        self._pieces: dict[tuple[int, int], list[str]] = {}

    def __call__(self, turns: Sequence[Turn], images: int) -> tuple[str, list[tuple[str, bool]]]:
        """Return the first prompt, and the texts that follow, each with whether it is an answer to learn.

        Texts alternate: an answer, what the template writes up to the next answer, and so on; the last one ends the
        conversation.
        """
        pieces = self._between(len(turns), images)
        follow: list[tuple[str, bool]] = []
        for number, turn in enumerate(turns):
            lead, behind = pieces[2 * number], pieces[2 * number + 1]
            follow.append((lead + turn.answer, True))
            rest = turns[number + 1].question if number + 1 < len(turns) else ""
            follow.append((behind.replace(_QUESTION.format(number + 1), rest), False))
        return self.prompter.render(turns[0].question, images), follow

    def border(self, images: int) -> str:
        """Return the text between a question and its answer in the prompt."""
        return self.prompter.frame(images)[1]

    def _between(self, turns: int, images: int) -> list[str]:
        """Return what the template writes before and after each answer; question marks stand for later questions."""
        if (turns, images) not in self._pieces:
            text = self._rendered(turns, images)
            _, _, text = text.partition(_QUESTION.format(0))
            pieces: list[str] = []
            for number in range(turns):
                lead, _, text = text.partition(_ANSWER.format(number))
                # A blank that the template writes before the answer belongs to the answer.
                border = self.border(images if number == 0 else 0)
                start = lead.rfind(border)
                own = (lead[start + len(border) :] if border else lead[len(lead.rstrip()) :]) if start >= 0 else ""
                if number:
                    pieces[-1] += lead[: len(lead) - len(own)]
                pieces += [own, ""]
            pieces[-1] = text
            self._pieces[turns, images] = pieces
        return self._pieces[turns, images]

    def _rendered(self, turns: int, images: int) -> str:
        """Render a whole conversation with marks for its texts."""
        owner = next((part for part in (self._processor, self._processor.tokenizer)
                      if getattr(part, "chat_template", None)), None)  # fmt: skip
        if owner is None:
            return self._plain(turns)

        failure = ""
        for typed in (True, False):
            messages = []
            for number in range(turns):
                shown = images if number == 0 else 0
                messages += [
                    {"role": "user", "content": self._content(_QUESTION.format(number), shown, typed)},
                    {"role": "assistant", "content": self._content(_ANSWER.format(number), 0, typed)},
                ]
            try:
                text = owner.apply_chat_template(messages, tokenize=False)
            except (TemplateError, AttributeError, KeyError, TypeError, ValueError) as error:
                failure = f" ({one_line(error)})"
                continue
            marks = [mark.format(number) for number in range(turns) for mark in (_QUESTION, _ANSWER)]
            if isinstance(text, str) and [text.count(mark) for mark in marks] == [1] * len(marks):
                return text
        raise UserError(f"model: its chat template cannot render {turns} questions and answers{failure}")

    def _content(self, text: str, images: int, typed: bool) -> Any:
        if typed:
            return [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]
        token = self.prompter.image_token
        return f"{token}\n" * images + text if token and not self.prompter.inserts_images else text

    def _plain(self, turns: int) -> str:
        """Render a conversation of a checkpoint that has no template, as `Prompter` does for one question."""
        form = "{prompt}" if self.prompter.inserts_images else PLAIN_TEMPLATE
        questions = [form.format(images="", prompt=_QUESTION.format(number)) for number in range(turns)]
        return "\n".join(f"{question} {_ANSWER.format(number)}" for number, question in enumerate(questions))

"""Rows and logged samples: what was answered, and what it is judged against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emt_core.errors import UserError
from emt_core.files import Row
from judges.target import Classification, MultipleChoice, ShortAnswer, Target
from judges.verdict import Verdict
from judges.vocabulary import find_kind, find_vocabulary

KINDS = ("classification", "multiple_choice", "short_answer")
_OTHER_NAMES = {"open_vqa": "short_answer"}


def answer_of(row: Row, where: str) -> tuple[str, Target]:
    """Return the answer and the target of a logged sample or a plain row.

    A sample has `filtered_resps` and `judge_target`. A plain row has `task`, `label`, `prediction`, `choices` for a
    multiple-choice question, and `kind` if the task does not tell.

    Raises:
        UserError: a field is missing or of the wrong type.
    """
    if "judge_target" in row:
        return _text(row, "filtered_resps", where), _target(row["judge_target"], where)
    return _text(row, "prediction", where), _target(row, where)


def class_name_chosen(verdict: Verdict, target: MultipleChoice) -> float | None:
    """1 if the answer commits to the wrong option that is the class's name; None if it is unscored."""
    if verdict.category == "unscored":
        return None
    name = (target.class_name or "").casefold()
    letters = (chr(ord("A") + position) for position in range(len(target.choices)))
    distractors = {
        letter
        for letter, choice in zip(letters, target.choices, strict=True)
        if choice.casefold() == name and letter != target.label
    }
    chosen = {match.label for match in verdict.matches}
    return float(len(chosen) == 1 and chosen <= distractors)


def _text(row: Row, field: str, where: str) -> str:
    value = row.get(field)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise UserError(f"{where}: field {field!r}: expected text, found {_shown(row, field)}")
    return value


def _target(data: Any, where: str) -> Target:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: field 'judge_target': expected an object, found {str(data)[:60]!r}")
    label, choices = data.get("label"), data.get("choices")
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise UserError(f"{where}: field 'label': expected text or a number, found {_shown(data, 'label')}")
    task = str(data.get("vocabulary") or data.get("task") or "")
    kind = data.get("kind") or _kind(task, choices)
    kind = _OTHER_NAMES.get(kind, kind)
    if kind == "short_answer":
        return ShortAnswer(str(label))
    if kind == "multiple_choice":
        if not (isinstance(choices, list) and choices and all(isinstance(choice, str) for choice in choices)):
            raise UserError(f"{where}: field 'choices': expected a list of strings, found {_shown(data, 'choices')}")
        return MultipleChoice(str(label), tuple(choices), data.get("class_name"))
    if kind == "classification":
        return _classification(task, label, where)
    raise UserError(f"{where}: field 'kind': expected one of {', '.join(KINDS)}, found {kind!r}")


def _classification(task: str, label: int | str, where: str) -> Classification:
    try:
        vocabulary = find_vocabulary(task)
    except UserError as error:
        raise UserError(f"{where}: field 'task': {error}") from error
    try:
        vocabulary.resolve(label)
    except UserError as error:
        raise UserError(f"{where}: field 'label': {error}") from error
    return Classification(label, vocabulary)


def _kind(task: str, choices: Any) -> str:
    if choices:
        return "multiple_choice"
    return find_kind(task) or "classification"


def _shown(row: Mapping[str, Any], field: str) -> str:
    return repr(row[field])[:60] if field in row else "none"

"""Blanks what an answer is wrapped in: HTML, chat templates, JSON keys, code fences, addresses. Offsets stay."""

from __future__ import annotations

import re
from collections.abc import Iterable

from judges.fuzzy.text.normalize import blank
from judges.fuzzy.text.wordlists import alternatives, word_list

_MOST = 0.7
"""The share of a question that an answer has to be for the question to be that answer."""

# ASCII text without any of these needs no cleaning and has no blanks to join.
SUSPICIOUS = re.compile(r"[<>{}\[\]\\`~@?:\t\n\v\f\r]|  |www\.")

_HIDDEN = re.compile(
    rf"<!--(?:(?!<!--).)*?-->|<({alternatives('markup', 'hidden_tags')})\b[^<>]*>.*?(?:</\1\s*>|\Z)|~~[^~\n]+~~",
    re.I | re.S,
)
_THOUGHT = re.compile(rf"<(/?)({alternatives('markup', 'thought_tags')})>", re.I)
_ANSWER = re.compile(
    rf"<({alternatives('markup', 'answer_tags')})>(.*?)(?:</\1>|\Z)|\\boxed\s*\{{([^{{}}]*)\}}", re.I | re.S
)
_SPECIAL = re.compile(r"<\|[^|<>\n]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<pad>|<unk>|<image>|<0x[0-9A-F]{2}>", re.I)
_TAG = re.compile(r"</?([a-zA-Z][\w-]*)(\s[^<>]*)?/?>")
_TAG_NAMES = word_list("markup", "tags")
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{1,6}|#x[0-9a-f]{1,5});", re.I)
_ESCAPE = re.compile(r"\\[nrt](?![a-z]{3})|\\[nrt](?=[A-Z])|\\(?=[\"'*_])")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|\b[\w.+\-]{1,64}@[\w\-]{1,64}(?:\.[\w\-]{1,64}){1,4}", re.I)
_FENCE = re.compile(r"```[ \t]{0,9}[a-zA-Z]{0,20}(?=[ \t]{0,9}\n)")
_ROLE_START = re.compile(
    rf"(?:^|\n)[ \t]*(?:#+ *)?(?:\*\*)?(?:{alternatives('markup', 'assistant')})(?:\*\*)?[ \t]*:"
    r"|<\|?(?:im_start\|>[ \t]*)?assistant\|?>?[ \t]*:?|\[/INST\]|<start_of_turn>model",
    re.I,
)
_ROLE_END = re.compile(
    rf"(?:^|\n)[ \t]*(?:#+ *)?(?:\*\*)?(?:{alternatives('markup', 'user')})(?:\*\*)?[ \t]*:"
    r"|<\|?(?:im_start\|>[ \t]*)?user\|?>|<\|?(?:im_end|eot_id|end|endoftext)\|>|\[INST\]|<start_of_turn>user",
    re.I,
)
_QUESTION = re.compile(
    r"(?:(?<=[.!?\n:])|\A)\s{0,40}(?:question:\s*|q:\s*)?"
    rf"(?:{alternatives('markup', 'question_words')})\b[^.!?\n]{{0,500}}\?"
    rf"(?!\s{{0,9}}(?:{alternatives('markup', 'confirms')})\b)",
    re.I,
)
_PROMPT_ECHO = re.compile(
    r"please only answer (?:the question|a single (?:object|number) in)[^\n]*?(?:\.(?=\s)|\.?$|\n)", re.I
)
_PAIR = re.compile(
    r"""(["'])(?P<key>[^"'\n]{1,60})\1\s{0,9}:\s{0,9}"""
    r"""(?P<value>"(?:[^"\\\n]|\\.){0,1000}"|'(?:[^'\\\n]|\\.){0,1000}'|\[[^\]\n]{0,1000}\]|[^,}\n\]]*)"""
)
_ANSWER_KEYS = word_list("markup", "answer_keys")
_OTHER_KEYS = word_list("markup", "other_keys")


def clean(text: str, answers: Iterable[str] = ()) -> str:
    """Return the text at its original length, with all wrapping blanked.

    Questions are blanked too, unless one is itself among the possible `answers`: "Who Moved My Cheese?"
    """
    if not SUSPICIOUS.search(text):
        return text
    text = _blank_all(_HIDDEN, text, keep_if_empty=True)
    text = without_thoughts(text)
    text = _last_turn(text)
    text = _keep_answer(text)
    text = _blank_all(_SPECIAL, text)
    text = _blank_tags(text)
    for pattern in (_ENTITY, _ESCAPE, _ADDRESS, _FENCE):
        text = _blank_all(pattern, text)
    if "{" in text:
        text = _blank_json(text)
    text = _blank_all(_PROMPT_ECHO, text, keep_if_empty=True)
    if "?" in text:
        known = [answer.casefold().rstrip("? ") for answer in answers]
        asked = (match for match in _QUESTION.finditer(text) if not _is_answer(match.group(), known))
        text = blank(text, (match.span() for match in asked))
    return text


def _is_answer(question: str, known: Iterable[str]) -> bool:
    """Whether a question is part of a known answer, or is one with few words around it."""
    text = question.strip().casefold()
    return any(text in answer or (answer in text and len(answer) > _MOST * len(text)) for answer in known)


def _blank_all(pattern: re.Pattern[str], text: str, *, keep_if_empty: bool = False) -> str:
    """Blank every match; with `keep_if_empty`, only if something else is left."""
    result = blank(text, (match.span() for match in pattern.finditer(text)))
    return result if result.strip() or not keep_if_empty else text


def without_thoughts(text: str) -> str:
    """Blank what a model thinks before it answers; thinking that never ends leaves no answer.

    Where the prompt has opened the block, the text before its end is thinking too. If nothing follows the thinking, it
    is all that there is to read.
    """
    finished: list[tuple[int, int]] = []
    opened: tuple[int, str] | None = None
    for tag in _THOUGHT.finditer(text):
        name = tag[2].lower()
        if not tag[1]:
            opened = opened or (tag.start(), name)
        elif opened and opened[1] == name:
            finished.append((opened[0], tag.end()))
            opened = None
        elif not opened and not finished:
            finished.append((0, tag.end()))
    if opened:
        text = blank(text, [(opened[0], len(text))])
    result = blank(text, finished)
    return result if result.strip() else text


def _last_turn(text: str) -> str:
    """Keep the assistant's turn: what follows the last assistant marker, or precedes the next user's turn."""
    starts = [match.end() for match in _ROLE_START.finditer(text) if text[match.end() : match.end() + 1]]
    length = len(text.rstrip())
    start = max((start for start in starts if start < length), default=0)
    for match in _ROLE_END.finditer(text, start):
        if text[start : match.start()].strip():
            return blank(text, [(0, start), (match.start(), len(text))])
    return blank(text, [(0, start)])


def _keep_answer(text: str) -> str:
    """Keep only what is in <answer> or boxed, if there is such a place and it is not empty."""
    spans = [match.span(2) if match.group(2) is not None else match.span(3) for match in _ANSWER.finditer(text)]
    spans = [span for span in spans if text[slice(*span)].strip()]
    if not spans:
        return text
    starts, ends = zip(*spans, strict=True)
    return blank(text, zip((0, *ends), (*starts, len(text)), strict=True))


def _blank_tags(text: str) -> str:
    """Blank HTML tags, and other tags that have attributes or are closed; "<cat>" alone is an answer."""
    tags = list(_TAG.finditer(text))
    closed = {tag.group(1).lower() for tag in tags if tag.group().startswith("</")}
    known = _TAG_NAMES | closed
    return blank(text, (tag.span() for tag in tags if tag.group(1).lower() in known or tag.group(2)))


def _blank_json(text: str) -> str:
    """Blank keys, and the values of keys that are not answers ("confidence", "reason")."""
    return blank(text, (_json_wrapping(pair) for pair in _PAIR.finditer(text)))


def _json_wrapping(pair: re.Match[str]) -> tuple[int, int]:
    """Return the parts of a key and its value that are not the answer."""
    key = pair.group("key").strip().lower().replace(" ", "_").replace("-", "_")
    value = pair.group("value").strip().lower()
    words = set(key.split("_"))
    if key in _ANSWER_KEYS or (words & _ANSWER_KEYS and not words & _OTHER_KEYS):
        return pair.span("key")
    if value in {"true", "yes", '"yes"'} or (re.fullmatch(r"[\d.]+%?", value) and value.strip("0.%")):
        # {"cat": 0.9}: the key is what is answered, if it is a label.
        return pair.span("value")
    return pair.span()

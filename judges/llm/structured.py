"""Structured output: the JSON schema of a reply, how it is read, and whether the server holds its model to it."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Literal

from emt_core.errors import UserError, listed
from judges.settings import STRUCTURED
from judges.verdict import Category

if TYPE_CHECKING:
    from pydantic import BaseModel

    from judges.llm.cache import AnswerCache

ResponseFormat = dict[str, Any]
"""The field `response_format` of a request."""

_LOG = logging.getLogger(__name__)

_PATIENCE_S = 30.0
_REFUSING = (400, 422, 501)
_NAMES = re.compile(r"response.?format|json.?schema|structured.?output|guided.?(json|decoding)|grammar", re.IGNORECASE)
_WORKS, _DOES_NOT = "works", "does not work"


@cache
def _grade(offered: tuple[Category, ...]) -> type[BaseModel]:
    """The model of a reply: the reason first, so that the grade follows from it."""
    from pydantic import ConfigDict, create_model

    kinds: Any = Literal[offered]
    return create_model("Grade", __config__=ConfigDict(extra="forbid"), reason=(str, ...), category=(kinds, ...))


@cache
def response_format(offered: tuple[Category, ...]) -> ResponseFormat:
    """Ask for a reply of one reason and one of these categories."""
    schema = {"name": "grade", "strict": True, "schema": _grade(offered).model_json_schema()}
    return {"type": "json_schema", "json_schema": schema}


def read_grade(reply: str, offered: tuple[Category, ...]) -> Category | None:
    """Return the category of a reply that is such a JSON object, with or without a fence; None if it is not."""
    from pydantic import ValidationError

    text = reply.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        # A server that holds nothing back may answer "Correct": only the category matters here, whatever its case.
        found: Category = _grade(offered).model_validate_json(text.casefold()).category  # type: ignore[attr-defined]
    except ValidationError:
        return None
    return found


def refuses(error: Exception) -> bool:
    """Whether a server's error says that it takes no schema, or not this one."""
    return getattr(error, "status_code", None) in _REFUSING and bool(_NAMES.search(str(error)))


class SchemaUse:
    """Whether to send a schema: as the setting says; with `auto`, as the server's first reply shows.

    A server shows that it takes none by an error that names the field, or by a reply that is no JSON. What it showed is
    kept in the cache, so that a later run asks in the same way from its first call. Safe to share between threads.
    """

    def __init__(self, setting: str, model: str, base_url: str | None) -> None:
        if setting not in STRUCTURED:
            raise UserError(f"structured: expected one of {listed(STRUCTURED)}, found {setting!r}")
        self.automatic = setting == "auto"
        self._works = {"on": True, "off": False}.get(setting)
        self._model = model
        self._key = hashlib.sha256(json.dumps(["response_format", base_url, model]).encode()).hexdigest()
        self._kept = not self.automatic
        self._lock = Lock()
        self._entered = False
        self._first_replied = Event()

    @property
    def wanted(self) -> bool:
        """Whether requests should carry a schema."""
        return self._works is not False

    @property
    def decided(self) -> bool:
        """Whether that is known."""
        return self._works is not None

    def load(self, kept: AnswerCache | None) -> None:
        """Learn what the server showed in an earlier run."""
        if self._works is None and kept is not None and (found := kept.get(self._key)) is not None:
            self._works = found == _WORKS
            self._kept = True

    def save(self, kept: AnswerCache | None) -> None:
        """Keep what the server showed for later runs."""
        if self._works is not None and not self._kept and kept is not None:
            kept.put(self._key, _WORKS if self._works else _DOES_NOT, model=self._model, prompt="response_format")
            self._kept = True

    def learn(self, works: bool, why: str = "") -> None:
        """Note what the server showed, and say once if it takes no schema."""
        with self._lock:
            news, self._works = self._works is not works, works
            self._kept = self._kept and not news
        if news and not works:
            _LOG.warning("%s takes no JSON schema (%s): asking without one", self._model, why)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let one caller find out, and hold the others back meanwhile, but not for long."""
        with self._lock:
            first, self._entered = not self._entered, True
        if not first:
            if not self.decided:
                self._first_replied.wait(_PATIENCE_S)
            yield
            return
        try:
            yield
        finally:
            self._first_replied.set()

"""The judges' settings, and the environment variables that supply the missing ones.

| setting | environment | default |
|---|---|---|
| `model` | `EMT_JUDGE_MODEL` | none; LLM judges need it |
| `base_url` | `EMT_JUDGE_BASE_URL`, `OPENAI_BASE_URL` | OpenAI's own, if there is a key |
| `api_key` | `EMT_JUDGE_API_KEY`, `OPENAI_API_KEY` | none |
| `cache` | `EMT_JUDGE_CACHE` | `~/.cache/emt-eval/judge.sqlite`; `off` for none |
| `concurrency` | `EMT_JUDGE_CONCURRENCY` | 16 requests at a time |
| `timeout_s` | `EMT_JUDGE_TIMEOUT` | 60 seconds per attempt |
| `max_retries` | `EMT_JUDGE_RETRIES` | 5 after the first attempt |
| `max_calls` | `EMT_JUDGE_MAX_CALLS` | no limit |
| `price_in`, `price_out` | `EMT_JUDGE_PRICE_IN`, `EMT_JUDGE_PRICE_OUT` | 0, for a million tokens |
| `give_up_after` | | 20 failed calls in a row |
| `threshold` (cascade) | `EMT_JUDGE_THRESHOLD` | 0.7 |
| `model` (embedding) | `EMT_JUDGE_EMBEDDING` | `sentence-transformers/all-MiniLM-L6-v2` |

The environment is read when a judge is created, never at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from emt_core.errors import UserError
from emt_core.folders import user_cache

SettingsT = TypeVar("SettingsT", bound="JudgeSettings")


def _from(*variables: str, read: Callable[[str], Any] = str, **arguments: Any) -> Any:
    """A field whose default comes from the first of these environment variables that is set and not empty."""
    return field(metadata={"variables": variables, "read": read}, **arguments)


def _whole_number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _number(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise ValueError(text)
    return number


def _cache_path(text: str) -> str | None:
    return None if text.casefold() == "off" else str(Path(text).expanduser())


def _default_cache() -> str:
    return str(user_cache() / "judge.sqlite")


@dataclass(frozen=True)
class JudgeSettings:
    """What a judge is built with; hashable, so that equal settings share one judge."""

    @classmethod
    def resolve(cls: type[SettingsT], given: Mapping[str, Any]) -> SettingsT:
        """Fill in missing settings from the environment; None counts as missing.

        Raises:
            UserError: a setting is unknown, or a variable has an invalid value.
        """
        known = {setting.name: setting for setting in fields(cls)}
        values = {name: value for name, value in given.items() if value is not None}
        for name in values:
            if name not in known:
                raise UserError(f"unknown setting {name!r}; choose from {', '.join(known) or 'none'}")
        for name, setting in known.items():
            for variable in setting.metadata.get("variables", ()):
                text = os.environ.get(variable)
                if name in values or not text:
                    continue
                try:
                    values[name] = setting.metadata["read"](text)
                except ValueError as error:
                    raise UserError(f"{variable}={text!r}: expected a non-negative number") from error
        return cls(**values)


@dataclass(frozen=True)
class LLMSettings(JudgeSettings):
    """Which server an LLM judge asks, and how often it tries."""

    model: str | None = _from("EMT_JUDGE_MODEL", default=None)
    base_url: str | None = _from("EMT_JUDGE_BASE_URL", "OPENAI_BASE_URL", default=None)
    api_key: str | None = _from("EMT_JUDGE_API_KEY", "OPENAI_API_KEY", default=None, repr=False)
    cache: str | None = _from("EMT_JUDGE_CACHE", read=_cache_path, default_factory=_default_cache)
    concurrency: int = _from("EMT_JUDGE_CONCURRENCY", read=_whole_number, default=16)
    timeout_s: float = _from("EMT_JUDGE_TIMEOUT", read=_number, default=60.0)
    max_retries: int = _from("EMT_JUDGE_RETRIES", read=_whole_number, default=5)
    max_calls: int | None = _from("EMT_JUDGE_MAX_CALLS", read=_whole_number, default=None)
    price_in: float = _from("EMT_JUDGE_PRICE_IN", read=_number, default=0.0)
    price_out: float = _from("EMT_JUDGE_PRICE_OUT", read=_number, default=0.0)
    give_up_after: int = 20

    HOW: ClassVar[str] = "set EMT_JUDGE_MODEL, and EMT_JUDGE_BASE_URL or OPENAI_API_KEY"

    @property
    def configured(self) -> bool:
        """Whether there is a server to ask and a model to ask for."""
        return bool(self.model and (self.base_url or self.api_key))


@dataclass(frozen=True)
class CascadeSettings(LLMSettings):
    """An LLM's settings, and the confidence below which it is asked instead of the rules."""

    threshold: float = _from("EMT_JUDGE_THRESHOLD", read=_number, default=0.7)


@dataclass(frozen=True)
class EmbeddingSettings(JudgeSettings):
    """Which text encoder embeds answers and labels.

    `model` is the name or folder of a sentence-transformers model, or `open_clip:ARCHITECTURE/WEIGHTS`, where
    WEIGHTS is a tag of open_clip or a file. `template` turns a label into the phrase that is embedded.
    `short_answer_similarity` is the lowest cosine at which a short answer counts as the same.
    """

    model: str = _from("EMT_JUDGE_EMBEDDING", default="sentence-transformers/all-MiniLM-L6-v2")
    template: str = "{label}"
    short_answer_similarity: float = 0.8
    device: str = "cpu"

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
| `structured` | `EMT_JUDGE_STRUCTURED` | `auto`: a JSON schema where the server takes one; `on`, `off` |
| `give_up_after` | | 20 failed calls in a row |
| `threshold` (cascade) | `EMT_JUDGE_THRESHOLD` | 0.7 |
| `model` (embedding) | `EMT_JUDGE_EMBEDDING` | `sentence-transformers/all-MiniLM-L6-v2` |

For a panel, `model`, `base_url`, `api_key`, `price_in` and `price_out` hold one value for all models, or one for each,
separated by commas. The environment is read when a judge is created, never at import.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from emt_core.errors import UserError, listed
from emt_core.folders import user_cache

SettingsT = TypeVar("SettingsT", bound="JudgeSettings")

STRUCTURED = ("auto", "on", "off")
"""Whether a server is asked to hold its replies to a JSON schema."""


def _from(*variables: str, read: Callable[[str], Any] = str, several: bool = False, **arguments: Any) -> Any:
    """A field whose default comes from the first of these environment variables that is set and not empty.

    With `several` it holds a tuple, and the variable's values are separated by commas.
    """
    return field(metadata={"variables": variables, "read": read, "several": several}, **arguments)


def _read(setting: Field[Any], text: str) -> Any:
    """Read a variable's value."""
    if setting.metadata["several"]:
        return tuple(setting.metadata["read"](part.strip()) for part in text.split(","))
    return setting.metadata["read"](text)


def _in_shape(setting: Field[Any], value: Any) -> Any:
    """Return a given value as the field holds it: one, or a tuple of several."""
    given = tuple(value) if isinstance(value, list | tuple) else (value,)
    if setting.metadata.get("several"):
        return given
    if len(given) != 1:
        raise UserError(f"{setting.name}: expected one, found {len(given)}: {listed(given)}; 'panel' takes several")
    return given[0]


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


def _one_model(text: str) -> str:
    if "," in text:
        raise UserError(f"EMT_JUDGE_MODEL={text!r}: expected one model; only the judge 'panel' asks several")
    return text


def _structured(text: str) -> str:
    if text not in STRUCTURED:
        raise UserError(f"EMT_JUDGE_STRUCTURED={text!r}: expected one of {listed(STRUCTURED)}")
    return text


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
        values = {name: _in_shape(known[name], value) for name, value in values.items()}
        for name, setting in known.items():
            for variable in setting.metadata.get("variables", ()):
                text = os.environ.get(variable)
                if name in values or not text:
                    continue
                try:
                    values[name] = _read(setting, text)
                except ValueError as error:
                    raise UserError(f"{variable}={text!r}: expected a non-negative number") from error
        return cls(**values)


@dataclass(frozen=True)
class _Asking(JudgeSettings):
    """How servers are asked, and how often."""

    cache: str | None = _from("EMT_JUDGE_CACHE", read=_cache_path, default_factory=_default_cache)
    concurrency: int = _from("EMT_JUDGE_CONCURRENCY", read=_whole_number, default=16)
    timeout_s: float = _from("EMT_JUDGE_TIMEOUT", read=_number, default=60.0)
    max_retries: int = _from("EMT_JUDGE_RETRIES", read=_whole_number, default=5)
    max_calls: int | None = _from("EMT_JUDGE_MAX_CALLS", read=_whole_number, default=None)
    structured: str = _from("EMT_JUDGE_STRUCTURED", read=_structured, default="auto")
    give_up_after: int = 20


@dataclass(frozen=True)
class _OneModel(JudgeSettings):
    """A model, its server, and its prices."""

    model: str | None = _from("EMT_JUDGE_MODEL", read=_one_model, default=None)
    base_url: str | None = _from("EMT_JUDGE_BASE_URL", "OPENAI_BASE_URL", default=None)
    api_key: str | None = _from("EMT_JUDGE_API_KEY", "OPENAI_API_KEY", default=None, repr=False)
    price_in: float = _from("EMT_JUDGE_PRICE_IN", read=_number, default=0.0)
    price_out: float = _from("EMT_JUDGE_PRICE_OUT", read=_number, default=0.0)


@dataclass(frozen=True)
class LLMSettings(_Asking, _OneModel):
    """Which server an LLM judge asks, and how often it tries."""

    HOW: ClassVar[str] = "set EMT_JUDGE_MODEL, and EMT_JUDGE_BASE_URL or OPENAI_API_KEY"

    @property
    def configured(self) -> bool:
        """Whether there is a server to ask and a model to ask for."""
        return bool(self.model and (self.base_url or self.api_key))


@dataclass(frozen=True)
class _Models(JudgeSettings):
    """Several models: of each other field, one value for all of them, or one for each."""

    model: tuple[str, ...] = _from("EMT_JUDGE_MODEL", several=True, default=())
    base_url: tuple[str, ...] = _from("EMT_JUDGE_BASE_URL", "OPENAI_BASE_URL", several=True, default=("",))
    api_key: tuple[str, ...] = _from("EMT_JUDGE_API_KEY", "OPENAI_API_KEY", several=True, default=("",), repr=False)
    price_in: tuple[float, ...] = _from("EMT_JUDGE_PRICE_IN", several=True, read=_number, default=(0.0,))
    price_out: tuple[float, ...] = _from("EMT_JUDGE_PRICE_OUT", several=True, read=_number, default=(0.0,))


@dataclass(frozen=True)
class PanelSettings(_Asking, _Models):
    """The models of a panel, their servers, and how often they are asked.

    `model` names two or more, separated by commas in the environment. `base_url`, `api_key`, `price_in` and `price_out`
    hold one value for all, or one for each model in the same order. Several servers need a key each, which may be
    empty: no server is sent another's. `max_calls` counts the calls of all models together.
    """

    def members(self) -> tuple[LLMSettings, ...]:
        """Return each model's own settings.

        Raises:
            UserError: there are fewer than two models, one is named twice, or a field has another number of values.
        """
        models = self.model
        if len(models) < 2:
            raise UserError(f"panel: expected two models or more, found {listed(models)}; set EMT_JUDGE_MODEL to a,b,c")
        if len(set(models)) < len(models) or "" in models:
            raise UserError(f"panel: expected models of different names, found {listed(map(repr, models))}")
        if len(set(self.base_url)) > 1 and len(self.api_key) == 1 and self.api_key != ("",):
            raise UserError(
                f"panel: 1 API key for {len(set(self.base_url))} servers; set EMT_JUDGE_API_KEY to one for each model, "
                "separated by commas, empty for a server that needs none"
            )
        shared = {setting.name: getattr(self, setting.name) for setting in fields(_Asking)}
        own = [self._for_each(name) for name in ("base_url", "api_key", "price_in", "price_out")]
        return tuple(
            LLMSettings(model, base_url=url or None, api_key=key or None, price_in=sent, price_out=received, **shared)
            for model, url, key, sent, received in zip(models, *own, strict=True)
        )

    def _for_each(self, name: str) -> tuple[Any, ...]:
        values: tuple[Any, ...] = getattr(self, name)
        if len(values) not in (1, len(self.model)):
            raise UserError(f"panel: {name}: expected 1 value, or one for each model, found {len(values)}")
        return values * len(self.model) if len(values) == 1 else values


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

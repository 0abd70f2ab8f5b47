"""Models that something else runs, a server or an engine: what they are called, and how lmms-eval is told of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emt_core.errors import UserError, listed, one_line

URL_VARIABLE = "OPENAI_API_BASE"
KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Engine:
    """One of lmms-eval's own models that we put our tasks to.

    Attributes:
        name: what lmms-eval calls it.
        needs: the package that runs the model.
        defaults: arguments that differ from lmms-eval's.
        remote: whether requests go to a server, several at a time.
    """

    name: str
    needs: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    remote: bool = False


# lmms-eval runs a checkpoint's own code in these two unless told otherwise.
_NO_CODE = {"trust_remote_code": False}

ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine("openai", "openai", remote=True),
        Engine("litellm", "litellm", remote=True),
        Engine("vllm", "vllm", _NO_CODE),
        Engine("sglang", "sglang", _NO_CODE),
    )
}


@dataclass(frozen=True, slots=True)
class Served:
    """A model that an engine runs: `openai:MODEL@URL`, `litellm:MODEL`, `vllm:MODEL`, `sglang:MODEL`."""

    engine: Engine
    model: str
    url: str | None = None

    def __str__(self) -> str:
        return f"{self.engine.name}:{self.model}" + (f"@{self.url}" if self.url else "")

    def arguments(self) -> str:
        """Return lmms-eval's `--model_args` of `emt_served`."""
        named = {"engine": self.engine.name, "model": self.model, "base_url": self.url}
        return ",".join(f"{name}={value}" for name, value in named.items() if value)

    def reach(self, timeout_s: float = 10.0) -> None:
        """Make sure, before anything heavy is imported, that the server is there and has the model.

        Servers that do not list their models are taken at their word.

        Raises:
            UserError: nothing answers, the key is refused, or the server lists others.
        """
        if self.engine.name != "openai":
            return
        # Imported here, since it takes half a second.
        from openai import APIConnectionError, APIError, AuthenticationError, OpenAI

        address = self.url or os.environ.get(URL_VARIABLE)
        client = OpenAI(base_url=address, api_key=api_key(), timeout=timeout_s, max_retries=1)
        try:
            there = [str(model.id) for model in client.models.list()]
        except APIConnectionError as error:
            raise UserError(
                f"{self}: no server answers at {client.base_url} ({one_line(error.__cause__ or error)})"
            ) from error
        except AuthenticationError as error:
            raise UserError(f"{self}: the server refuses the key in ${KEY_VARIABLE} ({one_line(error)})") from error
        except (APIError, TypeError, ValueError, AttributeError):
            return
        if there and self.model not in there:
            raise UserError(f"{self}: the server has no such model; it has {listed(sorted(there)[:8])}")


def api_key() -> str:
    """Return the key for a server: a local one needs none, but the client does."""
    return os.environ.get(KEY_VARIABLE) or "none"


def read(name: str, kind: str | None = None) -> Served | None:
    """Return the served model of this name; None where transformers is to load it.

    Args:
        name: with the engine before a colon, or the bare model if `kind` is an engine.
        kind: `--model-kind`.

    Raises:
        UserError: there is no model in it, or an address that lmms-eval's arguments cannot hold.
    """
    prefix, _, rest = name.partition(":")
    if prefix in ENGINES:
        engine = ENGINES[prefix]
    elif kind is not None and kind in ENGINES:
        engine, rest = ENGINES[kind], name
    else:
        return None
    model, _, url = re.fullmatch(r"(.*?)(@(https?://.*))?", rest).groups("")  # type: ignore[union-attr]
    if not model:
        raise UserError(f"{name}: no model in it; expected {engine.name}:MODEL" + ("@URL" if engine.remote else ""))
    if url and not engine.remote:
        raise UserError(f"{name}: {engine.name} loads the model itself; for a server of it: openai:{model}@{url}")
    if faulty := set(",=") & set(model + url):
        raise UserError(f"{name}: {' and '.join(sorted(faulty))} cannot be in a served model's name or address")
    return Served(engine, model, url or None)

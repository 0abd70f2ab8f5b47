"""Asks an OpenAI-compatible server: each question once, a limited number at a time, failures kept apart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, one_line
from judges.llm.cache import AnswerCache
from judges.llm.workers import Workers
from judges.settings import LLMSettings

if TYPE_CHECKING:
    from openai import OpenAI

CHARACTERS_PER_TOKEN = 4

Sampling = tuple[tuple[str, float], ...]
"""A request's fields besides model and messages: temperature, max_tokens, …"""


@dataclass(frozen=True)
class ChatRequest:
    """One request for a chat completion.

    `version` names the prompt; `well_formed` says whether an answer is worth keeping.
    """

    text: str
    sampling: Sampling
    version: str
    well_formed: Callable[[str], bool]

    def key(self, model: str) -> str:
        """Return a hash of everything that the answer depends on."""
        content = json.dumps([model, self.version, self.sampling, self.text])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def tokens(self) -> int:
        """About how many tokens the request has, at four characters per token."""
        return len(self.text) // CHARACTERS_PER_TOKEN + 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a text, or the reason why there is none.

    `failed` means that the server is to blame; `over_limit` that `max_calls` was reached, so that nothing was asked.
    """

    text: str | None
    error: str | None = None
    failed: bool = False
    over_limit: bool = False


class Chat:
    """Asks one model on one server.

    `calls` counts the questions that neither the cache nor the limit answered, `failures` those of them that the server
    left without an answer, and `last_error` says why. Any number of threads may ask and wait. The client retries
    time-outs, lost connections, 408, 409, 429 and 5xx, with exponential backoff, jitter and the server's Retry-After;
    after `give_up_after` failed calls in a row nothing more is asked. Only well-formed answers go into the cache:
    everything else is asked again by the next run.
    """

    def __init__(self, settings: LLMSettings) -> None:
        if not settings.configured:
            raise UserError(f"no LLM to judge with: {settings.HOW} (see judges.settings)")
        if settings.base_url and not settings.base_url.startswith(("http://", "https://")):
            raise UserError(f"base URL {settings.base_url!r} of the LLM judge: expected http://… or https://…")
        self.settings = settings
        self.model = settings.model or ""
        self.calls = 0
        self.failures = 0
        self.last_error = ""
        self._failures_in_a_row = 0
        self._asked: dict[str, Future[Reply]] = {}
        self._lock = Lock()
        self._process = os.getpid()

    def ask(self, request: ChatRequest) -> Future[Reply]:
        """Return a future for the reply; a repeated request shares its reply."""
        if os.getpid() != self._process:
            raise RuntimeError("an LLM judge does not survive a fork: start the workers with 'spawn'")
        key = request.key(self.model)
        with self._lock:
            if key in self._asked:
                return self._asked[key]
            kept = self._cache.get(key) if self._cache else None
            if kept is not None:
                return self._answered(key, Reply(kept))
            limit = self.settings.max_calls
            if limit is not None and self.calls >= limit:
                return self._answered(key, Reply(None, f"the limit of {limit} calls is reached", over_limit=True))
            self.calls += 1
            future = self._workers.submit(partial(self._answer, self._client, key, request))
            self._asked[key] = future
            return future

    def knows(self, request: ChatRequest) -> bool:
        """Whether the answer is in the cache."""
        with self._lock:
            return self._cache is not None and self._cache.get(request.key(self.model)) is not None

    def keep(self, request: ChatRequest, text: str) -> None:
        """Put an answer that came another way into the cache."""
        with self._lock:
            if self._cache:
                self._cache.put(request.key(self.model), text, model=self.model, prompt=request.version)

    @property
    def client(self) -> OpenAI:
        """The server's client."""
        return self._client

    def close(self) -> None:
        """Drop what is queued or under way and close connections and cache; they open again with the next question.

        Does not wait for the server: the reply to a request under way is discarded.
        """
        with self._lock:
            opened = {name: self.__dict__.pop(name, None) for name in ("_workers", "_client", "_cache")}
            self._asked = {key: future for key, future in self._asked.items() if future.done()}
        if workers := opened["_workers"]:
            workers.stop()
        for connection in (opened["_client"], opened["_cache"]):
            if connection is not None:
                connection.close()

    def _answered(self, key: str, reply: Reply) -> Future[Reply]:
        future: Future[Reply] = Future()
        future.set_result(reply)
        self._asked[key] = future
        return future

    def _answer(self, client: OpenAI, key: str, request: ChatRequest) -> Reply:
        """Ask the server, unless it was given up on, and count the outcome; runs in a worker."""
        limit = self.settings.give_up_after
        with self._lock:
            if self._failures_in_a_row >= limit:
                self.failures += 1
                return Reply(None, f"not asked, the server failed {limit} times in a row", failed=True)
        reply = self._complete(client, request)
        with self._lock:
            if self.__dict__.get("_client") is not client:
                return Reply(None, "the judge was closed before the answer came")
            if reply.failed:
                self.failures += 1
                self._failures_in_a_row += 1
                self.last_error = reply.error or ""
                return reply
            self._failures_in_a_row = 0
            if self._cache and reply.text is not None and request.well_formed(reply.text):
                self._cache.put(key, reply.text, model=self.model, prompt=request.version)
        return reply

    def _complete(self, client: OpenAI, request: ChatRequest) -> Reply:
        """One chat completion, with the client's own retries; anything that is not a completion is a failure."""
        from openai import OpenAIError

        create: Any = client.chat.completions.create
        messages = [{"role": "user", "content": request.text}]
        try:
            completion = create(model=self.model, messages=messages, **dict(request.sampling))
        except OpenAIError as error:
            return Reply(None, _described(error), failed=True)
        except ValueError as error:
            return Reply(None, f"the server's answer is not JSON: {one_line(error)}", failed=True)
        # The client does not check what the server sent: it may be a page of HTML, or JSON of another kind.
        try:
            text = completion.choices[0].message.content
        except (AttributeError, IndexError, TypeError):
            return Reply(None, f"the server's answer is not a chat completion: {str(completion)[:80]!r}", failed=True)
        return Reply(text) if isinstance(text, str) else Reply(None, "the model answered without text")

    @cached_property
    def _cache(self) -> AnswerCache | None:
        return AnswerCache(self.settings.cache) if self.settings.cache else None

    @cached_property
    def _client(self) -> OpenAI:
        from openai import OpenAI

        settings = self.settings
        return OpenAI(
            # Local servers ask for no key, but the client insists on one.
            api_key=settings.api_key or "none",
            base_url=settings.base_url,
            timeout=settings.timeout_s,
            max_retries=settings.max_retries,
        )

    @cached_property
    def _workers(self) -> Workers[Reply]:
        return Workers(max(1, self.settings.concurrency))


def _described(error: Exception) -> str:
    """An error of the client in one line, with its cause: `APIConnectionError` alone does not say what went wrong."""
    cause = f" ({one_line(error.__cause__)})" if error.__cause__ and str(error.__cause__) else ""
    return f"{type(error).__name__}: {one_line(error).rstrip('.')}{cause}"

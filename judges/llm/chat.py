"""Asks an OpenAI-compatible server: each question once, a limited number at a time, failures kept apart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, one_line
from judges.llm.cache import AnswerCache
from judges.llm.costs import CallLimit, Spent, tokens_in
from judges.llm.structured import ResponseFormat, SchemaUse, refuses
from judges.llm.workers import Workers
from judges.settings import LLMSettings

if TYPE_CHECKING:
    from openai import OpenAI

Sampling = tuple[tuple[str, float], ...]
"""A request's fields besides model and messages: temperature, max_tokens, …"""


@dataclass(frozen=True)
class ChatRequest:
    """One request for a chat completion.

    `version` names the prompt; `well_formed` says whether an answer is worth keeping. With a `response_format`, `plain`
    is the same question for a server that takes none.
    """

    text: str
    sampling: Sampling
    version: str
    well_formed: Callable[[str], bool]
    response_format: ResponseFormat | None = None
    plain: ChatRequest | None = field(default=None, repr=False)

    def key(self, model: str) -> str:
        """Return a hash of everything that the answer depends on."""
        content: list[Any] = [model, self.version, self.sampling, self.text]
        if self.response_format is not None:
            content.append(self.response_format)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def body(self, model: str) -> dict[str, Any]:
        """Return the JSON to send."""
        body = {"model": model, "messages": [{"role": "user", "content": self.text}], **dict(self.sampling)}
        return body if self.response_format is None else body | {"response_format": self.response_format}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a text, or the reason why there is none.

    `failed` means that the server is to blame; `over_limit` that `max_calls` was reached, so that nothing was asked;
    `no_schema` that the server refused the schema.
    """

    text: str | None
    error: str | None = None
    failed: bool = False
    over_limit: bool = False
    no_schema: bool = False


class Chat:
    """Asks one model on one server.

    `calls` counts the questions that neither the cache nor the limit answered, `failures` those of them that the
    server left without an answer, and `last_error` says why; `done` counts the calls that have ended, `spent` their
    tokens. A question that goes out twice, because the server takes no schema, is one call. Chats that are given the
    same `limit` share it; by default each has its own, of `max_calls`. Any number of threads may ask and wait. The
    client retries time-outs, lost connections, 408, 409, 429 and 5xx, with exponential backoff, jitter and the
    server's Retry-After; after `give_up_after` failed calls in a row nothing more is asked. Only well-formed answers
    go into the cache: everything else is asked again by the next run.
    """

    def __init__(self, settings: LLMSettings, limit: CallLimit | None = None) -> None:
        if not settings.configured:
            raise UserError(f"no LLM to judge with: {settings.HOW} (see judges.settings)")
        if settings.base_url and not settings.base_url.startswith(("http://", "https://")):
            raise UserError(f"base URL {settings.base_url!r} of the LLM judge: expected http://… or https://…")
        self.settings = settings
        self.model = settings.model or ""
        self.spent = Spent(settings)
        self.calls = 0
        self.done = 0
        self.failures = 0
        self.last_error = ""
        self._limit = limit or CallLimit(settings.max_calls)
        self._schema = SchemaUse(settings.structured, self.model, settings.base_url)
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
            if not self._limit.take():
                error = f"the limit of {self._limit.most} calls is reached"
                return self._answered(key, Reply(None, error, over_limit=True))
            self.calls += 1
            future = self._workers.submit(partial(self._answer, self._client, request))
            self._asked[key] = future
            if request.plain is not None:
                # Where the server takes no schema, this call answers the plain request too.
                self._asked.setdefault(request.plain.key(self.model), future)
            return future

    def wants_schema(self) -> bool:
        """Whether requests should carry a schema, as far as the settings or the server have shown."""
        with self._lock:
            if not self._schema.decided:
                self._schema.load(self._cache)
            return self._schema.wanted

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

    def _answer(self, client: OpenAI, request: ChatRequest) -> Reply:
        """Ask the server, unless it was given up on, and count the outcome; runs in a worker."""
        limit = self.settings.give_up_after
        with self._lock:
            if self._failures_in_a_row >= limit:
                self.failures += 1
                self.done += 1
                return Reply(None, f"not asked, the server failed {limit} times in a row", failed=True)
        reply, request = self._reply(client, request)
        with self._lock:
            if self.__dict__.get("_client") is not client:
                return Reply(None, "the judge was closed before the answer came")
            self.done += 1
            if reply.failed:
                self.failures += 1
                self._failures_in_a_row += 1
                self.last_error = reply.error or ""
                return reply
            self._failures_in_a_row = 0
            self._schema.save(self._cache)
            if self._cache and reply.text is not None and request.well_formed(reply.text):
                self._cache.put(request.key(self.model), reply.text, model=self.model, prompt=request.version)
        return reply

    def _reply(self, client: OpenAI, request: ChatRequest) -> tuple[Reply, ChatRequest]:
        """One reply, with the request that it answers: the plain one where the server takes no schema."""
        plain, schema = request.plain, self._schema
        if plain is None or not schema.automatic:
            return self._complete(client, request), request
        with schema.in_turn():
            if schema.wanted:
                reply = self._complete(client, request)
                if reply.no_schema:
                    schema.learn(False, reply.error or "")
                elif schema.decided or reply.text is None:
                    return reply, request
                else:
                    works = request.well_formed(reply.text) or reply.text.lstrip().startswith("{")
                    schema.learn(works, "its reply is no JSON")
            if schema.wanted:
                return reply, request
        with self._lock:
            closed = self.__dict__.get("_client") is not client
            kept = self._cache.get(plain.key(self.model)) if not closed and self._cache else None
        return (self._complete(client, plain) if kept is None else Reply(kept)), plain

    def _complete(self, client: OpenAI, request: ChatRequest) -> Reply:
        """One chat completion, with the client's own retries; anything that is not a completion is a failure."""
        from openai import OpenAIError

        create: Any = client.chat.completions.create
        try:
            completion = create(**request.body(self.model))
        except OpenAIError as error:
            no_schema = request.response_format is not None and refuses(error)
            return Reply(None, _described(error), failed=True, no_schema=no_schema)
        except ValueError as error:
            return Reply(None, f"the server's answer is not JSON: {one_line(error)}", failed=True)
        # The client does not check what the server sent: it may be a page of HTML, or JSON of another kind.
        try:
            text = completion.choices[0].message.content
        except (AttributeError, IndexError, TypeError):
            return Reply(None, f"the server's answer is not a chat completion: {str(completion)[:80]!r}", failed=True)
        reply = Reply(text) if isinstance(text, str) else Reply(None, "the model answered without text")
        usage = getattr(completion, "usage", None)
        self.spent.add(
            getattr(usage, "prompt_tokens", None) or tokens_in(request.text),
            getattr(usage, "completion_tokens", None) or tokens_in(reply.text or ""),
        )
        return reply

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

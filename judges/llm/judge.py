"""Judges that ask a language model, by EMT's prompt or by our own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

from judges.judging import Judge, get_judge
from judges.llm.chat import Chat, ChatRequest, Reply
from judges.llm.costs import CallLimit, Estimate, price, tokens_in
from judges.llm.prompts import CategoryPrompt, PaperPrompt, Prompt
from judges.settings import LLMSettings
from judges.target import Target
from judges.verdict import Verdict

Pending = Callable[[], Verdict]
"""A verdict that may not be ready yet: calling it waits."""


@runtime_checkable
class CostlyJudge(Judge, Protocol):
    """A judge that may ask a language model, and can say beforehand what that will cost."""

    @property
    def chats(self) -> tuple[Chat, ...]:
        """The models to ask, if there are any."""
        ...

    def estimate(self, items: Iterable[tuple[str, Target]]) -> Estimate:
        """Say what judging these would cost, without asking anything."""
        ...

    def close(self) -> None:
        """Report anything outstanding, and close connections and cache."""
        ...


class LLMJudge:
    """Asks a language model about each distinct answer once.

    What the model leaves open (no reply, or an off-format one) is `unscored`, with the error in the reason and
    the reply in `raw`. A decided verdict has confidence 1: the model states none of its own. `matches` are the
    labels that the rules find in the answer. Used from several threads, or by `judge_many` with a bounded number
    of answers in flight. `structured` is the same prompt for servers that hold a reply to a JSON schema; `limit` is for
    judges that share one.
    """

    def __init__(
        self, prompt: Prompt, settings: LLMSettings, *, structured: Prompt | None = None, limit: CallLimit | None = None
    ) -> None:
        self.name = prompt.name
        self.prompt = prompt
        self.structured = structured
        self.chat: Chat = Chat(settings, limit)
        self.signature = f"{prompt.name} {self._versions(settings.structured)} {self.chat.model}"
        self._rules = get_judge("fuzzy")

    @property
    def chats(self) -> tuple[Chat, ...]:
        """The model to ask."""
        return (self.chat,)

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer; waits for the model."""
        return self._start(prediction, target)()

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order, several at a time."""
        started = (self._start(prediction, target) for prediction, target in items)
        return in_order(started, ahead=4 * self.chat.settings.concurrency)

    def ask(self, prediction: str, target: Target, rules: Verdict) -> Future[Reply]:
        """Send the request, without waiting; `rules` is the rules' verdict on the same answer."""
        return self.chat.ask(self._request(prediction, target, rules))

    def verdict(self, reply: Reply, target: Target, rules: Verdict) -> Verdict:
        """Read the model's reply."""
        category = None if reply.text is None else self.prompt.read(reply.text, target, rules)
        if category is not None:
            reason = f"{self.chat.model} says so; the rules say {rules.category}."
        else:
            reason = f"{self.chat.model} gave no verdict: {reply.error or 'its answer is off the format'}."
        return Verdict(
            category=category or "unscored",
            matches=rules.matches,
            judge=f"{self.name}:{self.chat.model}",
            confidence=0.0 if category is None else 1.0,
            reason=reason,
            raw=reply.text,
        )

    def open_requests(self, items: Iterable[tuple[str, Target]]) -> dict[str, ChatRequest]:
        """Return the distinct requests for some answers that the cache does not answer, by key."""
        return {key: request for key, request in self._requests(items).items() if not self.chat.knows(request)}

    def estimate(self, items: Iterable[tuple[str, Target]]) -> Estimate:
        """Say what judging these would cost, without asking anything."""
        items = list(items)
        requests = self._requests(items)
        calls = [request for request in requests.values() if not self.chat.knows(request)]
        prompt_tokens = sum(tokens_in(request.text) for request in calls)
        reply_tokens = len(calls) * int(dict(self.prompt.sampling)["max_tokens"])
        return Estimate(
            answers=len(items),
            calls=len(calls),
            cached=len(requests) - len(calls),
            prompt_tokens=prompt_tokens,
            reply_tokens=reply_tokens,
            money=price(self.chat.settings, prompt_tokens, reply_tokens),
        )

    def _requests(self, items: Iterable[tuple[str, Target]]) -> dict[str, ChatRequest]:
        found: dict[str, ChatRequest] = {}
        for prediction, target in items:
            request = self._request(prediction, target, self._rules.judge(prediction, target))
            found.setdefault(request.key(self.chat.model), request)
        return found

    def close(self) -> None:
        """Close the connections and the cache."""
        self.chat.close()

    def _versions(self, structured: str) -> str:
        """The versions of the prompts that may be asked; not of the one that was, which only the server decides."""
        if self.structured is None or structured == "off":
            return self.prompt.version
        return self.structured.version if structured == "on" else f"{self.structured.version}|{self.prompt.version}"

    def _prompt(self) -> Prompt:
        return self.structured if self.structured and self.chat.wants_schema() else self.prompt

    def _request(self, prediction: str, target: Target, rules: Verdict) -> ChatRequest:
        def by(prompt: Prompt, plain: ChatRequest | None = None) -> ChatRequest:
            return ChatRequest(
                text=prompt.text(prediction, target, rules),
                sampling=prompt.sampling,
                version=prompt.version,
                well_formed=lambda reply: prompt.read(reply, target, rules) is not None,
                response_format=prompt.response_format(target),
                plain=plain,
            )

        plain, prompt = by(self.prompt), self._prompt()
        return plain if prompt is self.prompt else by(prompt, plain)

    def _start(self, prediction: str, target: Target) -> Pending:
        rules = self._rules.judge(prediction, target)
        future = self.ask(prediction, target, rules)
        return lambda: self.verdict(future.result(), target, rules)


def in_order(started: Iterable[Pending], *, ahead: int) -> Iterator[Verdict]:
    """Wait for verdicts in order, with at most `ahead` of them under way."""
    waiting: deque[Pending] = deque()
    for pending in started:
        waiting.append(pending)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def category_judge(settings: LLMSettings, limit: CallLimit | None = None) -> LLMJudge:
    """The judge `llm`: our own prompt."""
    return LLMJudge(CategoryPrompt(), settings, structured=CategoryPrompt(as_json=True), limit=limit)


def paper_judge(settings: LLMSettings) -> LLMJudge:
    """The judge `emt-paper`: EMT's prompt and sampling (appendix C.1)."""
    return LLMJudge(PaperPrompt(), settings)

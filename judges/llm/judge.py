"""Judges that ask a language model, by EMT's prompt or by our own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from judges.judging import Judge, get_judge
from judges.llm.chat import Chat, ChatRequest, Reply
from judges.llm.prompts import CategoryPrompt, PaperPrompt, Prompt
from judges.settings import LLMSettings
from judges.target import Target
from judges.verdict import Verdict

Pending = Callable[[], Verdict]
"""A verdict that may not be ready yet: calling it waits."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What judging would cost: `calls` counts requests after de-duplication and the cache; tokens are estimates."""

    answers: int
    calls: int
    cached: int
    prompt_tokens: int
    reply_tokens: int
    money: float = 0.0
    """At most, in the currency of the user's prices; 0 without prices."""

    def __str__(self) -> str:
        price = f", for at most {self.money:,.2f}" if self.money else ""
        return (
            f"{self.answers:,} answers: {self.calls:,} calls to make ({self.cached:,} already in the cache), about "
            f"{self.prompt_tokens:,} tokens to send and at most {self.reply_tokens:,} to receive{price}"
        )


@runtime_checkable
class CostlyJudge(Judge, Protocol):
    """A judge that may ask a language model, and can say beforehand what that will cost."""

    @property
    def chat(self) -> Chat | None:
        """The server to ask, if there is one."""
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
    of answers in flight.
    """

    def __init__(self, prompt: Prompt, settings: LLMSettings) -> None:
        self.name = prompt.name
        self.prompt = prompt
        self.chat: Chat = Chat(settings)
        self.signature = f"{prompt.name} {prompt.version} {self.chat.model}"
        self._rules = get_judge("fuzzy")

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
        prompt_tokens = sum(request.tokens for request in calls)
        reply_tokens = len(calls) * int(dict(self.prompt.sampling)["max_tokens"])
        prices = self.chat.settings
        return Estimate(
            answers=len(items),
            calls=len(calls),
            cached=len(requests) - len(calls),
            prompt_tokens=prompt_tokens,
            reply_tokens=reply_tokens,
            money=(prices.price_in * prompt_tokens + prices.price_out * reply_tokens) / 1e6,
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

    def _request(self, prediction: str, target: Target, rules: Verdict) -> ChatRequest:
        return ChatRequest(
            text=self.prompt.text(prediction, target, rules),
            sampling=self.prompt.sampling,
            version=self.prompt.version,
            well_formed=lambda reply: self.prompt.read(reply, target, rules) is not None,
        )

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


def category_judge(settings: LLMSettings) -> LLMJudge:
    """The judge `llm`: our own prompt."""
    return LLMJudge(CategoryPrompt(), settings)


def paper_judge(settings: LLMSettings) -> LLMJudge:
    """The judge `emt-paper`: EMT's prompt and sampling (appendix C.1)."""
    return LLMJudge(PaperPrompt(), settings)

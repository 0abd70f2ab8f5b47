"""What asking language models costs: estimated beforehand, limited, and counted as it is spent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from judges.settings import LLMSettings

CHARACTERS_PER_TOKEN = 4


def tokens_in(text: str) -> int:
    """About how many tokens a text has, at four characters per token."""
    return len(text) // CHARACTERS_PER_TOKEN + 1


def price(settings: LLMSettings, prompt_tokens: int, reply_tokens: int) -> float:
    """What tokens cost, in the currency of the user's prices for a million of them; 0 without prices."""
    return (settings.price_in * prompt_tokens + settings.price_out * reply_tokens) / 1e6


@dataclass(frozen=True, slots=True)
class Estimate:
    """What judging would cost: `calls` counts requests after de-duplication and the cache; tokens are estimates."""

    answers: int
    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    money: float = 0.0
    """At most, in the currency of the user's prices; 0 without prices."""

    def __str__(self) -> str:
        price = f", for at most {self.money:,.2f}" if self.money else ""
        return (
            f"{self.answers:,} answers: {self.calls:,} calls to make ({self.cached:,} already in the cache), about "
            f"{self.prompt_tokens:,} tokens to send and at most {self.reply_tokens:,} to receive{price}"
        )


def together(estimates: Iterable[Estimate], answers: int) -> Estimate:
    """Add up what several models cost that judge the same answers."""
    found = list(estimates)
    return Estimate(
        answers=answers,
        calls=sum(one.calls for one in found),
        cached=sum(one.cached for one in found),
        prompt_tokens=sum(one.prompt_tokens for one in found),
        reply_tokens=sum(one.reply_tokens for one in found),
        money=sum(one.money for one in found),
    )


class CallLimit:
    """How many calls may still be made; several chats may share one. Safe to share between threads."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self._taken = 0
        self._lock = Lock()

    def take(self) -> bool:
        """Take one call; False if none is left."""
        with self._lock:
            if self.most is not None and self._taken >= self.most:
                return False
            self._taken += 1
            return True


class Spent:
    """What one chat has spent: the tokens that the server counts, or about as many where it counts none."""

    def __init__(self, settings: LLMSettings) -> None:
        self.prompt_tokens = 0
        self.reply_tokens = 0
        self._settings = settings
        self._lock = Lock()

    def add(self, prompt_tokens: int, reply_tokens: int) -> None:
        """Count one reply."""
        with self._lock:
            self.prompt_tokens += prompt_tokens
            self.reply_tokens += reply_tokens

    @property
    def money(self) -> float:
        """In the currency of the user's prices; 0 without prices."""
        return price(self._settings, self.prompt_tokens, self.reply_tokens)

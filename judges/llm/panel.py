"""Several language models as one judge: each votes, and the majority decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from judges.judging import get_judge
from judges.llm.chat import Chat
from judges.llm.costs import CallLimit, Estimate, together
from judges.llm.judge import LLMJudge, Pending, category_judge, in_order
from judges.settings import PanelSettings
from judges.target import Target
from judges.verdict import CATEGORIES, Category, Verdict, Vote


class PanelJudge:
    """Asks several models the question of `llm`, and takes the category that most of them choose.

    A model that failed or answered off-format does not vote. `majority` says when the votes decide; else the answer is
    `unscored`. `votes` of the verdict keeps what each model said, `confidence` is the share of the votes that it
    follows. The models share the limit of calls and the cache, where each has its own answers.
    """

    name = "panel"

    def __init__(self, settings: PanelSettings) -> None:
        limit = CallLimit(settings.max_calls)
        self.settings = settings
        self.members: tuple[LLMJudge, ...] = tuple(category_judge(member, limit) for member in settings.members())
        self.signature = f"{self.name} {' + '.join(member.signature for member in self.members)}"
        self._rules = get_judge("fuzzy")

    @property
    def chats(self) -> tuple[Chat, ...]:
        """The models to ask."""
        return tuple(member.chat for member in self.members)

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer; waits for all models."""
        return self._start(prediction, target)()

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order, several at a time."""
        started = (self._start(prediction, target) for prediction, target in items)
        return in_order(started, ahead=4 * self.settings.concurrency)

    def estimate(self, items: Iterable[tuple[str, Target]]) -> Estimate:
        """Say what judging these would cost by all models, without asking anything."""
        items = list(items)
        return together((member.estimate(items) for member in self.members), answers=len(items))

    def close(self) -> None:
        """Close the connections and the cache."""
        for member in self.members:
            member.close()

    def _start(self, prediction: str, target: Target) -> Pending:
        rules = self._rules.judge(prediction, target)
        asked = [(member, member.ask(prediction, target, rules)) for member in self.members]

        def finish() -> Verdict:
            return count([member.verdict(reply.result(), target, rules) for member, reply in asked], rules)

        return finish


def majority(votes: Sequence[Category | None]) -> Category | None:
    """The category with more than half of the votes cast, if more than half of those who may vote did; else None.

    None and `unscored` are no votes: of three judges one may be missing, but a single one decides nothing.
    """
    cast = [vote for vote in votes if vote is not None and vote != "unscored"]
    if 2 * len(cast) <= len(votes):
        return None
    category, number = Counter(cast).most_common(1)[0]
    return category if 2 * number > len(cast) else None


def count(verdicts: Sequence[Verdict], rules: Verdict) -> Verdict:
    """Make one verdict of several on the same answer; `rules` is the rules' verdict on it."""
    categories = [verdict.category for verdict in verdicts]
    chosen = majority(categories)
    names = [verdict.judge.partition(":")[2] for verdict in verdicts]
    said = {
        category: ", ".join(name for name, vote in zip(names, categories, strict=True) if vote == category)
        for category in CATEGORIES
        if category in categories
    }
    shown = "; ".join(f"{category}: {voters}" for category, voters in said.items())
    cast = sum(category != "unscored" for category in categories)
    return Verdict(
        category=chosen or "unscored",
        matches=rules.matches,
        judge=f"panel:{','.join(names)}",
        confidence=round(categories.count(chosen) / cast, 6) if chosen else 0.0,
        reason=f"{shown}; the rules say {rules.category}." if chosen else f"No majority ({shown}).",
        votes=tuple(Vote(verdict.judge, verdict.category, verdict.reason, verdict.raw) for verdict in verdicts),
    )

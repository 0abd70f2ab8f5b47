"""Rules first, and a language model where they are unsure."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from threading import Lock

from judges.judging import get_judge
from judges.llm.chat import Chat
from judges.llm.costs import Estimate
from judges.llm.judge import Pending, category_judge, in_order
from judges.llm.prompts import gold_text
from judges.settings import CascadeSettings
from judges.target import Target
from judges.verdict import Verdict

_LOG = logging.getLogger(__name__)


class CascadeJudge:
    """The rules' verdict if its confidence reaches the threshold, else that of `llm`.

    Without a server the rules' verdict always counts, and the judge says once how many answers it would have
    asked about. The rules' verdict also counts once the limit of calls is reached. But if the server fails or the
    model answers off-format, the answer is `unscored`, never wrong.
    """

    name = "cascade"

    def __init__(self, settings: CascadeSettings) -> None:
        self.settings = settings
        self._rules = get_judge("fuzzy")
        self._llm = category_judge(settings) if settings.configured else None
        llm = self._llm.signature if self._llm else "no LLM"
        self.signature = f"cascade {settings.threshold} {llm}"
        self._unsure: set[tuple[str, str]] = set()
        self._reported = False
        self._lock = Lock()

    @property
    def chats(self) -> tuple[Chat, ...]:
        """The model to ask, if there is one."""
        return self._llm.chats if self._llm else ()

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer; waits for the model if it is asked."""
        return self._start(prediction, target)()

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order."""
        started = (self._start(prediction, target) for prediction, target in items)
        # Sure verdicts wait in line too: far enough ahead to keep the server busy.
        return in_order(started, ahead=64 * self.settings.concurrency)

    def estimate(self, items: Iterable[tuple[str, Target]]) -> Estimate:
        """Say what judging these would cost, without asking anything."""
        answers, unsure = 0, []
        for prediction, target in items:
            answers += 1
            if self._rules.judge(prediction, target).confidence < self.settings.threshold:
                unsure.append((prediction, target))
        if self._llm is None:
            return Estimate(answers)
        return replace(self._llm.estimate(unsure), answers=answers)

    def report(self) -> None:
        """Log once how many answers would have gone to a language model; also called when the process ends."""
        if self._unsure and not self._reported:
            self._reported = True
            _LOG.warning(
                "cascade: the rules were unsure of %d distinct answers and no LLM is configured, so their verdicts "
                "stand; to ask one, %s",
                len(self._unsure),
                self.settings.HOW,
            )

    def close(self) -> None:
        """Report, and close the connections and the cache."""
        self.report()
        if self._llm:
            self._llm.close()

    def _start(self, prediction: str, target: Target) -> Pending:
        rules = self._rules.judge(prediction, target)
        if rules.confidence >= self.settings.threshold:
            return lambda: rules
        if self._llm is None:
            self._count(prediction, target)
            return lambda: rules
        llm = self._llm
        future = llm.ask(prediction, target, rules)

        def finish() -> Verdict:
            reply = future.result()
            return rules if reply.over_limit else llm.verdict(reply, target, rules)

        return finish

    def _count(self, prediction: str, target: Target) -> None:
        with self._lock:
            if not self._unsure:
                atexit.register(self.report)
            self._unsure.add((prediction, gold_text(target)))

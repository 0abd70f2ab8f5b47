"""An LLM, or any other judge, as the auditor; and how far it agrees with people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emt_core.errors import UserError
from judges.judging import Judge
from judges.rerun.agreement import Agreement, Opinion, agreement
from judges.rerun.rows import answer_of
from judges.target import Target
from judges.verdict import Verdict
from leaderboards.audit.rows import AuditRow, Labels


def answers(rows: Sequence[AuditRow]) -> Iterator[tuple[str, Target]]:
    """Yield both answers of each row with what they are judged against.

    Raises:
        UserError: a row does not say that; its task is not one of ours.
    """
    for row in rows:
        where = f"task {row.task}, doc_id {row.doc_id}"
        if row.judge_target is None:
            raise UserError(f"{where}: its run logs no judge_target, so that no judge can label it; label it by hand")
        for text in (row.first, row.second):
            yield answer_of({"judge_target": row.judge_target, "filtered_resps": text}, where)


def label(rows: Sequence[AuditRow], judge: Judge) -> list[AuditRow]:
    """Return the rows with a judge's labels; what it leaves unscored stays open."""
    verdicts = judge.judge_many(answers(rows))
    labelled = []
    for row in rows:
        first, second = next(verdicts), next(verdicts)
        labels = Labels(judge=first.judge, first_correct=_correct(first), second_correct=_correct(second))
        labelled.append(row.model_copy(update={"llm": labels}))
    return labelled


def with_people(rows: Sequence[AuditRow]) -> Agreement | None:
    """Measure the judge's labels against those of people, answer by answer; None where no row has both."""
    sides: tuple[list[Opinion], list[Opinion]] = ([], [])
    for row in rows:
        if row.llm is None:
            continue
        for name, text in (("first", row.first), ("second", row.second)):
            theirs, ours = getattr(row.llm, f"{name}_correct"), getattr(row, f"{name}_correct")
            if ours is not None:
                key = (row.task, f"{row.doc_id} {name}")
                sides[0].append(Opinion(key, text, None, theirs))
                sides[1].append(Opinion(key, text, None, ours))
    return agreement(*sides) if sides[0] else None


def _correct(verdict: Verdict) -> bool | None:
    return None if verdict.category == "unscored" else verdict.correct

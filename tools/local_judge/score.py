"""Which judge is right more often on the same answers: all of them, and those of which the rules are unsure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from emt_core.errors import UserError
from emt_core.files import Row, read_rows
from judges.judging import Judge
from judges.rerun.rows import answer_of
from judges.settings import CascadeSettings
from judges.verdict import CATEGORIES, Verdict
from leaderboards.statistics.proportions import mcnemar, wilson_interval

RULES, LOCAL = "fuzzy", "local"
CASCADE = f"{RULES}, then {LOCAL}"
"""The rules' verdict, and the local model's where the rules are below the cascade's threshold."""
OVERRULED = f"{RULES}, {LOCAL} if sure"
"""The rules' verdict, and the local model's wherever its confidence is at least `_SURE`."""
_SURE = 0.99


@dataclass(frozen=True)
class Figure:
    """How often one judge gives the right category; `lost` and `gained` count answers against the rules.

    `p` is McNemar's exact p-value of that comparison, and `seconds` are those of 1,000 verdicts.
    """

    set: str
    answers: str
    judge: str
    right: int
    n: int
    lower: float | None
    upper: float | None
    lost: int
    gained: int
    p: float
    unscored: int
    seconds: float | None


def score(path: Path, judges: Mapping[str, Judge]) -> list[Figure]:
    """Judge every answer of a file by every judge; the rules must be among them.

    Raises:
        UserError: the file cannot be read, a row is faulty, or its category is none.
    """
    items, gold = [], []
    for where, row in _gold_rows(path):
        items.append(answer_of(row, where))
        gold.append(row["category"])
    found: dict[str, list[Verdict]] = {}
    seconds: dict[str, float] = {}
    for name, judge in judges.items():
        if items:
            judge.judge(*items[0])  # indices and weights load before the clock starts
        start = time.perf_counter()
        found[name] = list(judge.judge_many(items))
        seconds[name] = (time.perf_counter() - start) * 1000 / max(1, len(items))
    threshold = CascadeSettings().threshold
    unsure = [verdict.confidence < threshold for verdict in found[RULES]]
    if LOCAL in found:
        triples = list(zip(unsure, found[RULES], found[LOCAL], strict=True))
        found[CASCADE] = [local if ask else rules for ask, rules, local in triples]
        found[OVERRULED] = [local if local.confidence >= _SURE else rules for _, rules, local in triples]
    everything = [True] * len(items)
    return [
        _figure((path.stem, answers, name), gold, found[RULES], verdicts, chosen, seconds.get(name))
        for answers, chosen in (("all", everything), ("rules unsure", unsure))
        for name, verdicts in found.items()
        if any(chosen)
    ]


def by_style(path: Path, judge: Judge) -> dict[str, tuple[int, int]]:
    """Return for each style of a file how many answers a judge gets right, and of how many.

    Raises:
        UserError: as `score` does, or a row has no style.
    """
    found: dict[str, tuple[int, int]] = {}
    for where, row in _gold_rows(path):
        style = row.get("style")
        if not isinstance(style, str):
            raise UserError(f"{where}: field 'style': expected a name, found {style!r}")
        right, n = found.get(style, (0, 0))
        found[style] = (right + (judge.judge(*answer_of(row, where)).category == row["category"]), n + 1)
    return found


def _gold_rows(path: Path) -> Iterator[tuple[str, Row]]:
    for where, row in read_rows(path):
        if row.get("category") not in CATEGORIES:
            raise UserError(
                f"{where}: field 'category': expected one of {', '.join(CATEGORIES)}, found {row.get('category')!r}"
            )
        yield where, row


def _figure(
    names: tuple[str, str, str],
    gold: Sequence[str],
    rules: Sequence[Verdict],
    verdicts: Sequence[Verdict],
    chosen: Sequence[bool],
    seconds: float | None,
) -> Figure:
    kept = [
        (verdict.category == right, base.category == right, verdict.category == "unscored")
        for right, base, verdict, keep in zip(gold, rules, verdicts, chosen, strict=True)
        if keep
    ]
    right = sum(ours for ours, *_ in kept)
    lost = sum(base and not ours for ours, base, _ in kept)
    gained = sum(ours and not base for ours, base, _ in kept)
    interval = wilson_interval(right, len(kept))
    unscored = sum(open_ for *_, open_ in kept)
    took = None if seconds is None else round(seconds, 3)
    return Figure(
        *names, right, len(kept), interval.lower, interval.upper, lost, gained, mcnemar(lost, gained), unscored, took
    )


def print_table(figures: Sequence[Figure]) -> None:
    """Print one row for each judge on each set."""
    table = Table(box=None, pad_edge=False)
    for name in ("set", "answers", "judge"):
        table.add_column(name, no_wrap=True)
    for name in ("right", "95 % interval", "lost", "gained", "p", "unscored", "s per 1,000"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in figures:
        interval = "" if one.lower is None or one.upper is None else f"{100 * one.lower:.1f} to {100 * one.upper:.1f} %"
        paired = ("", "", "") if one.judge == RULES else (str(one.lost), str(one.gained), f"{one.p:.2g}")
        seconds = "" if one.seconds is None else f"{one.seconds:.2f}"
        share = f"{one.right}/{one.n}"
        table.add_row(one.set, one.answers, one.judge, share, interval, *paired, str(one.unscored), seconds)
    Console(width=140, markup=False).print(table)

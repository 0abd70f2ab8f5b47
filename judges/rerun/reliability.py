"""How far several judges agree on the same answers: Krippendorff's alpha, and how many answers a majority decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emt_core.errors import UserError, listed
from emt_core.files import Row
from judges.llm.panel import majority
from judges.rerun.agreement import Opinion, paired
from judges.rerun.krippendorff import MISSING, Alpha, krippendorff
from judges.verdict import CATEGORIES, Category

_SEED = 0


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far judges agree.

    `unanimous`, `by_majority` and `undecided` count the answers by their categories; all three are None where a side
    only knows right and wrong. `category` is α over the categories, `correct` over correct and not correct. Unscored
    answers are missing values.
    """

    judges: tuple[str, ...]
    answers: int
    unanimous: int | None
    by_majority: int | None
    undecided: int | None
    category: Alpha
    correct: Alpha


def reliability(sides: Sequence[Sequence[Opinion]], names: Sequence[str]) -> Reliability:
    """Compare two or more sides over the same answers; gold rows without categories count for `correct` only.

    Raises:
        UserError: the sides do not have the same answers.
    """
    columns = [list(sides[0])]
    for position, side in enumerate(sides[1:], 1):
        columns.append([other for _, other in paired(sides[0], side, names[0], names[position])])
    rows = list(zip(*columns, strict=True))
    known = [all(opinion.category for opinion in column) for column in columns]
    return _measured(
        names,
        [[opinion.category for opinion, has in zip(row, known, strict=True) if has] for row in rows],
        [[opinion.correct for opinion in row] for row in rows],
        decidable=all(known),
    )


def panel_reliability(rows: Iterable[Row]) -> Reliability | None:
    """Compare the members of a panel by the votes in judged rows; None where no row has votes.

    Raises:
        UserError: the rows are of different panels.
    """
    names: tuple[str, ...] | None = None
    votes: list[list[Any]] = []
    for row in rows:
        verdict = row.get("verdict")
        cast = verdict.get("votes") if isinstance(verdict, dict) else None
        if not cast:
            continue
        judges = tuple(str(vote.get("judge")) for vote in cast)
        if names not in (None, judges):
            raise UserError(f"votes of different panels: {listed(names or ())} and {listed(judges)}")
        names = judges
        votes.append([vote.get("category") for vote in cast])
    if names is None:
        return None
    right = [[None if vote == "unscored" else vote == "correct" for vote in row] for row in votes]
    return _measured(names, votes, right, decidable=True)


def _measured(
    names: Sequence[str],
    categories: Sequence[Sequence[Category | None]],
    right: Sequence[Sequence[bool | None]],
    *,
    decidable: bool,
) -> Reliability:
    """Count and measure; both tables have the shape (answers, judges)."""
    unanimous = by_majority = 0
    for votes in categories if decidable else ():
        if majority(votes) is not None:
            alone = len({vote for vote in votes if vote != "unscored"}) == 1
            unanimous, by_majority = unanimous + alone, by_majority + (not alone)
    codes = {category: code for code, category in enumerate(CATEGORIES) if category != "unscored"}
    return Reliability(
        judges=tuple(names),
        answers=len(right),
        unanimous=unanimous if decidable else None,
        by_majority=by_majority if decidable else None,
        undecided=len(categories) - unanimous - by_majority if decidable else None,
        category=_alpha(categories, lambda vote: codes.get(vote, MISSING)),
        correct=_alpha(right, lambda vote: MISSING if vote is None else int(vote)),
    )


def _alpha(votes: Sequence[Sequence[Any]], code: Callable[[Any], int]) -> Alpha:
    coded = np.array([[code(vote) for vote in row] for row in votes], dtype=np.int64)
    return krippendorff(coded.reshape(len(votes), -1), np.random.default_rng(_SEED))

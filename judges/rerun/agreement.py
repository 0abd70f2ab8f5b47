"""How far two judges agree, or a judge and people: accuracy, Cohen's κ, confusion, every disagreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_core.files import Row, read_rows
from emt_core.frames import Tabular
from judges.rerun.rejudge import find_work
from judges.verdict import CATEGORIES

_CONFIDENCE = 0.95
_IDENTIFIERS = ("id", "doc_id")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one side says about one answer; `category` is None for gold rows that only know right and wrong.

    `fields` are the row's other texts, to group by.
    """

    key: tuple[str, str]
    prediction: str
    category: str | None
    correct: bool | None
    fields: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class ConfusionRow:
    """How many answers judge A put into one category and B into another."""

    a: str
    b: str
    answers: int


@dataclass(frozen=True, slots=True)
class Agreement(Tabular):
    """Judge A measured against B, a judge or gold rows; a table of the confusions.

    `answers` counts pairs; `unscored_a` and `unscored_b` those that a side left open, which all other figures omit.
    `accuracy` is the share of the `scored` pairs that agree on correct or not correct, `interval` its 95 % Wilson
    interval; `category_accuracy` and `kappa_category` are about the categories, where both sides have them.
    Cohen's κ is None if undefined: both sides always say the same one thing. `false_correct` counts
    answers that A takes for correct and B does not, `false_wrong` the opposite. `confusion` maps A's category,
    then B's, to a number.
    """

    answers: int
    scored: int
    unscored_a: int
    unscored_b: int
    agreeing: int
    accuracy: float | None
    interval: tuple[float, float] | None
    kappa: float | None
    category_accuracy: float | None
    category_interval: tuple[float, float] | None
    kappa_category: float | None
    false_correct: int
    false_wrong: int
    confusion: dict[str, dict[str, int]]
    disagreements: tuple[dict[str, Any], ...]

    @property
    def row_type(self) -> type[ConfusionRow]:
        """What the table's rows are."""
        return ConfusionRow

    def table(self) -> list[ConfusionRow]:
        """Return a row for each pair of categories."""
        return [ConfusionRow(a, b, count) for a, row in self.confusion.items() for b, count in row.items()]


def read_opinions(path: Path) -> list[Opinion]:
    """Read judged rows, a run's samples, or gold rows with `category` or `correct`; a `verdict` takes precedence.

    Raises:
        UserError: a row has no opinion.
    """
    if path.is_dir():
        files = find_work(path).files
        rows = [
            (where, row, file.stem.partition("_samples_")[2]) for file in files for where, row in read_rows(path / file)
        ]
    else:
        rows = [(where, row, str(row.get("task", ""))) for where, row in read_rows(path)]
    if not rows:
        raise UserError(f"{path}: contains no rows")
    return [_opinion(row, task, position, where) for position, (where, row, task) in enumerate(rows)]


def agreement(a: Sequence[Opinion], b: Sequence[Opinion]) -> Agreement:
    """Compare two sides over the same answers.

    Raises:
        UserError: the sides do not have the same answers.
    """
    pairs = paired(a, b)
    scored = [(x, y) for x, y in pairs if x.correct is not None and y.correct is not None]
    by_category = [(x.category, y.category) for x, y in scored if x.category and y.category]
    agreeing = sum(x.correct == y.correct for x, y in scored)
    same_category = sum(x == y for x, y in by_category)
    confusion = Counter((x.category, y.category) for x, y in pairs if x.category and y.category)
    return Agreement(
        answers=len(pairs),
        scored=len(scored),
        unscored_a=sum(x.correct is None for x, _ in pairs),
        unscored_b=sum(y.correct is None for _, y in pairs),
        agreeing=agreeing,
        accuracy=_share(agreeing, len(scored)),
        interval=_wilson(agreeing, len(scored)),
        kappa=_kappa([(str(x.correct), str(y.correct)) for x, y in scored]),
        category_accuracy=_share(same_category, len(by_category)),
        category_interval=_wilson(same_category, len(by_category)),
        kappa_category=_kappa(by_category),
        false_correct=sum(bool(x.correct and not y.correct) for x, y in scored),
        false_wrong=sum(bool(y.correct and not x.correct) for x, y in scored),
        confusion={
            x: {y: confusion[x, y] for y in CATEGORIES if confusion[x, y]}
            for x in CATEGORIES
            if any(confusion[x, y] for y in CATEGORIES)
        },
        disagreements=tuple(_disagreement(x, y) for x, y in pairs if _differ(x, y)),
    )


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How often judge A errs where B decides what is right, in one group of answers, with 95 % Wilson intervals.

    `false_correct` is the share of B's wrong answers that A takes for correct, `false_wrong` that of B's correct
    answers that A takes for wrong; None if B has none.
    """

    group: str
    correct: int
    wrong: int
    false_correct: float | None
    false_correct_interval: tuple[float, float] | None
    false_wrong: float | None
    false_wrong_interval: tuple[float, float] | None


def error_rates(a: Sequence[Opinion], b: Sequence[Opinion], by: str = "task") -> list[ErrorRates]:
    """Return A's errors for all answers, then for each value of a field of B's rows or A's.

    Raises:
        UserError: the sides do not have the same answers, or no row has the field.
    """
    groups: dict[str, list[tuple[Opinion, Opinion]]] = {"all": []}
    for x, y in paired(a, b):
        if x.correct is None or y.correct is None:
            continue
        groups["all"].append((x, y))
        name = x.key[0] if by == "task" else y.fields.get(by, x.fields.get(by))
        if name is not None:
            groups.setdefault(name, []).append((x, y))
    if by != "task" and len(groups) == 1:
        raise UserError(f"--by {by}: no row has this field")
    return [_rates(name, pairs) for name, pairs in groups.items()]


def _rates(group: str, pairs: Sequence[tuple[Opinion, Opinion]]) -> ErrorRates:
    correct = sum(bool(y.correct) for _, y in pairs)
    wrong = len(pairs) - correct
    taken = sum(bool(x.correct and not y.correct) for x, y in pairs)
    lost = sum(bool(y.correct and not x.correct) for x, y in pairs)
    return ErrorRates(
        group, correct, wrong,
        _share(taken, wrong), _wilson(taken, wrong), _share(lost, correct), _wilson(lost, correct),
    )  # fmt: skip


def _opinion(row: Row, task: str, position: int, where: str) -> Opinion:
    verdict = row.get("verdict", row)
    category = verdict.get("category") if isinstance(verdict, dict) else None
    correct = row.get("correct") if verdict is row else None
    if category is not None and category not in CATEGORIES:
        raise UserError(f"{where}: field 'category': expected one of {', '.join(CATEGORIES)}, found {category!r}")
    if category is not None:
        correct = None if category == "unscored" else category == "correct"
    elif not isinstance(correct, bool):
        raise UserError(f"{where}: expected a field 'verdict', 'category' or 'correct' (true or false), found none")
    identifier = next((str(row[name]) for name in _IDENTIFIERS if name in row), f"row {position + 1}")
    prediction = row.get("prediction", row.get("filtered_resps", ""))
    fields = {name: value for name, value in row.items() if isinstance(value, str)}
    return Opinion((task, identifier), str(prediction), category, correct, fields)


def paired(
    a: Sequence[Opinion], b: Sequence[Opinion], name_a: str = "A", name_b: str = "B"
) -> list[tuple[Opinion, Opinion]]:
    """Pair two sides' opinions on the same answers, in the order of the first.

    Raises:
        UserError: the sides do not have the same answers.
    """
    others = {opinion.key: opinion for opinion in b}
    for side, opinions in ((name_a, a), (name_b, b)):
        repeated = [key for key, count in Counter(opinion.key for opinion in opinions).items() if count > 1]
        if repeated:
            raise UserError(f"{side}: answer {' '.join(repeated[0])} appears twice; expected unique ids")
    missing = [opinion.key for opinion in a if opinion.key not in others]
    if missing or len(a) != len(b):
        example = " ".join(missing[0] if missing else next(iter(set(others) - {opinion.key for opinion in a}))).strip()
        counts = f"{name_a} has {len(a)} answers and {name_b} {len(b)}"
        raise UserError(f"{counts}; {example} is in only one: expected the same")
    for opinion in a:
        if opinion.prediction != others[opinion.key].prediction:
            answer = " ".join(opinion.key).strip()
            raise UserError(f"answer {answer} reads differently in {name_a} and {name_b}: expected the same")
    return [(opinion, others[opinion.key]) for opinion in a]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _wilson(part: int, whole: int) -> tuple[float, float] | None:
    from statsmodels.stats.proportion import proportion_confint

    if not whole:
        return None
    low, high = proportion_confint(part, whole, alpha=1 - _CONFIDENCE, method="wilson")
    return float(low), float(high)


def _kappa(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """Cohen's κ; None without pairs, or if chance alone would always agree."""
    values = sorted({value for pair in pairs for value in pair})
    if len(values) < 2:
        return None
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = Counter(pairs)
    return float(cohens_kappa([[counts[x, y] for y in values] for x in values], return_results=False))


def _differ(x: Opinion, y: Opinion) -> bool:
    if x.category and y.category:
        return x.category != y.category
    return x.correct != y.correct


def _disagreement(x: Opinion, y: Opinion) -> dict[str, Any]:
    task, identifier = x.key
    return {"task": task, "id": identifier, "a": _said(x), "b": _said(y), "prediction": x.prediction}


def _said(opinion: Opinion) -> str:
    return opinion.category or ("correct" if opinion.correct else "not correct")

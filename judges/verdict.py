"""What a judge says about one answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Category = Literal["correct", "incorrect", "intrinsic", "extrinsic", "unscored"]
"""EMT §4.2's kinds of error, and `unscored` for what a judge could not decide."""

CATEGORIES: tuple[Category, ...] = get_args(Category)

ERRORS = ("incorrect", "intrinsic", "extrinsic")
"""The kinds of wrong answer."""

METRICS = ("accuracy", *ERRORS, "unscored")
"""What every task logs for each sample, by `Verdict.metrics`."""

DISTRACTED = "class_name_chosen"
"""What tasks with a distractor log too."""

LIKELIHOOD = "likelihood"
"""The judge's name where the likeliest label of a closed set is the answer; the confidence is its probability."""

JUDGED_BY = "judged_by"
"""Under which name a sample logs the judge that was asked, with its version."""


@dataclass(frozen=True, slots=True)
class Match:
    """One label found in an answer.

    `start` and `end` are character offsets into the answer as the model wrote it; `how` says which kind of name
    matched: `name`, `synonym`, `subtype`, `misspelling`, `letter`, `option`, `class name` or `answer`.
    """

    label: str
    start: int
    end: int
    text: str
    how: str


@dataclass(frozen=True, slots=True)
class Vote:
    """What one member of a panel said of an answer; `unscored` if it did not vote. Fields as in `Verdict`."""

    judge: str
    category: Category
    reason: str
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's decision on one answer.

    `confidence` lies between 0 and 1; `reason` is one sentence for a person; `raw` keeps what an LLM judge
    answered, word for word; `votes` what each judge of a panel said.
    """

    category: Category
    matches: tuple[Match, ...]
    judge: str
    confidence: float
    reason: str
    raw: str | None = None
    votes: tuple[Vote, ...] | None = None

    @property
    def correct(self) -> bool:
        """Whether the answer counts as right."""
        return self.category == "correct"

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-ready values, without fields that are None."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def metrics(self) -> dict[str, float | None]:
        """Return the per-sample metrics: `accuracy` and one 0/1 per category, which sum to 1.

        An unscored answer is neither right nor wrong: all but `unscored` are None, so that every mean leaves it
        out.
        """
        if self.category == "unscored":
            return dict.fromkeys(METRICS) | {"unscored": 1.0}
        kinds = {kind: float(self.category == kind) for kind in ERRORS}
        return {"accuracy": float(self.correct), **kinds, "unscored": 0.0}

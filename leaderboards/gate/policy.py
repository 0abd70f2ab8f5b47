"""What the gate asks for: margins, minimum evidence, required tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import inf, nan
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from emt_core.errors import UserError, list_faults, listed, one_line
from emt_core.files import read_yaml
from leaderboards.comparison.scales import POINTS, Scale

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def _margin(value: Any) -> float | str:
    """Check a margin: a number, or per cent of the base, such as "5 %"; a number may be a text."""
    share = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if share is not None and float(share[1]) < 100:
        return f"{float(share[1]):g} %"
    try:
        number = nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = nan
    if not 0 <= number < inf:
        raise ValueError(f"expected a number from 0 on, or less than 100 %, such as 5 %; found {value!r}")
    return number


Margin = Annotated[float | str, PlainValidator(_margin, json_schema_input_type=float | str)]
"""A number in the metric's unit, percentage points for metrics from 0 to 1; or "5 %" of the base's mean score."""

DEFAULT_MARGIN = 4.0
"""Percentage points; chosen together with `DEFAULT_FAILS_ABOVE` by `python -m benchmarks.policy`."""

DEFAULT_FAILS_ABOVE = 1.0
"""Percentage points that nobody is failed for where no margin is set."""

EXAMPLE = """\
margin: 4.0            # percentage points that any task or quadrant may lose; "5 %": of the base's score
fails_above: 1.0       # a drop shown to be above this fails, unless it is shown to be below the margin
tasks:
  ocr_vqa: 1.0         # another margin for one task
quadrants:
  oodt_oodi: 3.0       # and for one quadrant
required: [imagenet_vqa, ocr_vqa]
minimum_n: 200         # documents below which nothing is decided
"""


class Policy(BaseModel):
    """A gate's policy, as in `gate.yaml`.

    A margin is in percentage points for metrics from 0 to 1, and in the metric's own unit for others; "5 %" is that
    much of the base's mean score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE]})

    margin: Margin = Field(
        default=DEFAULT_MARGIN,
        description="a task or quadrant passes if its drop is shown to be below this, unless it has its own margin",
    )
    fails_above: Margin | None = Field(
        default=None,
        description="one that does not pass fails if its drop is shown to be above this; by default its margin where "
        f"you set one, else {DEFAULT_FAILS_ABOVE:g}",
    )
    tasks: Mapping[str, Margin] = Field(default_factory=dict, description="margins of single tasks")
    quadrants: Mapping[str, Margin] = Field(default_factory=dict, description="margins of single quadrants")
    required: tuple[str, ...] | None = Field(
        default=None, description="tasks that must be compared; all of the base's if unset"
    )
    minimum_n: int = Field(default=100, ge=1, description="documents below which nothing is decided")
    minimum_clusters: int = Field(
        default=20, ge=2, description="images below which nothing is decided, if several questions are about each"
    )
    maximum_excluded: float = Field(
        default=5.0, ge=0, le=100, description="percent of documents that may be missing or unscored in either run"
    )
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="one-sided level of both tests")

    def limits_of(
        self, task: str, quadrant: str | None, *, alone: bool, scale: Scale = POINTS, base: float | None = None
    ) -> Limits:
        """Return a task's limits; one that is `alone` in its quadrant must meet the quadrant's margin too.

        `base` is the base's mean score on this scale, in its unit: shares are of it.

        Raises:
            UserError: a margin is as wide as the scores range, or a share of nothing.
        """
        named = [self.tasks[task]] if task in self.tasks else []
        if alone and quadrant is not None and quadrant in self.quadrants:
            named.append(self.quadrants[quadrant])
        return self._limits(task, named, scale, base)

    def limits_of_quadrant(self, quadrant: str, *, scale: Scale = POINTS, base: float | None = None) -> Limits:
        """Return a quadrant's limits, as `limits_of` does."""
        named = [self.quadrants[quadrant]] if quadrant in self.quadrants else []
        return self._limits(quadrant, named, scale, base)

    def margin_of(self, task: str) -> float | str | None:
        """Return the margin that is set for a task, by itself or for all; None for the default."""
        return self.tasks.get(task, self.margin if "margin" in self.model_fields_set else None)

    def _limits(self, name: str, named: list[float | str], scale: Scale, base: float | None) -> Limits:
        def amount(margin: float | str) -> float:
            if isinstance(margin, str):
                if not base:
                    raise UserError(f"{name}: {margin} of the base's mean score is nothing: give a number")
                return abs(base) * float(margin.removesuffix(" %")) / 100
            if margin >= scale.reach:
                raise UserError(
                    f"{name}: a margin of {margin:g} {scale.unit} allows any drop: the scores range over "
                    f"{scale.reach:.4g} only; give less, or per cent of the base's score, such as 5%"
                )
            return float(margin)

        stated = bool(named) or "margin" in self.model_fields_set
        general: float | str = self.margin
        harmless: float | str = DEFAULT_FAILS_ABOVE
        if not stated and not scale.is_percent:  # points mean nothing there; as much of the base's score does
            general, harmless = f"{DEFAULT_MARGIN:g} %", f"{DEFAULT_FAILS_ABOVE:g} %"
        margin = min((amount(one) for one in named), default=None)
        if margin is None:
            margin = amount(general)
        if self.fails_above is not None:
            return Limits(margin, min(amount(self.fails_above), margin))
        return Limits(margin, margin if stated else min(amount(harmless), margin))


class Limits(NamedTuple):
    """A unit's two limits, in the unit of its scale: it passes below the one, and else fails above the other."""

    margin: float
    fails_above: float

    @property
    def allowed(self) -> str:
        """What may be lost: the margin, and above what a unit fails where that is another number."""
        failing = "" if self.fails_above == self.margin else f", fails above {self.fails_above:.4g}"
        return f"margin {self.margin:.4g}{failing}"


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        UserError: the file is not a YAML mapping, or has faults, which are all named.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with keys such as margin, tasks and required")
    try:
        return Policy(**data)
    except ValidationError as error:
        faults = "; ".join(list_faults(error.errors()))
        raise UserError(f"{path}: {faults} (keys: {', '.join(Policy.model_fields)})") from error
    except TypeError as error:  # a key that is not a string
        raise UserError(f"{path}: {one_line(error)}") from error


def check_units(policy: Policy, scales: Mapping[str, Scale]) -> None:
    """Refuse one number as the margin of tasks that are scored in unlike units: it would mean something else in each.

    Raises:
        UserError: there are such tasks, without a margin of their own.
    """
    if isinstance(policy.margin, str) or "margin" not in policy.model_fields_set:
        return
    units = {scale.unit: task for task, scale in scales.items() if task not in policy.tasks}
    if len(units) > 1:
        named = " and ".join(f"{task} in {unit}" for unit, task in list(units.items())[:2])
        raise UserError(
            f"margin {policy.margin:g}: {named} are scored in unlike units: give per cent of the base's score "
            "(--margin 5%), or each task its margin in a policy's 'tasks'"
        )


def check_names(policy: Policy, tasks: Iterable[str], quadrants: Iterable[str]) -> None:
    """Refuse margins for unknown tasks and quadrants: a misspelt name would silently set no margin.

    Raises:
        UserError: a name is unknown.
    """
    for kind, named, known in (("tasks", policy.tasks, set(tasks)), ("quadrants", policy.quadrants, set(quadrants))):
        unknown = sorted(set(named) - known)
        if unknown:
            raise UserError(f"policy {kind}: {listed(unknown)} not found; the runs have {listed(sorted(known))}")

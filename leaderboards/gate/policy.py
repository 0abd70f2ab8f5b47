"""What the gate asks for: margins, minimum evidence, required tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emt_core.errors import UserError, list_faults, listed, one_line
from emt_core.files import read_yaml

Margin = Annotated[float, Field(ge=0, lt=100)]

DEFAULT_MARGIN = 4.0
"""Percentage points; chosen together with `DEFAULT_FAILS_ABOVE` by `python -m benchmarks.policy`."""

DEFAULT_FAILS_ABOVE = 1.0
"""Percentage points that nobody is failed for where no margin is set."""

EXAMPLE = """\
margin: 4.0            # percentage points that any task or quadrant may lose
fails_above: 1.0       # a drop shown to be above this fails, unless it is shown to be below the margin
tasks:
  ocr_vqa: 1.0         # another margin for one task
quadrants:
  oodt_oodi: 3.0       # and for one quadrant
required: [imagenet_vqa, ocr_vqa]
minimum_n: 200         # documents below which nothing is decided
"""


class Policy(BaseModel):
    """A gate's policy, as in `gate.yaml`. All margins are in percentage points."""

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

    def limits_of(self, task: str, quadrant: str | None, *, alone: bool) -> Limits:
        """Return a task's limits; one that is `alone` in its quadrant must meet the quadrant's margin too."""
        named = [self.tasks[task]] if task in self.tasks else []
        if alone and quadrant is not None and quadrant in self.quadrants:
            named.append(self.quadrants[quadrant])
        return self._limits(named)

    def limits_of_quadrant(self, quadrant: str) -> Limits:
        """Return a quadrant's limits."""
        return self._limits([self.quadrants[quadrant]] if quadrant in self.quadrants else [])

    def _limits(self, named: list[float]) -> Limits:
        margin = min(named, default=self.margin)
        stated = bool(named) or "margin" in self.model_fields_set
        fails_above = self.fails_above
        if fails_above is None:
            fails_above = margin if stated else DEFAULT_FAILS_ABOVE
        return Limits(margin, min(fails_above, margin))


class Limits(NamedTuple):
    """A unit's two limits in percentage points: it passes below the one, and else fails above the other."""

    margin: float
    fails_above: float

    @property
    def allowed(self) -> str:
        """What may be lost: the margin, and above what a unit fails where that is another number."""
        failing = "" if self.fails_above == self.margin else f", fails above {self.fails_above:g}"
        return f"margin {self.margin:g}{failing}"


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


def check_names(policy: Policy, tasks: Iterable[str], quadrants: Iterable[str]) -> None:
    """Refuse margins for unknown tasks and quadrants: a misspelt name would silently set no margin.

    Raises:
        UserError: a name is unknown.
    """
    for kind, named, known in (("tasks", policy.tasks, set(tasks)), ("quadrants", policy.quadrants, set(quadrants))):
        unknown = sorted(set(named) - known)
        if unknown:
            raise UserError(f"policy {kind}: {listed(unknown)} not found; the runs have {listed(sorted(known))}")

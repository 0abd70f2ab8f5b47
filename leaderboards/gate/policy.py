"""What the gate asks for: margins, minimum evidence, required tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emt_core.errors import UserError, list_faults, listed, one_line
from emt_core.files import read_yaml

Margin = Annotated[float, Field(ge=0, lt=100)]

EXAMPLE = """\
margin: 2.0            # percentage points that any task or quadrant may lose
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
        default=2.0, description="how much any task or quadrant may lose, unless another margin is given"
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

    def margin_of(self, task: str, quadrant: str | None, *, alone: bool) -> float:
        """Return a task's margin; one that is `alone` in its quadrant must meet the quadrant's margin too."""
        named = [self.tasks[task]] if task in self.tasks else []
        if alone and quadrant is not None and quadrant in self.quadrants:
            named.append(self.quadrants[quadrant])
        return min(named, default=self.margin)


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

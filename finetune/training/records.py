"""What a run records as it trains: a line of the loss log for each step, and the same for the trackers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from emt_core.errors import UserError
from finetune.recipes.schema import Recipe
from finetune.training.checkpoint import LOG_FILE, PROBE, logged
from finetune.training.picture import show_looks

SHOWN = ("accuracy", "kl", "shift", "bias")
"""What trackers get of a look at a task."""


class Records:
    """The loss log and the trackers of a run; only the first process writes.

    Args:
        recipe: the run's.
        accelerator: the run's.
    """

    def __init__(self, recipe: Recipe, accelerator: Accelerator) -> None:
        self._recipe, self._accelerator = recipe, accelerator
        self._output = Path(recipe.output)
        self.log = self._output / LOG_FILE

    def base(self, found: Mapping[str, Any]) -> None:
        """Record what is known of the watched tasks before the first step; a resumed run has it already."""
        if self._accelerator.is_main_process and 0 not in logged(self._output, PROBE):
            learn = self._recipe.probe.learn if self._recipe.probe else None
            self._append({"step": 0, PROBE: found, **({"learn": learn} if learn else {})})
            self._track({}, {PROBE: found}, 0)

    def step(self, line: Mapping[str, Any]) -> None:
        """Record a step: whatever is no number, such as the loss by source, by name.

        Raises:
            UserError: the log cannot be written.
        """
        if self._accelerator.is_main_process:
            self._append(line)
            named = {"loss_by_source": "loss", "learning_rate": "learning_rate", "regularise": "regularise"}
            flat = {
                f"{shown}/{name}": value for key, shown in named.items() for name, value in line.get(key, {}).items()
            }
            scalars = {key: value for key, value in line.items() if isinstance(value, int | float) and key != "step"}
            self._track({**scalars, **flat}, line, line["step"])

    def _append(self, line: Mapping[str, Any]) -> None:
        try:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(
                f"step {line['step']}: {self.log} cannot be written ({error.strerror or error}); make room, and go on "
                "with --resume"
            ) from error

    def _track(self, values: dict[str, Any], line: Mapping[str, Any], step: int) -> None:
        """Send a step's values to the trackers, with what a look saw, and a picture of all looks."""
        if not self._recipe.trackers:
            return
        seen = line.get(PROBE, {})
        looked = {
            f"{PROBE}/{task}/{name}": found[name] for task, found in seen.items() for name in SHOWN if name in found
        }
        self._accelerator.log({**values, **looked}, step=step)
        if seen:
            show_looks(self._accelerator.trackers, logged(self._output, PROBE), step)

"""Models that differ in their adapters alone: the base is loaded once, and images go through a common tower once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psutil
import torch

from emt_tasks.models.adapters import Adapters
from emt_tasks.models.loading import check_adapter_base, folder_or_name
from emt_tasks.models.per_image import Counts
from emt_tasks.models.shared_tower import shared_tower
from emt_tasks.models.vlm import EmtVLM, lent

ROOM = 0.25
"""The part of the free memory that images' features may take."""


class SharedModel:
    """One base with its adapters, each put to work as if it alone had been loaded.

    Args:
        base: a checkpoint's folder or hub name.
        adapters: folders of PEFT adapters that can share a model; see `adapters.can_share`.
        model_args: more arguments for the model, `name=value` separated by commas.
        batch_size: of the model.
        device: of the model; None for the best available one.
        share_tower: let each image go through the tower once for all of them.

    Raises:
        UserError: the base or an adapter cannot be used.
    """

    def __init__(
        self,
        base: str,
        adapters: Sequence[str],
        *,
        model_args: str = "",
        batch_size: int | str = 1,
        device: str | None = None,
        share_tower: bool = True,
    ) -> None:
        for peft in adapters:
            check_adapter_base(peft, folder_or_name(base))
        arguments = ",".join(filter(None, [f"pretrained={base}", model_args]))
        self.lm = EmtVLM.create_from_arg_string(arguments, {"batch_size": batch_size, "device": device})
        self._adapters = Adapters(self.lm.model)
        for peft in adapters:
            self._adapters.add(peft)
        self._stack = ExitStack()
        self._home = self.lm.device
        self.tower = Counts(reason="it is not asked for")
        if share_tower:
            limit = int(ROOM * psutil.virtual_memory().available)
            self.tower = self._stack.enter_context(shared_tower(self.lm, self._adapters, limit))

    @contextmanager
    def at_work(self, peft: str | None) -> Iterator[EmtVLM]:
        """Yield the model with one of its adapters, or none: whoever loads a model by its arguments gets this one."""
        with self._adapters.at_work(peft), lent(self.lm):
            yield self.lm

    def run_tower(self, why: str) -> None:
        """Let the tower run for every batch from now on."""
        self._stack.close()
        self.tower.reason = why

    def park(self) -> None:
        """Make room on a GPU for another model, unless this one is spread over several devices."""
        if self._home.type == "cuda" and self._in_one_place:
            self.lm.model.to("cpu")
            torch.cuda.empty_cache()

    def unpark(self) -> None:
        """Put the model back where it was."""
        if self.lm.device != self._home:
            self.lm.model.to(self._home)

    @property
    def _in_one_place(self) -> bool:
        return len(set(getattr(self.lm.model, "hf_device_map", {}).values())) <= 1

    def close(self) -> None:
        """Free the memory."""
        self._stack.close()
        self.lm.clean()

"""Adapters on a model in memory: one of them at work, or none; one that does not fit is refused in one line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from emt_core.errors import UserError, one_line
from emt_tasks.models.loading import ADAPTER_CONFIG

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")

_STARTS = (True, False, "gaussian")
"""Ways to start LoRA's weights that leave the model's as they are; PiSSA, OLoRA, CorDA and LoftQ change them."""


def can_share(peft: str) -> bool:
    """Whether a model that this adapter is put on can be given back as it was, and take others beside it: plain LoRA.

    Its layers add to the model's own. Other kinds cannot be mixed with it, or change the model's own weights.
    """
    try:
        config = json.loads((Path(peft) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        config.get("peft_type") == "LORA"
        and config.get("bias", "none") == "none"
        and config.get("init_lora_weights", True) in _STARTS
        and not config.get("layer_replication")
    )


def load_adapter(model: Any, peft: str) -> Any:
    """Return the model with an adapter in place, not merged: merging in half precision rounds small changes away.

    Raises:
        UserError: the adapter does not fit the model, or is of a kind that only works in its own wrapper.
    """
    adapters = Adapters(model)
    adapters.add(peft)
    return adapters.model


class Adapters:
    """The adapters on one model, each added once and then put to work by its folder."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._wrapped: Any = None
        self._names: dict[str, str] = {}

    def add(self, peft: str) -> None:
        """Put an adapter on the model; it is at work if it is the first.

        Raises:
            UserError: it does not fit the model, or is of a kind that only works in its own wrapper.
        """
        from safetensors import SafetensorError

        if not any((Path(peft) / name).is_file() for name in WEIGHTS):
            raise UserError(f"peft={peft}: the adapter has no weights; expected {' or '.join(WEIGHTS)}")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                missing = self._add(peft)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            self._misfit(peft, _reason(error), error)
        for warning in caught:
            if "missing adapter keys" in str(warning.message):
                missing = str(warning.message)[:200]
            elif not issubclass(warning.category, FutureWarning):  # peft's use of transformers
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if missing:  # PEFT silently fills them with values that change nothing
            self._misfit(peft, missing)
        config = self._wrapped.peft_config[self._names[peft]]
        if config.is_prompt_learning:
            raise UserError(
                f"peft={peft}: {config.peft_type.value} adapters change the prompt; "
                "expected one that changes weights, such as LoRA"
            )
        self.model = self._wrapped.get_base_model().eval()

    def _add(self, peft: str) -> str:
        """Let PEFT load an adapter; returns what it could not find of it, where it does not warn of that."""
        from peft import PeftModel

        if self._wrapped is None:
            self._names[peft] = "default"
            self._wrapped = PeftModel.from_pretrained(self.model, peft)
            return ""
        # No name may be a part of another: PEFT looks for it in the names of weights.
        self._names[peft] = f"beside{len(self._names):04d}"
        found = self._wrapped.load_adapter(peft, adapter_name=self._names[peft])
        return f"missing adapter keys: {found.missing_keys}"[:200] if found.missing_keys else ""

    @contextmanager
    def at_work(self, peft: str | None) -> Iterator[Any]:
        """Yield the model with one of its adapters at work; with None, as it was before any was added."""
        if peft is not None:
            self._wrapped.set_adapter(self._names[peft])
            yield self.model
        elif self._wrapped is None:
            yield self.model
        else:
            with self._wrapped.disable_adapter():
                yield self.model

    def reach(self, part: Any) -> bool:
        """Whether one of the adapters changes a part of the model."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        inside = set(part.modules())
        changed = (m for m in self.model.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper))
        return any(module in inside or part in set(module.modules()) for module in changed)

    def _misfit(self, peft: str, reason: str, cause: Exception | None = None) -> NoReturn:
        raise UserError(f"peft={peft}: the adapter does not fit {type(self.model).__name__} ({reason})") from cause


def _reason(error: Exception) -> str:
    """Return the line of a loading error that names the weight: torch puts it second."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("size mismatch")), one_line(error))[:300]

"""Several models evaluated in one process: those that differ in their adapters alone share one base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emt_tasks.models.adapters import can_share
from emt_tasks.models.loading import adapter_base
from emt_tasks.tasks.evaluator import EvaluationSettings, evaluate, is_adapter_alone
from emt_tasks.tasks.looks import Looks

if TYPE_CHECKING:
    from emt_tasks.models.per_image import Counts
    from emt_tasks.models.sharing import SharedModel


class Loaded(NamedTuple):
    """What models have in common that are one in memory; `own` is an adapter that cannot share it with others."""

    base: str
    model_args: str
    batch_size: int | str
    device: str | None
    own: str | None


class Models:
    """Models that are evaluated in turn, each as `evaluate` does it; a base is loaded once for all of its adapters.

    Args:
        wanted: all that will be evaluated, in order; each once unless they are kept.
        keep: keep what was loaded in memory, for models that are evaluated more than once.
    """

    def __init__(self, wanted: Sequence[EvaluationSettings], *, keep: bool = False) -> None:
        self._keep = keep
        self._adapters: dict[Loaded, list[str | None]] = {}
        for settings in wanted:
            if (found := _loaded(settings)) is not None:
                self._adapters.setdefault(found, []).append(_adapter(settings))
        self._left = Counter({key: len(adapters) for key, adapters in self._adapters.items()})
        self._models: dict[Loaded, SharedModel] = {}

    def evaluate(self, settings: EvaluationSettings, output: Path, *, looks: Looks | None = None) -> dict[str, Any]:
        """Evaluate one of the models; a run of other looks in the folder is replaced.

        Raises:
            UserError: as `evaluator.evaluate` says, or the base or one of its adapters cannot be used.
        """
        key = _loaded(settings)
        if key is None:
            return evaluate(settings, output, looks=looks, overwrite=looks is not None)
        from emt_tasks.models.shared_tower import UnreadError

        model = self._take(key)
        with model.at_work(_adapter(settings)):
            try:
                found = evaluate(settings, output, looks=looks, overwrite=looks is not None)
            except UnreadError as error:  # what was answered is in the cache
                model.run_tower(str(error))
                found = evaluate(settings, output, looks=looks, overwrite=looks is not None)
        return found

    def done(self, settings: EvaluationSettings) -> Counts | None:
        """Free a model that is not needed any more; returns what its tower has done for those that shared it."""
        key = _loaded(settings)
        if key is None or self._keep:
            return None
        self._left[key] -= 1
        if self._left[key] > 0:
            return None
        model = self._models.pop(key)
        model.close()
        return model.tower if len(self._adapters[key]) > 1 else None

    def measure(self, settings: EvaluationSettings, output: Path) -> None:
        """Measure one of the models as `emt probe` does.

        Raises:
            UserError: it cannot be measured.
        """
        from emt_tasks.diagnosis.measure import measure_model

        key = _loaded(settings)
        with nullcontext() if key is None else self._take(key).at_work(_adapter(settings)):
            measure_model(settings, output)

    def _take(self, key: Loaded) -> SharedModel:
        from emt_tasks.models.sharing import SharedModel

        for other, model in self._models.items():
            if other != key:
                model.park()
        if key not in self._models:
            self._models[key] = SharedModel(
                key.base,
                [adapter for adapter in dict.fromkeys(self._adapters[key]) if adapter is not None],
                model_args=key.model_args,
                batch_size=key.batch_size,
                device=key.device,
                share_tower=len(self._adapters[key]) > 1,
            )
        self._models[key].unpark()
        return self._models[key]


def _adapter(settings: EvaluationSettings) -> str | None:
    return settings.model if is_adapter_alone(settings.model) and not settings.peft else settings.peft


def _loaded(settings: EvaluationSettings) -> Loaded | None:
    """Return what a model may have in common with others; None where lmms-eval has to load it."""
    if settings.model_kind != "emt_vlm" or settings.served:
        return None
    peft = _adapter(settings)
    base = adapter_base(peft) if peft == settings.model else settings.model
    if not base:
        return None
    own = peft if peft is not None and not can_share(peft) else None
    return Loaded(base, settings.model_args, settings.batch_size, settings.device, own)

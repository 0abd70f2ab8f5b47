"""Tasks, vocabularies, data sets and models for lmms-eval, and the `emt` command.

Start with `evaluate`; lmms-eval loads `emt_tasks.plugin`. Names are imported on first use, so that importing this
loads nothing.
"""

from typing import TYPE_CHECKING

from emt_core.lazy import lazy

if TYPE_CHECKING:
    from emt_tasks.datasets.catalog import Dataset
    from emt_tasks.datasets.catalog import get as get_dataset
    from emt_tasks.datasets.checks import check_data
    from emt_tasks.datasets.prepare import prepare
    from emt_tasks.datasets.vocabularies import load as load_vocabulary
    from emt_tasks.tasks.evaluator import EvaluationSettings, evaluate
    from emt_tasks.tasks.registry import entries as list_tasks

__all__ = [
    "Dataset",
    "EvaluationSettings",
    "check_data",
    "evaluate",
    "get_dataset",
    "list_tasks",
    "load_vocabulary",
    "prepare",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Dataset": "emt_tasks.datasets.catalog",
        "EvaluationSettings": "emt_tasks.tasks.evaluator",
        "check_data": "emt_tasks.datasets.checks",
        "evaluate": "emt_tasks.tasks.evaluator",
        "get_dataset": "emt_tasks.datasets.catalog:get",
        "list_tasks": "emt_tasks.tasks.registry:entries",
        "load_vocabulary": "emt_tasks.datasets.vocabularies:load",
        "prepare": "emt_tasks.datasets.prepare",
    },
)

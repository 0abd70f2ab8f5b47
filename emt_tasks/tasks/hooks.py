"""The names that the YAML tasks refer to by `!function emt_tasks.tasks.hooks.DATASET_HOOK`.

They are looked up when a task is loaded, so that $EMT_DATA_DIR is read then and not at import. For each data set:

- `DATASET_path`, `DATASET_kwargs`: what `datasets.load_dataset` gets;
- `DATASET_image`: the document's image;
- `DATASET_documents`, `DATASET_documents_lite`: its documents, one per question, labels matched by name;
- `DATASET_target`, `DATASET_score`: the right answer, and the judged one;
- `DATASET_choices`, `DATASET_score_closed`: for classes and lettered options, by log-likelihood;
- `DATASET_text_distractor`, `DATASET_score_distractor`, `DATASET_score_distractor_closed`: for lettered options;
- `DATASET_score_by_JUDGE` and the like: the same score by that judge, whatever $EMT_JUDGE says.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import Dataset, Kind
from emt_tasks.tasks.classification import ClassificationTask
from emt_tasks.tasks.documents import DatasetTask
from emt_tasks.tasks.multiple_choice import MultipleChoiceTask
from emt_tasks.tasks.short_answer import ShortAnswerTask

KINDS: Mapping[Kind, type[DatasetTask]] = {
    "classification": ClassificationTask,
    "multiple_choice": MultipleChoiceTask,
    "short_answer": ShortAnswerTask,
}
HOOKS = (
    *("image", "documents", "documents_lite", "target", "score"),
    *("choices", "score_closed"),
    *("text_distractor", "score_distractor", "score_distractor_closed"),
)


def __getattr__(name: str) -> Any:
    # The longest name: demo_digits_qa_path belongs to demo_digits_qa, not to demo_digits.
    rows = (row for row in catalog.datasets().values() if name.startswith(f"{row.name}_"))
    row = max(rows, key=lambda row: len(row.name), default=None)
    if row is None:
        raise AttributeError(f"module {__name__!r} has no hook {name!r}")
    hook, _, judge = name.removeprefix(f"{row.name}_").partition("_by_")
    if hook in ("path", "kwargs"):
        arguments = row.load_arguments(row.split)
        path = arguments.pop("path")
        return path if hook == "path" else arguments
    function = getattr(task_of(row), hook, None) if hook in HOOKS else None
    if function is None:
        raise AttributeError(f"module {__name__!r} has no hook {name!r}")
    return partial(function, judge=judge.replace("_", "-")) if judge else function


@cache
def task_of(dataset: Dataset) -> DatasetTask:
    """Return the hooks of a data set."""
    return KINDS[dataset.kind](dataset)

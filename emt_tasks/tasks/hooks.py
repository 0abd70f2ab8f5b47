"""The names that the YAML tasks refer to by `!function emt_tasks.tasks.hooks.DATASET_HOOK`.

They are looked up when a task is loaded, so that $EMT_DATA_DIR is read then and not at import. For each data set:

- `DATASET_path`, `DATASET_kwargs`: what `datasets.load_dataset` gets;
- `DATASET_documents`, `DATASET_documents_lite`: for those with a vocabulary, its documents, labels matched by name;
- `DATASET_target`, `DATASET_choices`, `DATASET_score`, `DATASET_score_closed`: for those with a vocabulary;
- `DATASET_score_by_JUDGE` and the like: the same score by that judge, whatever $EMT_JUDGE says.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from emt_tasks.datasets.catalog import SOURCES, Source
from emt_tasks.tasks import ocr_vqa, wikiqa
from emt_tasks.tasks.classification import ClassificationTask


def __getattr__(name: str) -> Any:
    # The longest name: demo_digits_qa_path is of demo_digits_qa, not of demo_digits.
    sources = (source for source in SOURCES.values() if name.startswith(f"{source.name}_"))
    source = max(sources, key=lambda source: len(source.name), default=None)
    if source is None:
        raise AttributeError(f"module {__name__!r} has no hook {name!r}")
    hook = name.removeprefix(f"{source.name}_")
    if hook in ("path", "kwargs"):
        return _data(source, hook)
    hook, _, judge = hook.partition("_by_")
    function = _hooks(source.name).get(hook)
    if function is None:
        raise AttributeError(f"module {__name__!r} has no hook {name!r}")
    return partial(function, judge=judge.replace("_", "-")) if judge else function


def _data(source: Source, hook: str) -> Any:
    arguments = source.load_arguments(source.evaluation_split)
    path = arguments.pop("path")
    return path if hook == "path" else arguments


@cache
def _hooks(name: str) -> dict[str, Callable[..., Any]]:
    source = SOURCES[name]
    if source.kind == "multiple_choice":
        return {"score": wikiqa.score, "score_distractor": wikiqa.score_distractor}
    if source.kind == "short_answer":
        return {"score": ocr_vqa.score}
    task = ClassificationTask(source.vocabulary or name, label_column=source.label)
    hooks = ("documents", "documents_lite", "target", "choices", "score", "score_closed")
    return {hook: getattr(task, hook) for hook in hooks}

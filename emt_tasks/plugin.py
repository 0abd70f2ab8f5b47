"""Registers our models and tasks with plain `lmms-eval`; the only module that touches its internals.

lmms-eval loads the entry point `manifests` when `lmms_eval.models` is imported. It has an entry point for models
but none for tasks, so the same call also adds our registry to the folders that its TaskManager searches, and makes
the TaskManager check our tasks' data before a model is loaded.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import include
from emt_tasks.tasks import registry

if TYPE_CHECKING:
    from emt_core.looks import Look
    from emt_tasks.tasks.looks import Looks

_HOOKED = "_emt_hooked"


def manifests() -> list[Any]:
    """Return our models for lmms-eval's registry, and add our tasks to its TaskManager. Safe to call again."""
    from lmms_eval.models.registry_v2 import ModelManifest

    try:
        _hook_task_manager()
        _hook_tracker()
        _hook_requests()
        _hook_cache_version()
    except (ImportError, AttributeError) as error:
        print(  # noqa: T201 (lmms-eval shows no plug-in's log before its own logger is set up)
            f"emt-eval: this lmms-eval does not find our tasks by itself ({one_line(error)}); "
            f'add --include_path "{registry.FOLDER}"',
            file=sys.stderr,
        )
    return [
        ModelManifest(model_id="emt_vlm", simple_class_path="emt_tasks.models.vlm.EmtVLM"),
        ModelManifest(model_id="emt_clip", simple_class_path="emt_tasks.models.clip.EmtCLIP"),
        ModelManifest(model_id="emt_served", simple_class_path="emt_tasks.models.served.EmtServed"),
    ]


def _hook_cache_version() -> None:
    """Keep answers by lmms-eval's version, so that a stopped run finds them again.

    lmms-eval asks git for its commit, and gets that of the repository in which its environment lies, if there is one:
    after each commit of the user's, all would be asked again. One that is a checkout itself keeps its commit.
    """
    from lmms_eval import utils

    if not (Path(utils.__file__).resolve().parents[1] / ".git").exists():
        utils.get_lmms_eval_cache_version = functools.partial(version, "lmms-eval")


def _hook_tracker() -> None:
    """Let the results file name transformers' version and lmms-eval's own.

    lmms-eval 0.7.3 has the code for the first, and does not call it; for its own it names the commit of whatever
    repository it is started in.
    """
    from lmms_eval.loggers.evaluation_tracker import EvaluationTracker

    if getattr(EvaluationTracker, _HOOKED, False):
        return
    EvaluationTracker.save_results_aggregated = _with_versions(EvaluationTracker.save_results_aggregated)
    setattr(EvaluationTracker, _HOOKED, True)


def _with_versions(save: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(save)
    def wrapper(self: Any, results: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        results.setdefault("transformers_version", version("transformers"))
        results["lmms_eval_version"] = version("lmms-eval")
        for task, look in _looked_at.items():
            results["n-samples"][task] |= {"effective": look.documents, "look": asdict(look)}
        save(self, results, *args, **kwargs)

    return wrapper


_looks: Looks | None = None
_looked_at: dict[str, Look] = {}


@contextmanager
def only_looks(looks: Looks | None) -> Iterator[None]:
    """Let lmms-eval ask only about the documents of a look, and say in the results which look it was; None: about all.

    It can only ask about the first ones, in the order of the data set.
    """
    global _looks
    _looks = looks
    _looked_at.clear()
    try:
        yield
    finally:
        _looks = None
        _looked_at.clear()


def _hook_requests() -> None:
    from lmms_eval.api.task import Task

    if not getattr(Task, _HOOKED, False):
        Task.build_all_requests = _with_looks(Task.build_all_requests)
        setattr(Task, _HOOKED, True)


def _with_looks(build: Callable[..., None]) -> Callable[..., None]:
    """Build the requests of the documents of a look alone; of a document without a request nothing is scored."""

    @functools.wraps(build)
    def wrapper(self: Any, *, rank: int = 0, world_size: int = 1, **kwargs: Any) -> None:
        if _looks is None:
            build(self, rank=rank, world_size=world_size, **kwargs)
            return
        config, split = self.config, self.config.test_split or self.config.validation_split
        documents = self.eval_docs_no_media
        _looked_at[config.task], chosen = _looks.of(config.task, len(documents))
        metadata = config.metadata if isinstance(config.metadata, dict) else {}
        settings = ("system_instruction", "apply_chat_template", "fewshot_as_multiturn", "chat_template")
        self._instances = []
        for number in chosen:
            if number % world_size == rank:  # as lmms-eval deals the documents out
                context = self.fewshot_context(
                    documents[number], config.num_fewshot or 0, *(kwargs.get(name) for name in settings)
                )
                about = {"task": config.task, "doc_id": number, "repeats": config.repeats, "split": split} | metadata
                made = self.construct_requests(doc_id=number, ctx=context, metadata=about)
                self._instances += made if isinstance(made, list) else [made]
        if not self._instances:
            raise UserError(f"task {config.task}: {len(chosen)} documents are too few for {world_size} processes")

    return wrapper


def _hook_task_manager() -> None:
    from lmms_eval.tasks import TaskManager

    if getattr(TaskManager, _HOOKED, False):
        return
    TaskManager.initialize_tasks = _with_registry(TaskManager.initialize_tasks)
    TaskManager.match_tasks = _with_data_check(TaskManager.match_tasks)
    setattr(TaskManager, _HOOKED, True)


def _with_registry(initialize_tasks: Callable[..., Any]) -> Callable[..., Any]:
    """Search our registry and the user's folders besides those that were asked for."""

    @functools.wraps(initialize_tasks)
    def wrapper(
        self: Any, include_path: str | Sequence[str] | None = None, include_defaults: bool = True, **kwargs: Any
    ) -> Any:
        paths = [include_path] if isinstance(include_path, str) else list(include_path or ())
        # A user's folder may come from lmms-eval's own option: then its data sets come with its tasks.
        include.add(path for path in paths if (Path(path) / include.FILE).is_file())
        if include_defaults:
            paths += [str(folder) for folder in registry.folders() if str(folder) not in paths]
        return initialize_tasks(self, include_path=paths, include_defaults=include_defaults, **kwargs)

    return wrapper


def _with_data_check(match_tasks: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Stop before a model is loaded if the data of one of our tasks is missing.

    Only lmms-eval's command line matches task names, and it exits with 0 after an exception, so this function exits.
    """

    @functools.wraps(match_tasks)
    def wrapper(self: Any, task_list: Sequence[str]) -> list[str]:
        names = match_tasks(self, task_list)
        from emt_tasks.datasets.checks import check_data

        try:
            check_data(names)
        except UserError as error:
            sys.exit(f"emt-eval: {one_line(error)}")
        return names

    return wrapper


def run_lmms_eval(arguments: Iterable[str], looks: Looks | None = None) -> dict[str, Any]:
    """Run lmms-eval in this process as its command line would, but let exceptions through; return its results.

    Args:
        arguments: of the command line.
        looks: ask about the documents of these alone.

    Raises:
        UserError: this is not the first process, or lmms-eval returned no results.
    """
    from lmms_eval import __main__ as lmms_eval_main

    argv, sys.argv = sys.argv, ["lmms-eval", *arguments]
    try:
        _, parsed = lmms_eval_main.parse_eval_args()
    finally:
        sys.argv = argv
    with only_looks(looks):
        results, _ = lmms_eval_main.cli_evaluate_single(parsed)
    return results or {}


def run_lmms_eval_on(
    lm: Any, *, pretrained: str, tasks: Sequence[str], limit: int | None, output: Path, processes: int
) -> dict[str, Any]:
    """Run lmms-eval in this process on a loaded model, and write what its command line would write.

    Args:
        lm: an lmms-eval model of the kind `emt_vlm`.
        pretrained: what the results say was evaluated.
        tasks: names of tasks and groups.
        limit: only the first documents of each task.
        output: the folder to write to.
        processes: how many share the work.

    Returns:
        lmms-eval's results; empty on all processes but the first.
    """
    from lmms_eval import evaluator, utils
    from lmms_eval.loggers import EvaluationTracker
    from lmms_eval.tasks import TaskManager

    tracker = EvaluationTracker(output_path=str(output))
    date = utils.get_datetime_str()
    results: dict[str, Any] | None = evaluator.simple_evaluate(
        model=lm,
        model_args=f"pretrained={pretrained}",
        tasks=list(tasks),
        limit=limit,
        batch_size=lm.batch_size,
        evaluation_tracker=tracker,
        task_manager=TaskManager("ERROR", model_name="emt_vlm"),
        datetime_str=date,
        verbosity="ERROR",
        distributed_executor_backend="torchrun" if processes > 1 else "accelerate",
    )
    if results is None:
        return {}
    samples = results.pop("samples")
    # The tracker copies everything it has into the results: give it a name, not the model.
    tracker.general_config_tracker.model_source = results["config"]["model"] = "emt_vlm"
    tracker.save_results_aggregated(results=results, samples=samples, datetime_str=date)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])
    return results


def model_class(name: str) -> type:
    """Return one of lmms-eval's own models."""
    from lmms_eval.models import get_model

    found: type = get_model(name)
    return found


def as_openai(chat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a chat of lmms-eval's as a server takes it, images in it as PNG: no pixel is changed."""
    from lmms_eval.protocol import ChatMessages

    found: list[dict[str, Any]] = ChatMessages(messages=list(chat)).to_openai_messages()
    return found


def load_tasks(names: Sequence[str]) -> dict[str, Any]:
    """Return lmms-eval's tasks by name, groups expanded."""
    from lmms_eval.tasks import TaskManager, get_task_dict
    from loguru import logger

    logger.remove()  # as lmms-eval's command line does: it tells all that it reads
    logger.add(sys.stderr, level="ERROR")
    _hook_task_manager()
    return dict(_flat(get_task_dict(list(names), TaskManager("ERROR", model_name="emt_vlm"))))


def _flat(tasks: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, task in tasks.items():
        if isinstance(task, Mapping):
            yield from _flat(task)
        else:
            yield str(name), task[1] if isinstance(task, tuple) else task

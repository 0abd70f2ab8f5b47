"""Find a run and read what lmms-eval recorded: tasks, versions, configs, samples files."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emt_core.errors import UserError
from emt_core.looks import Look
from emt_core.public_names import digest, named_arguments, public_arguments, public_folder, public_name
from emt_core.results import Counts, Results, read_results

_RESULTS = re.compile(r"(?P<stamp>.+)_results\.json")
_SAMPLES = re.compile(r"(?P<stamp>.+)_samples_(?P<task>.+)\.jsonl")


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file written by lmms-eval: a results file or, with a `task`, that task's samples; `stamp` is the run's."""

    path: Path
    stamp: str
    task: str | None = None


def run_file(path: Path) -> RunFile | None:
    """Recognise one of lmms-eval's files by its name; None for any other file."""
    if found := _SAMPLES.fullmatch(path.name):
        return RunFile(path, found["stamp"], found["task"])
    found = _RESULTS.fullmatch(path.name)
    return RunFile(path, found["stamp"]) if found else None


def run_files(folder: Path) -> list[RunFile]:
    """Return lmms-eval's files in a folder and below it, sorted by path."""
    return [found for path in sorted(folder.rglob("*.json*")) if (found := run_file(path))]


def is_run(path: Path) -> bool:
    """Whether lmms-eval has written results into this folder or below it."""
    return path.is_dir() and any(file.task is None for file in run_files(path))


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a run, as the results file describes it.

    `file` holds its samples, as lmms-eval logs them; those of another harness's run are written there by `write` when
    they are first asked for, and errors name their `source`. `config` is the resolved YAML config; `metrics` and
    `filters` are names, in the results' order; `original` and `effective` count the documents before and after the
    limit. `look` says where the task of a sequential check stands; None for all others.
    """

    name: str
    file: Path
    version: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    higher_is_better: Mapping[str, bool | None] = field(default_factory=dict)
    original: int | None = None
    effective: int | None = None
    look: Look | None = None
    source: Path | None = None
    write: Callable[[Path], None] | None = None

    @property
    def samples(self) -> Path:
        """The samples file, written now if it has to be."""
        if self.write is not None and not self.file.is_file():
            self.write(self.file)
        return self.file

    @property
    def shown(self) -> Path:
        """The file that a user knows the samples by."""
        return self.source or self.file

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the task says of itself beside its settings."""
        metadata = self.config.get("metadata")
        return metadata if isinstance(metadata, dict) else {}


@dataclass(frozen=True, slots=True)
class Run:
    """One output of a harness for one model: its tasks' scores, sample by sample.

    `path` is lmms-eval's results file, or what another harness wrote. `name` is the model's, fit to publish: no path.
    `results` is the results file's content, checked; `groups` gives the tasks of each group, sub-groups resolved.
    """

    path: Path
    name: str
    tasks: Mapping[str, Task]
    groups: Mapping[str, tuple[str, ...]]
    results: Mapping[str, Any]

    @property
    def stamp(self) -> str:
        """The time stamp that lmms-eval puts before each file's name."""
        return self.path.name.removesuffix("_results.json")

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the run was asked for. It may hold paths: publish `model_args` instead."""
        return self.results.get("config") or {}

    @property
    def model_kind(self) -> str | None:
        """What lmms-eval calls this kind of model, such as `emt_vlm`."""
        kind = self.settings.get("model")
        return public_name(kind) if kind else None

    @property
    def named_arguments(self) -> Mapping[str, str]:
        """The model's arguments by name. They may hold paths: publish `model_args` instead."""
        return named_arguments(self.settings.get("model_args"))

    @property
    def model_args(self) -> str | None:
        """The model's arguments, fit to publish."""
        return public_arguments(self.settings.get("model_args"))


def tell_apart(*runs: Run) -> tuple[Run, ...]:
    """Return the runs with a hash behind the name of those that are called alike and are not the same model."""

    def identity(run: Run) -> str:
        return f"{run.results.get('model_name')} {run.settings.get('model_args')}"

    def alike(run: Run) -> bool:
        return any(other.name == run.name and identity(other) != identity(run) for other in runs)

    return tuple(replace(run, name=f"{run.name} ({digest(identity(run))})") if alike(run) else run for run in runs)


def read_run(path: Path) -> Run:
    """Read the run in a folder, in its only subfolder with a run, or of a given results file; of any known harness.

    Raises:
        UserError: there is no run, more than one, a faulty results file, or one without its samples.
    """
    if not is_lmms_eval(path):
        # Imported here: the formats build on this module.
        from emt_core.formats.known import read_other

        return read_other(path)
    file = _find_results(path)
    results, raw = read_results(file)
    stamp = file.name[: -len("_results.json")]
    tasks = {name: _task(name, stamp, file.parent, results, raw) for name in _task_names(file, results)}
    _check_samples(file, stamp, tasks)
    name = public_name(results.model_name) if results.model_name else public_folder(file.parent)
    return Run(path=file, name=name, tasks=tasks, groups=leaf_groups(results.group_subtasks or {}, tasks), results=raw)


def is_lmms_eval(path: Path) -> bool:
    """Whether lmms-eval wrote this, all of it or in part."""
    return run_file(path) is not None if path.is_file() else path.is_dir() and bool(run_files(path))


def _find_results(path: Path) -> Path:
    if path.is_file():
        if _RESULTS.fullmatch(path.name):
            return path
        raise UserError(f"{path} is not an lmms-eval results file: expected a folder or TIMESTAMP_results.json")
    found = sorted(path.rglob("*_results.json"))
    folders = sorted({file.parent for file in found})
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in folders[:5])
        more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
        raise UserError(f"{path} contains runs of {len(folders)} models ({names}{more}): choose one of these folders")
    if len(found) > 1:
        stamps = " and ".join(file.name[: -len("_results.json")] for file in found)
        raise UserError(f"{folders[0]} contains {len(found)} runs, {stamps}: choose one file, such as {found[-1]}")
    if not found:
        orphan = min(path.rglob("*_samples_*.jsonl"))
        raise UserError(f"{orphan} has no results file beside it: the run did not finish; run lmms-eval again")
    return found[0]


def _task_names(file: Path, results: Results) -> list[str]:
    if results.configs:
        return sorted(results.configs)
    groups = results.group_subtasks or {}
    names = sorted(name for name in results.results if not groups.get(name))
    if not names:
        raise UserError(f"{file} names no task: expected the key 'configs' with an entry for each task")
    return names


def _task(name: str, stamp: str, folder: Path, results: Results, raw: Mapping[str, Any]) -> Task:
    scores = [key.split(",", 1) for key in results.results.get(name, {}) if "," in key and "_stderr" not in key]
    counts = (results.n_samples or {}).get(name) or Counts()
    version = (results.versions or {}).get(name)
    look = counts.look
    return Task(
        name=name,
        file=folder / f"{stamp}_samples_{name}.jsonl",
        version=None if version is None else str(version),
        config=(raw.get("configs") or {}).get(name) or {},
        metrics=tuple(dict.fromkeys(metric for metric, _ in scores)),
        filters=tuple(dict.fromkeys(name for _, name in scores)),
        higher_is_better=(results.higher_is_better or {}).get(name) or {},
        original=counts.original,
        effective=counts.effective,
        look=None if look is None else Look(look.number, look.of, look.documents, look.most),
    )


def leaf_groups(children: Mapping[str, Sequence[str] | None], tasks: Container[str]) -> dict[str, tuple[str, ...]]:
    """Return the tasks below each group, through its sub-groups, sorted; `children` has what is right below each."""

    def leaves(name: str, seen: frozenset[str]) -> set[str]:
        if name in tasks:
            return {name}
        if name in seen:
            return set()
        return {leaf for child in children.get(name) or () for leaf in leaves(child, seen | {name})}

    groups = {name: tuple(sorted(leaves(name, frozenset()))) for name in sorted(children) if name not in tasks}
    return {name: members for name, members in groups.items() if members}


def _check_samples(file: Path, stamp: str, tasks: Mapping[str, Task]) -> None:
    missing = [task.name for task in tasks.values() if not task.file.is_file()]
    if len(missing) == len(tasks):
        raise UserError(f"{file} has no samples beside it: run lmms-eval again with --log_samples")
    if missing:
        raise UserError(f"{tasks[missing[0]].file} is missing: {len(missing)} of {len(tasks)} tasks have no samples")
    known = {task.file.name for task in tasks.values()}
    for extra in sorted(file.parent.glob(f"{stamp}_samples_*.jsonl")):
        if extra.name not in known:
            raise UserError(f"{extra} belongs to no task of {file.name}: found samples without results")

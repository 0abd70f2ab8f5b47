"""The installed lmms-eval's own tasks on made-up documents and answers: what each logs for a sample.

Documents have every field: what a field may hold is guessed from its name, several ways. Nothing is downloaded, no
connection is made, and what takes longer than a few seconds is given up.

Run: python -m tests.support.installed_tasks
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import socket
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.samples import read_samples

SECONDS = 3
DOCUMENTS = 12
ANSWERS = ("A", "yes", "B", "no", '{"answer": "A", "score": 1}', "the answer is 1", "[0.1, 0.2, 0.5, 0.6]", "")
STAMP = "20260101_120000"


@dataclass(frozen=True)
class Outcome:
    """What became of one task: `state` is read, refused, skipped or failed; `why` the metric, or the reason."""

    task: str
    state: str
    why: str


@dataclass(frozen=True)
class Function:
    """A function that a YAML names, not imported yet."""

    folder: Path
    name: str


class Document(dict):
    """A document that has every field."""

    def __init__(self, number: int, guess: Callable[[str, int], Any]) -> None:
        super().__init__(doc_id=number)
        self.number, self.guess = number, guess

    def __missing__(self, key: str) -> Any:
        self[key] = value = self.guess(str(key), self.number)
        return value

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


@contextmanager
def offline() -> Iterator[None]:
    """No connection, no waiting, no end of the process."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network in this test")

    kept = socket.socket.connect, socket.getaddrinfo, time.sleep
    socket.socket.connect, socket.getaddrinfo, time.sleep = refuse, refuse, lambda _: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo, time.sleep = kept  # type: ignore[method-assign]


class GivenUp(BaseException):
    """It takes too long. No Exception, which some tasks catch, to ask their server again."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Give up after so many seconds, and again each second after that where a task catches even this."""

    def give_up(*_: Any) -> None:
        raise GivenUp(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def configs() -> Iterator[dict[str, Any]]:
    """Yield the resolved config of each task of lmms-eval with a `process_results` of its own, alike ones once."""
    import lmms_eval.tasks
    import lmms_eval.utils

    def construct(loader: Any, node: Any) -> Function:
        return Function(Path(loader.name).parent, loader.construct_scalar(node))

    seen = set()
    kept, lmms_eval.utils.import_function = lmms_eval.utils.import_function, construct
    try:
        for path in sorted(Path(lmms_eval.tasks.__file__).parent.rglob("*.yaml")):
            try:
                config = lmms_eval.utils.load_yaml_config(str(path))
            except Exception:  # noqa: BLE001 - a template, or a YAML of another kind
                continue
            listed = config.get("metric_list")
            if not isinstance(config.get("task"), str) or not isinstance(config.get("process_results"), Function):
                continue
            key = (config["process_results"], json.dumps(listed, default=str))
            if listed and key not in seen:
                seen.add(key)
                yield config
    finally:
        lmms_eval.utils.import_function = kept


@cache
def load(folder: Path, module: str) -> Any:
    file = folder / f"{module}.py"
    if not file.exists():
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def words(module: Any) -> list[str]:
    """The texts in a module's constants, such as the categories that it knows."""
    found: dict[str, None] = {}

    def collect(value: Any, depth: int = 0) -> None:
        if isinstance(value, str) and 0 < len(value) < 60:
            found[value] = None
        elif isinstance(value, Mapping | Sequence | set) and not isinstance(value, str) and depth < 4:
            for item in value:
                collect(item, depth + 1)
            if isinstance(value, Mapping):
                collect(list(value.values()), depth + 1)

    for name, value in vars(module).items():
        if not name.startswith("_") and isinstance(value, dict | list | tuple | set):
            collect(value)
    return list(found) or ["other"]


def guesses(module: Any) -> list[Callable[[str, int], Any]]:
    """Ways to guess what a field holds, by its name and the document's number."""
    known = words(module)

    def by_name(key: str, number: int, rest: Sequence[Any] = "AB") -> Any:
        name = key.lower()
        if any(
            part in name for part in ("categ", "type", "task", "subset", "domain", "class", "source", "split", "l2")
        ):
            return known[number % len(known)]
        if any(part in name for part in ("answers", "choices", "options", "candidates", "references")):
            return ["A", "B", "C", "D"]
        if any(part in name for part in ("index", "_id", "num", "label", "level", "duration", "width", "height")):
            return number % 4
        if "bbox" in name:
            return [0.1, 0.2, 0.5, 0.6]
        return rest[number % 2]

    constant = ["A", 0, "yes", ["A", "B"], "['A', 'B']", '{"A": 1}', {"A": "a"}, [0.1, 0.2, 0.5, 0.6], [["A"]], None]
    rests = ("AB", ("yes", "no"), ("1", "2"), (0, 1), (["A"], ["B"]))
    named = [partial(by_name, rest=rest) for rest in rests]
    return [*named, *((lambda _key, _number, value=value: value) for value in constant)]


def logs(config: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Return what a task's `process_results` logs for made-up documents, by the guess that fits best; else why not."""
    wanted: Function = config["process_results"]
    *module, name = wanted.name.split(".")
    try:
        with limited(60):
            loaded = load(wanted.folder, ".".join(module))
            process = getattr(loaded, name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return [], f"its module cannot be imported: {type(error).__name__}: {str(error)[:60]}"
    best: list[dict[str, Any]] = []
    why = ""
    for guess in guesses(loaded):
        found = []
        for number in range(DOCUMENTS):
            document = Document(number, guess)
            try:
                with limited(SECONDS):
                    logged = process(document, [ANSWERS[number % len(ANSWERS)]])
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                why = f"{type(error).__name__}: {str(error)[:60]}"
                if isinstance(error, GivenUp):  # it asks a server, again and again
                    return best, why
                if number == 2 and not found:
                    break
                continue
            if isinstance(logged, dict) and logged:
                found.append(logged)
        best = max(best, found, key=len)
        if len(best) == DOCUMENTS:
            break
    return best, f"made-up documents do not fit: {why}" if not best else ""


def write(folder: Path, config: Mapping[str, Any], logged: Sequence[Mapping[str, Any]]) -> Path:
    """Write a run as lmms-eval would: its metrics, their directions as its YAML or its registry says them."""
    from lmms_eval.api.registry import HIGHER_IS_BETTER_REGISTRY
    from lmms_eval.utils import handle_non_serializable

    listed = {entry["metric"]: entry for entry in config["metric_list"] if isinstance(entry.get("metric"), str)}
    metrics = [name for name in dict.fromkeys(name for sample in logged for name in sample) if name in listed]
    better = {
        name: entry.get("higher_is_better", HIGHER_IS_BETTER_REGISTRY.get(name)) for name, entry in listed.items()
    }
    results = {
        "results": {"t": {"alias": "t", **{f"{name},none": 0.5 for name in metrics}}},
        "configs": {"t": {key: value for key, value in config.items() if key not in ("metadata", "include")}},
        "higher_is_better": {"t": better},
        "n-samples": {"t": {"original": len(logged), "effective": len(logged)}},
    }
    text = json.dumps(results, default=lambda value: f"<function {value!r}>")
    (folder / f"{STAMP}_results.json").write_text(text, encoding="utf-8")
    with (folder / f"{STAMP}_samples_t.jsonl").open("w", encoding="utf-8") as file:
        for number, sample in enumerate(logged):
            row = {"doc_id": number, "target": "A", "input": "?", "filtered_resps": ["A"], **sample}
            file.write(json.dumps(row, default=handle_non_serializable, ensure_ascii=False) + "\n")
    return folder


def examine(config: Mapping[str, Any]) -> Outcome:
    """Read what one task logs as the gate does."""
    task = str(config["task"])
    logged, why = logs(config)
    if not logged:
        return Outcome(task, "skipped", why)
    with TemporaryDirectory() as folder:
        try:
            run = write(Path(folder), config, logged)
        except (TypeError, ValueError) as error:
            return Outcome(task, "skipped", f"lmms-eval could not log this: {error}")
        try:
            samples = read_samples(read_run(run).tasks["t"])
        except UserError as error:
            return Outcome(task, "refused", str(error).replace(f"{folder}/", ""))
        except Exception as error:  # noqa: BLE001 - what the test looks for
            return Outcome(task, "failed", f"{type(error).__name__}: {error}")
    unscored = int(samples.frame["unscored"].sum())
    return Outcome(task, "read", samples.metric + (f", {unscored} of {len(logged)} unscored" if unscored else ""))


def examine_all() -> Iterator[Outcome]:
    """Examine every task of the installed lmms-eval, in a folder of its own, with what it prints thrown away."""
    before, environment = Path.cwd(), dict(os.environ)
    random.seed(0)
    with TemporaryDirectory() as folder, offline(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": folder, "OPENAI_API_KEY": "none"}
        try:
            for config in list(configs()):
                with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                    outcome = examine(config)
                yield outcome
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)


def main() -> None:
    """Print a line for each task, then the counts."""
    counts: Counter[str] = Counter()
    for outcome in examine_all():
        print(f"{outcome.state:8} {outcome.task:45} {outcome.why}", flush=True)
        counts[outcome.state] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    sys.exit(main())

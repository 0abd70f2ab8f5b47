"""Rejudge what was logged: an lmms-eval run, or plain rows; resumable, and never over the original."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from emt_core.errors import UserError, one_line
from emt_core.files import Row, dump_row, read_rows
from emt_core.folders import check_folder, mark, replace_made
from emt_core.formats.known import is_other, read_other
from emt_core.formats.tables import IDS
from emt_core.formats.written import write_as_lmms_eval
from emt_core.runs import run_file, run_files
from judges.judging import Judge, signature, with_version
from judges.rerun.aggregate import recompute
from judges.rerun.rows import answer_of, class_name_chosen
from judges.target import MultipleChoice, Target
from judges.verdict import DISTRACTED, JUDGED_BY, METRICS, Verdict

MADE_BY = "emt judge"


@dataclass(frozen=True)
class Work:
    """What to judge: `files` of `source` to judge, and `others` that a run's copy includes unchanged.

    Paths are relative to `source`; a single file of rows is the path `.`. `original` is the run of another harness that
    `source` was made of, which is never written to either.
    """

    source: Path
    files: tuple[Path, ...]
    others: tuple[Path, ...] = ()
    original: Path | None = None

    @property
    def is_run(self) -> bool:
        """Whether this is an lmms-eval folder rather than a file of rows."""
        return self.source.is_dir()

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yield the position of each row, and the row."""
        for file in self.files:
            yield from read_rows(self.source / file)

    def items(self) -> Iterator[tuple[str, Target]]:
        """Yield each answer with its target."""
        return (answer_of(row, where) for where, row in self.rows())


def find_work(source: Path, tasks: Iterable[str] = ()) -> Work:
    """Find what can be rejudged; `tasks` restricts it to some tasks of a run, which any known harness may have written.

    Raises:
        UserError: there is nothing to judge, or a named task is missing.
    """
    if not _is_rows(source) and is_other(source):
        folder = write_as_lmms_eval(read_other(source), {name: name == "accuracy" for name in METRICS})
        return replace(_find_in_folder(folder, tasks, source), original=source)
    if source.is_file():
        if tasks := list(tasks):
            raise UserError(f"--task {tasks[0]}: {source} is a file of rows; --task chooses among a run's tasks")
        return Work(source, (Path(),))
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder; expected an lmms-eval run or a JSON lines file")
    return _find_in_folder(source, tasks, source)


def _find_in_folder(source: Path, tasks: Iterable[str], shown: Path) -> Work:
    """Find what can be rejudged in lmms-eval's folder; `shown` is what the user knows it by."""
    samples = {file.path.relative_to(source): file.task for file in run_files(source) if file.task is not None}
    wanted = set(tasks)
    if absent := sorted(wanted - set(samples.values())):
        found = ", ".join(sorted(set(samples.values()))) or "no samples at all"
        raise UserError(f"--task {absent[0]}: not in {shown}; found {found}")
    chosen = [file for file, task in samples.items() if not wanted or task in wanted]
    files = tuple(file for file in chosen if _has_targets(source / file))
    if not files and shown != source:
        raise UserError(f"{shown}: no task has both predictions and a target to judge them by")
    if not files:
        raise UserError(
            f"{source}: no *_samples_TASK.jsonl with field 'judge_target'; expected a run of this package's "
            "tasks with --log_samples"
        )
    return Work(source, files, tuple(file for file in samples if file not in files))


def rejudge(
    work: Work,
    out: Path,
    judge: Judge,
    *,
    overwrite: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Rejudge everything and write it to `out`; returns the number of samples in each category.

    Until everything is done, the output is beside `out` as `NAME.partial-HASH`. The hash covers the input and the
    judge with its settings, so that the same command resumes a partial output that a killed process left, and
    another command does not. `advance` is called for each finished row.
    """
    check_output(work, out, overwrite=overwrite)
    signed = signature(judge)
    partial = out.with_name(f"{out.name}.partial-{_fingerprint(work, signed)}")
    counts: Counter[str] = Counter()
    for file in work.files:
        target = partial / file
        target.parent.mkdir(parents=True, exist_ok=True)
        counts.update(_judge_file(work.source / file, target, judge, advance))
    if work.is_run:
        for file in work.others:
            (partial / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(work.source / file, partial / file)
        _write_results(work, partial, signed)
    _put_in_place(partial, out)
    return counts


def check_output(work: Work, out: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists or that overlaps the original.

    Raises:
        UserError: `out` exists and `overwrite` is false, or it is the input, in it, or around it.
    """
    given = work.original or work.source
    source, target = given.resolve(), out.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise UserError(f"-o {out}: overlaps the input {given}, which is never written to; choose another place")
    if out.exists():
        if not overwrite:
            raise UserError(f"-o {out}: already exists; choose another place or add --overwrite")
        if out.is_dir() != work.is_run:
            kinds = ("a file", "a folder")
            raise UserError(f"-o {out}: is {kinds[out.is_dir()]}, but the output is {kinds[work.is_run]}")
        if work.is_run:
            check_folder(out, MADE_BY, overwrite=True, option="-o")


def judged(rows: Iterable[tuple[str, Row]], judge: Judge) -> Iterator[Row]:
    """Yield each row with its verdict, and a sample with its new metrics too."""
    waiting: deque[tuple[Row, Target]] = deque()

    def items() -> Iterator[tuple[str, Target]]:
        for where, row in rows:
            prediction, target = answer_of(row, where)
            waiting.append((row, target))
            yield prediction, target

    for verdict in judge.judge_many(items()):
        yield _with_verdict(*waiting.popleft(), verdict, with_version(judge))


def _with_verdict(row: Row, target: Target, verdict: Verdict, judged_by: str) -> Row:
    row = row | {"verdict": verdict.as_dict()}
    if "judge_target" in row:
        row |= verdict.metrics() | {JUDGED_BY: judged_by}
        if DISTRACTED in row and isinstance(target, MultipleChoice):
            row[DISTRACTED] = class_name_chosen(verdict, target)
    return row


def _judge_file(source: Path, partial: Path, judge: Judge, advance: Callable[[int], None]) -> Counter[str]:
    """Append what is missing to a partial file; returns the categories of all its rows."""
    with partial.open("a+b") as lines:
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{partial}: another process is writing it; wait for it to finish") from error
        counts = _resume(lines)
        advance(counts.total())
        for row in judged(islice(read_rows(source), counts.total(), None), judge):
            lines.write(dump_row(row))
            # A language model's verdicts must survive a kill, row by row.
            lines.flush()
            counts[row["verdict"]["category"]] += 1
            advance(1)
    return counts


def _resume(lines: BinaryIO) -> Counter[str]:
    """Count the categories of the complete rows, and cut off a row that a killed process left half-written."""
    counts: Counter[str] = Counter()
    lines.seek(0)
    end = 0
    for line in lines:
        if not line.endswith(b"\n"):
            break
        counts[json.loads(line)["verdict"]["category"]] += 1
        end += len(line)
    lines.truncate(end)
    return counts


def _is_rows(source: Path) -> bool:
    """Whether this is a file of plain rows to judge, rather than another harness's run."""
    if not source.is_file() or source.suffix != ".jsonl":
        return False
    first = next((row for _, row in islice(read_rows(source), 1)), {})
    return set(IDS).isdisjoint(first) or not {"label", "judge_target", "verdict"}.isdisjoint(first)


def _has_targets(samples: Path) -> bool:
    return any("judge_target" in row and "filtered_resps" in row for _, row in islice(read_rows(samples), 1))


def _fingerprint(work: Work, signed: str) -> str:
    digest = hashlib.sha256(signed.encode())
    for file in work.files:
        digest.update(str(file).encode())
        with (work.source / file).open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]


def _write_results(work: Work, partial: Path, signed: str) -> None:
    """Write each results file of the run with the means of its judged samples."""
    for written in run_files(work.source):
        if written.task is not None:
            continue
        path, file = written.path, written.path.relative_to(work.source)
        scores = {}
        for samples in work.files:
            found = run_file(samples)
            if found and found.task and samples.parent == file.parent and found.stamp == written.stamp:
                scores[found.task] = _scores(partial / samples)
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            recompute(results, scores)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: expected lmms-eval's results as JSON ({one_line(error)})") from error
        if scores:
            results["judged_again_by"] = signed
        (partial / file).parent.mkdir(parents=True, exist_ok=True)
        (partial / file).write_text(json.dumps(results, indent=2, ensure_ascii=False), encoding="utf-8")


def _scores(samples: Path) -> dict[str, list[float | None]]:
    scores: dict[str, list[float | None]] = defaultdict(list)
    for _, row in read_rows(samples):
        for metric in (*METRICS, DISTRACTED):
            if metric in row:
                scores[metric].append(row[metric])
    return scores


def _put_in_place(partial: Path, out: Path) -> None:
    """Rename the finished output; of an output folder that is replaced, what the user put there stays."""
    if not partial.is_dir():
        partial.replace(out)
        return
    mark(partial, MADE_BY)
    replace_made(out, partial, MADE_BY)

"""What the page asks: the checks, one check's tasks, a page of samples, an image, a download."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from emt_core.errors import UserError
from emt_core.local_page import Answer, LocalPage, Request, as_json, not_found
from emt_core.public_names import public_judge
from leaderboards.report.images import as_shown, find_data, read_images
from leaderboards.report.rendering import render
from leaderboards.report.text import excerpt, packed, printable
from leaderboards.viewer.browsing import PAGE, Filter
from leaderboards.viewer.downloads import KINDS, as_csv, as_parquet
from leaderboards.viewer.finding import Check, Model, find_checks
from leaderboards.viewer.indexing import Indexes, Opened
from leaderboards.viewer.progress import Answers

_FRESH = 1.0
"""Seconds for which a look at the folder is good."""

_IMAGES = 48
"""Images that are remembered."""

_NO_ROW = "the run does not say which row of the data set this is"


def serve(root: Path, port: int = 0, told: Callable[[str], None] = lambda _task: None) -> LocalPage:
    """Return a server for the checks in a folder, on this machine only; `port` 0 takes a free one.

    `address` is the page's. The caller runs `serve_forever`, and closes it. `told` hears of each task before it is
    indexed.

    Raises:
        UserError: there is no such folder, or nothing to see in it.
        OSError: the port is taken.
    """
    viewer = Viewer(root, told)
    page = render("view.html", {}, templates=Path(__file__).parent / "templates")
    return LocalPage(page, viewer.answer, port)


class Viewer:
    """Answers the page's requests about one folder."""

    def __init__(self, root: Path, told: Callable[[str], None] = lambda _task: None) -> None:
        self.root = root
        self._looked, self._checks = time.monotonic(), find_checks(root)
        if not self._checks:
            raise UserError(f"{root}: neither a check nor a run is in it; expected a folder of emt check or emt eval")
        self._indexes = Indexes(told)
        self._answers: dict[Path, Answers] = {}
        self._images: OrderedDict[tuple[Path, int], tuple[bytes, str] | str] = OrderedDict()
        self._lock, self._image_lock = Lock(), Lock()
        self._indexes.open(self._checks[0])

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        if request.method != "GET":
            return not_found()
        if request.path == "/checks":
            title = printable(self.root.resolve().name)
            return as_json({"title": title, "checks": [self._describe(check) for check in self.checks()]})
        kinds: dict[str, Callable[[Check, Opened, Mapping[str, str]], Answer]] = {
            "/tasks": self._tasks,
            "/samples": self._samples,
            "/image": self._image,
            "/download": self._download,
        }
        name = request.query.get("check", "")
        check = next((one for one in self.checks() if one.name == name), None)
        if check is None or request.path not in kinds:
            return not_found(f"no check {name!r} in this folder" if request.path in kinds else "no such page")
        return kinds[request.path](check, self._indexes.open(check), request.query)

    def checks(self) -> list[Check]:
        """Return the folder's checks, as they are now or were a second ago."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH:
                self._checks, self._looked = find_checks(self.root), time.monotonic()
            return self._checks

    def _describe(self, check: Check) -> dict[str, Any]:
        verdict = check.record.verdicts.get(check.candidate.role) if check.candidate else None
        unfinished = "running" if check.running else "stopped"
        return {
            "name": check.name,
            "state": "finished" if check.finished and not check.running else unfinished,
            "verdict": verdict and {name: printable(str(verdict.get(name, ""))) for name in ("verdict", "sentence")},
            "units": [_unit(unit) for unit in verdict.get("units", [])] if verdict else [],
            "report": str(check.report) if check.report else None,
            "models": [self._progress(check, model) for model in check.models],
        }

    def _progress(self, check: Check, model: Model) -> dict[str, Any]:
        told: dict[str, Any] = {"role": model.role, "name": printable(model.name), "tasks": [], "seconds": None}
        if model.finished:
            return told | {"state": "finished"}
        with self._lock:
            answers = self._answers.setdefault(model.folder, Answers(model.folder))
            found = answers.progress()
        documents = check.record.documents
        names = [*documents, *(task for task in sorted(found.answered) if task not in documents)]
        began = bool(model.started or found.answered)
        return told | {
            "state": ("evaluating" if check.running else "stopped") if began else "waiting",
            "tasks": [[printable(name), found.answered.get(name, 0), documents.get(name)] for name in names]
            if began
            else [],
            "seconds": found.left(documents) if check.running else None,
        }

    def _tasks(self, check: Check, opened: Opened, _: Mapping[str, str]) -> Answer:
        return as_json(
            {
                "tasks": [asdict(task.facts) for task in opened.tasks],
                "images": {
                    name: where for name, task in opened.base.items() if isinstance(where := find_data(task), str)
                },
                "waiting": list(opened.waiting),
                "failed": {name: printable(why) for name, why in opened.failed.items()},
                "paired": check.candidate is not None and check.finished,
            }
        )

    def _samples(self, check: Check, opened: Opened, query: Mapping[str, str]) -> Answer:
        samples = opened.samples
        found = samples.find(Filter.read(query))
        page = query.get("page", "0")
        number = int(page) if page.isascii() and page.isdigit() and len(page) < 9 else 0
        number = max(0, min(number, (len(found) - 1) // PAGE))
        rows = samples.read(found[number * PAGE : (number + 1) * PAGE])
        shown = [_sample(row) for row in rows]
        return as_json({"total": len(found), "of": len(samples), "page": number, "size": PAGE, "rows": shown})

    def _image(self, check: Check, opened: Opened, query: Mapping[str, str]) -> Answer:
        task, row = opened.base.get(query.get("task", "")), query.get("row", "")
        if task is None or not (row.isascii() and row.isdigit() and len(row) < 16):
            return not_found(_NO_ROW)
        file = find_data(task)
        if isinstance(file, str):
            return not_found(file)
        found = self._read_image(file, int(row))
        return not_found(found) if isinstance(found, str) else Answer(*found)

    def _read_image(self, file: Path, row: int) -> tuple[bytes, str] | str:
        """Read an image, one at a time: a row group of the data set may be large."""
        with self._image_lock:
            if (file, row) not in self._images:
                found = read_images(file, [row])[row]
                self._images[file, row] = found if isinstance(found, str) else as_shown(found)
                while len(self._images) > _IMAGES:
                    self._images.popitem(last=False)
            return self._images[file, row]

    def _download(self, check: Check, opened: Opened, query: Mapping[str, str]) -> Answer:
        kind, samples = query.get("format", ""), opened.samples
        if kind not in KINDS:
            return not_found(f"format {kind[:20]!r}: expected {' or '.join(KINDS)}")
        found = samples.find(Filter.read(query))
        body = as_csv(samples, found) if kind == "csv" else as_parquet(samples, found)
        return Answer(body, KINDS[kind], file_name=f"{check.name.replace('/', '-')}-samples.{kind}")


def _unit(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a task or quadrant that the gate decided."""
    drop = unit.get("drop") or {}
    return {name: unit.get(name) for name in ("name", "kind", "outcome", "n", "margin")} | {
        name: drop.get(name) for name in ("estimate", "lower", "upper")
    }


def _sample(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of a sample: texts cut, with their length, and without what cannot be printed."""
    sides = {
        side: {
            "text": packed(excerpt(row[f"{side}_text"] or "")),
            "category": printable(row[f"{side}_category"]),
            "label": printable(row[f"{side}_answer"] or ""),
            "reason": printable(row[f"{side}_reason"] or ""),
            "judge": printable(public_judge(row[f"{side}_judge"] or "")),
        }
        for side in ("base", "candidate")
        if row[f"{side}_category"] is not None
    }
    return {
        "task": row["task"],
        "doc": row["doc_id"],
        "class": printable(row["class"] or ""),
        "change": row["change"],
        "cause": row["cause"],
        "question": packed(excerpt(row["question"] or "")),
        "target": packed(excerpt(row["target"] or "")),
        "row": row["row"],
        **sides,
    }

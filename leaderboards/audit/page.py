"""A local page to label an audit by keyboard; each label goes to the file at once."""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any

from emt_core.local_page import Answer, LocalPage, Request, as_json, not_found
from leaderboards.audit.rows import AuditRow, ImageReference, read_audit, write_audit
from leaderboards.report.images import as_shown, locate, read_images
from leaderboards.report.rendering import render

_SHOWN = {"task", "doc_id", "question", "target", "first", "second", "first_correct", "second_correct"}
"""What the page is told of a row: nothing that says which model wrote which answer, or what a judge thought."""


class Labelling:
    """An audit's file while it is being labelled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_audit(path)
        self._lock = Lock()

    def shown(self) -> list[dict[str, Any]]:
        """Return what the page shows of each row."""
        return [
            row.model_dump(include=_SHOWN) | {"image": row.image if isinstance(row.image, str) else None}
            for row in self.rows
        ]

    def image(self, number: int) -> tuple[bytes, str] | str:
        """Return a row's image and its media type, or why there is none."""
        reference = self.rows[number].image
        if not isinstance(reference, ImageReference):
            return reference
        file = locate(Path(reference.file))
        found = file if isinstance(file, str) else read_images(file, [reference.row])[reference.row]
        return found if isinstance(found, str) else as_shown(found)

    def label(self, number: int, first: bool | None, second: bool | None) -> None:
        """Set a row's labels and write the file; labels that were typed into it meanwhile are kept."""
        with self._lock:
            written = {(row.task, row.doc_id): row for row in read_audit(self.path)}
            self.rows = [written.get((row.task, row.doc_id), row) for row in self.rows]
            self.rows[number] = self.rows[number].model_copy(update={"first_correct": first, "second_correct": second})
            write_audit(self.path, self.rows)


def serve(path: Path, port: int = 0) -> LocalPage:
    """Return a server for one audit's file, on this machine only; `port` 0 takes a free one.

    `address` is the page's. The caller runs `serve_forever`, and closes it.

    Raises:
        UserError: the file is not an audit.
        OSError: the port is taken.
    """
    labelling = Labelling(path)
    page = render("page.html", {}, templates=Path(__file__).parent)
    return LocalPage(page, lambda request: _answer(labelling, request), port)


def _answer(labelling: Labelling, request: Request) -> Answer:
    """Send the rows or a row's image, or take one row's labels: {"first": true, "second": false}.

    A label that is null is taken back.
    """
    if request.method == "GET" and request.path == "/rows":
        return as_json(labelling.shown())
    kind, _, text = request.path.removeprefix("/").partition("/")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else len(labelling.rows)
    if number >= len(labelling.rows) or (request.method, kind) not in (("GET", "image"), ("POST", "label")):
        return not_found()
    if kind == "image":
        found = labelling.image(number)
        return not_found(found) if isinstance(found, str) else Answer(*found)
    try:
        data = json.loads(request.body)
        labels = [data[name] for name in ("first", "second")]
    except (ValueError, KeyError, TypeError, RecursionError):
        labels = ["?"]
    if not all(label is None or isinstance(label, bool) for label in labels):
        return Answer(b"expected first and second as true, false or null", status=HTTPStatus.BAD_REQUEST)
    labelling.label(number, *labels)
    return as_json({})


def unlabelled(rows: list[AuditRow]) -> int:
    """Return how many rows people have not labelled."""
    return sum(row.first_correct is None or row.second_correct is None for row in rows)

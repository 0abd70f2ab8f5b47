"""A local page to label an audit by keyboard; each label goes to the file at once."""

from __future__ import annotations

import io
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from emt_core.errors import UserError, one_line
from leaderboards.audit.rows import AuditRow, ImageReference, read_audit, write_audit
from leaderboards.report.images import locate, read_images

HOST = "127.0.0.1"

_PAGE = Path(__file__).with_name("page.html")
_LARGEST = 10_000
"""Bytes of a label that are read."""

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
        if isinstance(found, str):
            return found
        try:
            with Image.open(io.BytesIO(found)) as opened:
                return found, Image.MIME.get(opened.format or "", "application/octet-stream")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return "the image cannot be read"

    def label(self, number: int, first: bool | None, second: bool | None) -> None:
        """Set a row's labels and write the file; labels that were typed into it meanwhile are kept."""
        with self._lock:
            written = {(row.task, row.doc_id): row for row in read_audit(self.path)}
            self.rows = [written.get((row.task, row.doc_id), row) for row in self.rows]
            self.rows[number] = self.rows[number].model_copy(update={"first_correct": first, "second_correct": second})
            write_audit(self.path, self.rows)


def serve(path: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server for one audit's file, on this machine only; `port` 0 takes a free one.

    `server_port` is its port. The caller runs `serve_forever`, and closes it.

    Raises:
        UserError: the file is not an audit.
        OSError: the port is taken.
    """
    return ThreadingHTTPServer((HOST, port), _handler(Labelling(path)))


def _handler(labelling: Labelling) -> type[BaseHTTPRequestHandler]:
    token = secrets.token_urlsafe(16)

    class Handler(BaseHTTPRequestHandler):
        """Serves the page, the rows and the images, and takes labels."""

        server_version, sys_version = "emt", ""

        def do_GET(self) -> None:
            """Send the page, the rows, or a row's image."""
            if not self._is_local():
                return self._send(HTTPStatus.FORBIDDEN, b"only for this machine")
            if self.path == "/":
                page = _PAGE.read_text(encoding="utf-8").replace("TOKEN", token).encode()
                return self._send(HTTPStatus.OK, page, "text/html; charset=utf-8")
            if self.path == "/rows":
                return self._send(HTTPStatus.OK, _json(labelling.shown()), "application/json")
            number = self._number("/image/")
            if number is None:
                return self._send(HTTPStatus.NOT_FOUND, b"no such page")
            found = labelling.image(number)
            if isinstance(found, str):
                return self._send(HTTPStatus.NOT_FOUND, found.encode())
            return self._send(HTTPStatus.OK, *found)

        def do_POST(self) -> None:
            """Take one row's labels: {"first": true, "second": false}; null takes a label back."""
            number = self._number("/label/")
            # Another site's page may send requests here; it cannot read the token.
            if not self._is_local() or self.headers.get("x-emt-token") != token or number is None:
                return self._send(HTTPStatus.FORBIDDEN, b"not from this page")
            try:
                length = int(self.headers.get("content-length", 0))
                data = json.loads(self.rfile.read(max(0, min(length, _LARGEST))))
                labels = [data[name] for name in ("first", "second")]
            except (ValueError, KeyError, TypeError, RecursionError):
                labels = ["?"]
            if not all(label is None or isinstance(label, bool) for label in labels):
                return self._send(HTTPStatus.BAD_REQUEST, b"expected first and second as true, false or null")
            try:
                labelling.label(number, *labels)
            except UserError as error:
                return self._send(HTTPStatus.CONFLICT, one_line(error).encode())
            return self._send(HTTPStatus.OK, b"{}", "application/json")

        def log_message(self, *_: Any) -> None:
            """Say nothing: the terminal shows the address and no more."""

        def _number(self, start: str) -> int | None:
            text = self.path.removeprefix(start)
            known = self.path.startswith(start) and text.isascii() and text.isdigit() and len(text) < 10
            return int(text) if known and int(text) < len(labelling.rows) else None

        def _is_local(self) -> bool:
            # A site may have its own name lead here, and read what it gets; the Host header tells.
            return self.headers.get("host", "").rpartition(":")[0] in (HOST, "localhost")

        def _send(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            for name, value in (
                ("content-type", kind),
                ("content-length", str(len(body))),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _json(value: list[dict[str, Any]]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def unlabelled(rows: list[AuditRow]) -> int:
    """Return how many rows people have not labelled."""
    return sum(row.first_correct is None or row.second_correct is None for row in rows)

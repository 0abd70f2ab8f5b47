"""A page for the person who started it: on this machine only, safe from other sites and from other users.

Everything but the page itself, which holds no data, needs the token, and only the printed address has that: behind the
`#`, which browsers send to no server. Other sites' pages are refused by Host (names that were made to lead here),
Origin and Sec-Fetch-Site, and could not read the token; nor could another service on this machine, as they could a
cookie. What the browser itself has to fetch, a download, gets an address that works once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from emt_core.errors import UserError, one_line

HOST = "127.0.0.1"

TOKEN_HEADER = "x-emt-token"

_NAMES = (HOST, "localhost")
"""Of this machine, with any port: ssh may lead another one here."""

_LARGEST = 10_000
"""Bytes of a request's body that are read."""

_TICKET_SECONDS = 60.0

_IDLE_SECONDS = 60

_DATA_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

_BLOCK = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Request:
    """What the page asks for: the path without its query, the query's values by name, and what was sent along."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What it gets; `file_name` makes it a download. A body in parts is sent as it is made."""

    body: bytes | Iterable[bytes]
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    file_name: str | None = None


def as_json(value: Any) -> Answer:
    """Return an answer that is read by the page's script."""
    return Answer(json.dumps(value, ensure_ascii=True, allow_nan=False).encode(), "application/json")


def not_found(why: str = "no such page") -> Answer:
    """Return the answer to a request for what is not there."""
    return Answer(why.encode("utf-8", "replace"), status=HTTPStatus.NOT_FOUND)


class LocalPage(ThreadingHTTPServer):
    """Serves one page and answers its requests, in several threads; the caller runs `serve_forever`, and closes it.

    Args:
        page: the page's HTML, the same for everyone; its scripts and styles are inline blocks without attributes.
        answer: answers a request that has the token. A UserError becomes one line with the status 409.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, page: str, answer: Callable[[Request], Answer], port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self.page, self.policy, self.answer = page.encode("utf-8"), content_policy(page), answer
        self._tickets: dict[str, tuple[float, Request]] = {}
        self._lock = Lock()
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """The page's address with its token: for the person who started it, and nobody else."""
        return f"http://{HOST}:{self.server_port}/#token={self.token}"

    def sell_ticket(self, request: Request) -> str:
        """Return a path that answers this request once, within a minute, without the token."""
        name, now = secrets.token_urlsafe(24), time.monotonic()
        with self._lock:
            self._tickets = {key: one for key, one in self._tickets.items() if now - one[0] < _TICKET_SECONDS}
            self._tickets[name] = now, request
        return f"/once/{name}"

    def take_ticket(self, path: str) -> Request | None:
        """Return the request that a path was sold for, once."""
        with self._lock:
            bought, request = self._tickets.pop(path.removeprefix("/once/"), (0.0, None))
        return request if time.monotonic() - bought < _TICKET_SECONDS else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in one line what went wrong; a browser that goes away before the answer is no error."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            sys.stderr.write(f"emt: the page's request failed: {type(error).__name__}: {one_line(error)}\n")


def content_policy(page: str) -> str:
    """Return a policy by which a page runs its own scripts and styles, shows images of its own, and nothing else."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _BLOCK.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        hashes[kind].append(f"'sha256-{digest}'")
    allowed = "; ".join(f"{kind}-src {' '.join(found) or chr(39) + 'none' + chr(39)}" for kind, found in hashes.items())
    return (
        f"default-src 'none'; {allowed}; img-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


class _Handler(BaseHTTPRequestHandler):
    server: LocalPage
    server_version, sys_version, protocol_version, timeout = "emt", "", "HTTP/1.1", _IDLE_SECONDS

    def do_GET(self) -> None:
        """Send the page, what a ticket was sold for, or an answer to its script."""
        parts = urlsplit(self.path)
        if not self._is_local():
            return self._refuse("only for this machine")
        if parts.path == "/":
            return self._send(Answer(self.server.page, "text/html; charset=utf-8"), self.server.policy)
        if parts.path.startswith("/once/"):
            request = self.server.take_ticket(parts.path)
            return self._answer(request) if request else self._send(not_found("this address worked once; ask again"))
        return self._answer(self._read())

    def do_POST(self) -> None:
        """Take what the page sends, or sell it the address of a download."""
        request = self._read()
        if self._may_ask() and request.path == "/once":
            wanted = urlsplit(request.body.decode("utf-8", "replace"))
            path = self.server.sell_ticket(Request("GET", wanted.path, dict(parse_qsl(wanted.query))))
            return self._send(as_json(path))
        return self._answer(request)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal shows the address and no more."""

    def _answer(self, request: Request) -> None:
        if not (self.path.startswith("/once/") or self._may_ask()):
            return self._refuse("not from this page: open the address that the command printed")
        try:
            return self._send(self.server.answer(request))
        except UserError as error:
            return self._send(Answer(one_line(error).encode("utf-8", "replace"), status=HTTPStatus.CONFLICT))

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        text = self.headers.get("content-length", "0")
        length = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        # What is not read would be taken for the connection's next request.
        if not 0 <= length <= _LARGEST or "transfer-encoding" in self.headers:
            self.close_connection = True
        body = self.rfile.read(min(length, _LARGEST)) if self.command == "POST" and length > 0 else b""
        return Request(self.command, parts.path, dict(parse_qsl(parts.query)), body)

    def _is_local(self) -> bool:
        host = self.headers.get("host", "")
        origin = self.headers.get("origin", f"http://{host}")
        return host.rpartition(":")[0] in _NAMES and origin == f"http://{host}"

    def _may_ask(self) -> bool:
        given = self.headers.get(TOKEN_HEADER, "").encode("utf-8", "replace")
        own_page = self.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        return self._is_local() and own_page and secrets.compare_digest(given, self.server.token.encode())

    def _refuse(self, why: str) -> None:
        self.close_connection = True
        self._send(Answer(why.encode(), status=HTTPStatus.FORBIDDEN))

    def _send(self, answer: Answer, policy: str = _DATA_POLICY) -> None:
        self.send_response(answer.status)
        headers = {
            "content-type": answer.kind,
            "content-security-policy": policy,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
        }
        if answer.file_name is not None:
            safe = re.sub(r"[^A-Za-z0-9._-]+", "-", answer.file_name).strip(".-") or "download"
            headers["content-disposition"] = f'attachment; filename="{safe}"'
        if isinstance(answer.body, bytes):
            headers["content-length"] = str(len(answer.body))
        else:
            headers["transfer-encoding"] = "chunked"
        if self.close_connection:
            headers["connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(answer.body, bytes):
            self.wfile.write(answer.body)
        else:
            self._send_parts(answer.body)

    def _send_parts(self, parts: Iterable[bytes]) -> None:
        """Send a body as it is made; if that fails, the browser sees that the end is missing."""
        try:
            for part in parts:
                if part:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        except BaseException:
            self.close_connection = True
            raise

"""A local OpenAI-compatible server that behaves as told: it answers, fails, hangs, hangs up or talks nonsense."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Response:
    """What the server does with one request; `hang_s` waits before answering, `close` answers nothing at all."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    close: bool = False


def reply(text: str | None, *, hang_s: float = 0.0) -> Response:
    """A chat completion with this text."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
    }
    return Response(200, json.dumps(body), {"content-type": "application/json"}, hang_s=hang_s)


def failure(status: int) -> Response:
    """An error as an OpenAI-compatible server gives it, with leave to retry at once."""
    headers = {"content-type": "application/json", "retry-after-ms": "2"}
    return Response(status, json.dumps({"error": {"message": f"failing with {status}"}}), headers)


class Server(ThreadingHTTPServer):
    """Takes many connections at once; the default queue of five turns some away."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Say nothing of a client that hung up: a judge that is closed does."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class ChatServer:
    """Serves on a free port; `behave` maps (number of the request from 0, its JSON) to what is answered."""

    def __init__(self, behave: Callable[[int, dict], Response]) -> None:
        self.behave = behave
        self.requests: list[dict] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with chat._lock:
                    number = len(chat.requests)
                    chat.requests.append(request | {"authorization": self.headers.get("authorization")})
                    chat._at_once += 1
                    chat.most_at_once = max(chat.most_at_once, chat._at_once)
                try:
                    self._answer(chat.behave(number, request))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    with chat._lock:
                        chat._at_once -= 1

            def _answer(self, response):
                time.sleep(response.hang_s)
                if response.close:
                    self.close_connection = True
                    return
                body = response.body.encode()
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

"""The server of local pages: who gets an answer, and who does not."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_core.local_page import Answer, LocalPage, Request, as_json, content_policy, not_found

PAGE = "<!doctype html><style>p { margin: 0; }</style><script>go()</script><script>stay()</script>"


def answer(request: Request) -> Answer:
    if request.path == "/fails":
        raise UserError("two\nlines")
    if request.path == "/file":
        return Answer(iter([b"a,b\n", b"1,2\n"]), "text/csv", file_name='../we"ird\r\nname é.csv')
    if request.path == "/breaks":
        return Answer((b"half" if not part else [][part] for part in range(2)), "text/csv", file_name="half.csv")
    if request.path in ("/echo", "/sent"):
        return as_json([request.method, dict(request.query), request.body.decode()])
    return not_found()


@pytest.fixture
def server() -> Iterator[LocalPage]:
    server = LocalPage(PAGE, answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(
    server: LocalPage, path: str, *, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """Ask with the token, unless the headers say otherwise; a header that is empty is left out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    sent = {"x-emt-token": server.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        connection.request(method, path, body, {name: value for name, value in sent.items() if value})
        found = connection.getresponse()
        data = found.read()
    finally:
        connection.close()
    return found.status, data, {name.lower(): value for name, value in found.getheaders()}


def test_it_listens_on_this_machine_only_and_its_address_has_the_token(server: LocalPage) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/#token={server.token}"
    assert len(server.token) == 32  # 24 random bytes in base64


def test_the_page_is_for_everyone_here_and_holds_nothing(server: LocalPage) -> None:
    status, body, headers = ask(server, "/?check=any&q=thing", x_emt_token="")
    assert (status, body.decode()) == (200, PAGE)
    assert server.token not in str(headers)
    policy = headers["content-security-policy"]
    hashed = base64.b64encode(hashlib.sha256(b"go()").digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{hashed}' 'sha256-")
    assert "unsafe" not in policy


def test_a_page_without_scripts_may_run_none() -> None:
    assert "script-src 'none'; style-src 'none'" in content_policy("<p>hello</p>")


@pytest.mark.parametrize(
    "headers",
    [
        {"x_emt_token": ""},
        {"x_emt_token": "guessed"},
        {"x_emt_token": "é".encode().decode("latin-1")},
        {"host": "evil.example"},
        {"host": "evil.example:80"},
        {"host": "127.0.0.1.evil.example:80"},
        {"host": "0.0.0.0:80"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/echo"), ("GET", "/nothing"), ("POST", "/sent"), ("POST", "/once")]
)
def test_others_get_no_answer(server: LocalPage, headers: dict[str, str], method: str, path: str) -> None:
    status, body, _ = ask(server, path, method=method, body="{}" if method == "POST" else None, **headers)
    assert status == 403
    assert body.startswith((b"not from this page", b"only for this machine"))


@pytest.mark.parametrize("host", ["evil.example:80", ""])
def test_other_names_of_this_machine_do_not_even_get_the_page(server: LocalPage, host: str) -> None:
    assert ask(server, "/", host=host or "evil")[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:9999"])
def test_the_page_may_be_reached_through_a_tunnel(server: LocalPage, host: str) -> None:
    origin = {"origin": f"http://{host}", "sec_fetch_site": "same-origin"}
    assert ask(server, "/echo", host=host, **origin)[0] == 200


def test_what_the_page_sends(server: LocalPage) -> None:
    status, body, headers = ask(server, "/sent?a=1&b=%2F&a=2", method="POST", body='{"x": 1}')
    assert (status, json.loads(body)) == (200, ["POST", {"a": "2", "b": "/"}, '{"x": 1}'])
    assert headers["content-security-policy"] == "default-src 'none'; sandbox; frame-ancestors 'none'"
    assert headers["cache-control"] == "no-store"
    assert ask(server, "/nothing")[0] == 404
    assert ask(server, "/fails")[:2] == (409, b"two")


def test_more_than_is_read_is_not_taken_for_the_next_request(server: LocalPage) -> None:
    hidden = "x" * 10_000 + f"GET /echo HTTP/1.1\r\nHost: localhost:1\r\nX-Emt-Token: {server.token}\r\n\r\n"
    status, body, headers = ask(server, "/sent", method="POST", body=hidden)
    assert (status, len(json.loads(body)[2]), headers["connection"]) == (200, 10_000, "close")
    assert ask(server, "/sent", method="POST", body="{}", content_length="-1")[0] == 200
    assert ask(server, "/sent", method="POST", body="{}", content_length="many")[0] == 200


def test_a_download_has_an_address_that_works_once(server: LocalPage) -> None:
    def sold(path: str) -> Any:
        return json.loads(ask(server, "/once", method="POST", body=path)[1])

    path = sold("/file?a=1")
    status, body, headers = ask(server, path, x_emt_token="")
    assert (status, body) == (200, b"a,b\n1,2\n")
    assert headers["content-disposition"] == 'attachment; filename="we-ird-name-.csv"'
    assert ask(server, path, x_emt_token="")[:2] == (404, b"this address worked once; ask again")
    assert ask(server, sold("/echo?a=1"), x_emt_token="", host="evil.example:80")[0] == 403
    assert json.loads(ask(server, sold("/echo?a=1"), x_emt_token="")[1]) == ["GET", {"a": "1"}, ""]
    assert ask(server, "/once/", x_emt_token="")[0] == 404


def test_a_download_that_breaks_off_is_no_whole_file(server: LocalPage, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(http.client.IncompleteRead):
        ask(server, "/breaks")
    assert ask(server, "/echo")[0] == 200
    assert "emt: the page's request failed: IndexError: list index out of range\n" in capfd.readouterr().err

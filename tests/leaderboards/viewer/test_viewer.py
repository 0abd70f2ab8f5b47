"""What the page is told, by whom, and what nobody is told."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from emt_core.checks import record_verdicts, recording
from emt_core.errors import UserError
from emt_core.local_page import LocalPage
from leaderboards.viewer.finding import SETTINGS
from leaderboards.viewer.server import serve
from tests.leaderboards.viewer.conftest import OTHER, TASK, base_rows
from tests.support.synthetic_runs import write_run


class Client:
    """Asks as the page does."""

    def __init__(self, server: LocalPage) -> None:
        self.server = server

    def get(self, path: str, **query: str) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        connection.request("GET", f"{path}?{urlencode(query)}", headers={"x-emt-token": self.server.token})
        found = connection.getresponse()
        data = found.read()
        connection.close()
        return found.status, data, found.getheader("content-type", "")

    def json(self, path: str, **query: str) -> Any:
        status, data, _ = self.get(path, **query)
        assert status == 200, data
        return json.loads(data)

    def tasks(self, check: str) -> Any:
        """A check's tasks, once all are indexed."""
        for _ in range(600):
            found = self.json("/tasks", check=check)
            if not found["waiting"]:
                return found
            time.sleep(0.05)
        raise AssertionError("the index was never made")


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    server = serve(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield Client(server)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_finished_check(client: Client, folder: Path) -> None:
    (check,) = client.json("/checks")["checks"]
    assert (check["name"], check["state"], check["verdict"]) == ("check", "finished", None)
    assert [(model["role"], model["state"]) for model in check["models"]] == [
        ("base", "finished"),
        ("candidate", "finished"),
    ]
    tasks = client.tasks("check")
    assert {task["task"]: task["documents"] for task in tasks["tasks"]} == {TASK: 30, OTHER: 3}
    assert (tasks["paired"], tasks["failed"]) == (True, {})
    found = client.json("/samples", check="check", change="lost")
    assert (found["total"], found["of"], found["page"]) == (3, 33, 0)
    assert [(row["doc"], row["cause"]) for row in found["rows"]] == [(3, "format"), (6, "mouth"), (9, None)]
    assert found["rows"][0]["candidate"] == {
        "text": "=1+1",
        "category": "extrinsic",
        "label": "dog",
        "reason": "Written by tests/support/synthetic_runs.py; no model answered and no judge judged this.",
        "judge": "fuzzy",
    }


def test_pages(client: Client) -> None:
    client.tasks("check")
    for asked, page, rows in (("0", 0, 20), ("1", 1, 13), ("99", 1, 13), ("-1", 0, 20), ("x", 0, 20)):
        found = client.json("/samples", check="check", page=asked)
        assert (found["page"], len(found["rows"])) == (page, rows)
    assert client.json("/samples", check="check", text="nowhere", page="3")["rows"] == []


def test_images_are_those_of_the_base(client: Client) -> None:
    client.tasks("check")
    status, image, kind = client.get("/image", check="check", task=TASK, row="0")
    assert (status, image[:4], kind) == (200, b"\x89PNG", "image/png")
    for query, why in (
        ({"task": TASK, "row": "3"}, b"the image cannot be read"),
        ({"task": TASK, "row": "9"}, b"test.parquet has no such row"),
        ({"task": TASK, "row": "../1"}, b"the run does not say which row of the data set this is"),
        ({"task": "../../etc", "row": "1"}, b"the run does not say which row of the data set this is"),
    ):
        assert client.get("/image", check="check", **query)[:2] == (404, why)


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/samples", {"check": "../check"}, 404),
        ("/samples", {"check": "/etc"}, 404),
        ("/samples", {}, 404),
        ("/tasks/../../etc/passwd", {"check": "check"}, 404),
        ("/etc/passwd", {"check": "check"}, 404),
        ("/samples", {"check": "check", "doc": "one"}, 409),
        ("/download", {"check": "check", "format": "exe"}, 404),
    ],
)
def test_only_what_is_there_can_be_asked_for(client: Client, path: str, query: dict[str, str], status: int) -> None:
    assert client.get(path, **query)[0] == status


def test_a_check_that_runs(tmp_path: Path) -> None:
    from lmms_eval.caching.response_cache import ResponseCache

    root = tmp_path / "check"
    verdict = {"verdict": "forgetting", "sentence": "FAIL: it \x00forgot", "units": [
        {"name": TASK, "kind": "task", "outcome": "forgetting", "n": 30, "margin": 4.0, "drop": {"estimate": 9.5}}
    ]}  # fmt: skip
    with recording(root, {"base": "org/base", "candidate": "c"}, {TASK: 30, OTHER: 5}):
        server = serve(root)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            client = Client(server)
            (check,) = client.json("/checks")["checks"]
            assert (check["state"], [model["state"] for model in check["models"]]) == ("running", ["waiting"] * 2)
            (root / "base").mkdir()
            (root / "base" / SETTINGS).write_text('{"model": "org/base"}')
            cache = ResponseCache.create(str(root / "base" / "cache" / "key"), model="m", model_args="", task_dict={})
            for doc in range(7):
                cache._store(str(doc), "generate_until", TASK, doc, 0, {}, "a cat")
            time.sleep(1.1)
            (check,) = client.json("/checks")["checks"]
            assert check["models"][0]["state"] == "evaluating"
            assert check["models"][0]["tasks"] == [[TASK, 7, 30], [OTHER, 0, 5]]
            assert check["models"][0]["seconds"] > 0
            cache._close_local_handles()
            for side in ("base", "candidate"):
                write_run(root, {TASK: base_rows()}, name=side)
                time.sleep(1.1)
                # The base alone can be looked at while the candidate answers.
                assert client.tasks("check")["paired"] == (side == "candidate")
                found = client.json("/samples", check="check")
                assert (found["total"], "candidate" in found["rows"][0]) == (30, side == "candidate")
            record_verdicts(root, {"candidate": verdict})
            time.sleep(1.1)
            (check,) = client.json("/checks")["checks"]
            assert check["verdict"] == {"verdict": "forgetting", "sentence": "FAIL: it ␀forgot"}
            assert check["units"][0]["estimate"] == 9.5
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_nothing_to_see_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a check nor a run is in it"):
        serve(tmp_path)


def test_runs_that_cannot_be_compared_are_shown_with_the_reason(tmp_path: Path) -> None:
    root = tmp_path / "check"
    write_run(root, {TASK: base_rows()}, name="base")
    write_run(root, {TASK: [row | {"target": "owl"} for row in base_rows()]}, name="candidate")
    server = serve(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        found = Client(server).tasks("check")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert list(found["failed"]) == [TASK]
    assert "the two runs are not about the same documents" in found["failed"][TASK]

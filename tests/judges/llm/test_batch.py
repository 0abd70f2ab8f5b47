"""Batch files: written, answered, read back, and nothing is asked afterwards; and what a judge would cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from judges.llm import batch
from judges.llm.judge import category_judge
from judges.settings import LLMSettings
from tests.support.chat_server import ChatServer, failure


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    answers = ["a tabby", "a dog", "a tabby"]
    file.write_text(
        "".join(json.dumps({"task": "cifar10", "label": "cat", "prediction": text}) + "\n" for text in answers)
    )
    return file


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ChatServer]:
    """A server that fails whatever it is asked: nothing may be asked."""
    running = ChatServer(lambda *_: failure(500))
    for name, value in (
        ("MODEL", "m"),
        ("BASE_URL", running.url),
        ("CACHE", str(tmp_path / "c.sqlite")),
        ("RETRIES", "0"),
    ):
        monkeypatch.setenv(f"EMT_JUDGE_{name}", value)
    yield running
    running.stop()


def answered(requests: Path, file: Path, texts: list[Any]) -> None:
    """Write what a server would return, in another order."""
    lines = []
    for line, text in zip(reversed(requests.read_text().splitlines()), texts, strict=True):
        body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        lines.append({"custom_id": json.loads(line)["custom_id"], "response": {"status_code": 200, "body": body}})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_from_requests_to_verdicts(rows: Path, server: ChatServer, tmp_path: Path, capsys: Any) -> None:
    requests, results, judged = tmp_path / "requests.jsonl", tmp_path / "results.jsonl", tmp_path / "judged.jsonl"
    assert main(["judge", "batch", "write", str(rows), str(requests)]) == 0
    assert "2 requests" in capsys.readouterr().err  # the third answer is the first again
    first = json.loads(requests.read_text().splitlines()[0])
    assert (first["method"], first["url"], first["body"]["model"]) == ("POST", "/v1/chat/completions", "m")
    assert "a tabby" in first["body"]["messages"][0]["content"] and first["body"]["max_tokens"] > 0
    answered(requests, results, ["VERDICT: incorrect", "VERDICT: correct"])
    assert main(["judge", "batch", "read", str(rows), str(results)]) == 0
    assert "2 answers kept, 0 requests without one" in capsys.readouterr().err
    assert main(["judge", str(rows), "--judge", "llm", "--max-calls", "0", "-o", str(judged)]) == 0
    verdicts = [json.loads(line)["verdict"]["category"] for line in judged.read_text().splitlines()]
    assert verdicts == ["correct", "incorrect", "correct"]


def test_off_format_answers_stay_open(rows: Path, server: ChatServer, tmp_path: Path, capsys: Any) -> None:
    requests, results = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    main(["judge", "batch", "write", str(rows), str(requests)])
    answered(requests, results, ["VERDICT: incorrect", None])
    capsys.readouterr()
    assert main(["judge", "batch", "read", str(rows), str(results)]) == 0
    assert "1 answers kept, 1 requests without one" in capsys.readouterr().err
    assert main(["judge", "batch", "write", str(rows), str(requests), "--overwrite"]) == 0
    assert len(requests.read_text().splitlines()) == 1  # only what is still open


def test_a_server_without_batches_is_one_line(rows: Path, server: ChatServer, tmp_path: Path) -> None:
    judge = category_judge(LLMSettings(model="m", base_url=server.url, max_retries=0, cache=None))
    with pytest.raises(UserError, match=r"rows.jsonl: the server takes no batch"):
        batch.submit(judge.chat.client, rows)
    with pytest.raises(UserError, match=r"^batch b1: "):
        batch.fetch(judge.chat.client, "b1", tmp_path / "out.jsonl")
    with pytest.raises(UserError, match="EMT_JUDGE_CACHE=off"):
        batch.read_results(judge, [], rows)
    judge.close()


@pytest.mark.parametrize("arguments", [["judge", "batch", "send", "x"], ["judge", "batch", "write", "x"]])
def test_wrong_steps(arguments: list[str], server: ChatServer, capsys: Any) -> None:
    assert main(arguments) == 2
    assert "emt: " in capsys.readouterr().err


def test_what_it_costs(rows: Path) -> None:
    """A million tokens sent cost 2, received 10."""
    from judges.rerun.rejudge import find_work

    settings = LLMSettings(model="m", base_url="http://127.0.0.1:9", cache=None, price_in=2, price_out=10)
    judge = category_judge(settings)
    cost = judge.estimate(find_work(rows, ()).items())
    assert cost.money == pytest.approx((2 * cost.prompt_tokens + 10 * cost.reply_tokens) / 1e6)
    assert str(cost).endswith(f", for at most {cost.money:,.2f}")
    judge.close()

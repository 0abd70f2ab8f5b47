"""`emt judge` and `emt judge agreement` as commands: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from emt_core.files import dump_row, read_rows
from emt_tasks.commands.app import main
from emt_tasks.commands.judge_output import spending
from judges.judging import _build
from judges.llm.costs import Estimate
from tests.support.chat_server import ChatServer, failure, reply

ROWS = [
    {"task": "cifar10", "id": "1", "label": "cat", "prediction": "It is a cat.", "category": "correct"},
    {"task": "cifar10", "id": "2", "label": "cat", "prediction": "It is a dog.", "category": "incorrect"},
    {"task": "cifar10", "id": "3", "label": "dog", "prediction": "It is a dog.", "category": "correct"},
    {"task": "cifar10", "id": "4", "label": "cat", "prediction": "It is a dog.", "category": "incorrect"},
]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(map(dump_row, ROWS)))
    return path


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that answers, and the environment that leads to it."""
    running = ChatServer(lambda *_: reply("VERDICT: correct"))
    monkeypatch.setenv("EMT_JUDGE_BASE_URL", running.url)
    monkeypatch.setenv("EMT_JUDGE_MODEL", "m")
    monkeypatch.setenv("EMT_JUDGE_CACHE", str(tmp_path / "cache.sqlite"))
    monkeypatch.setenv("EMT_JUDGE_RETRIES", "0")
    yield running
    running.stop()


def emt(capsys, *arguments):
    """Run a command as a process of its own in life: it shares no judge with another."""
    _build.cache_clear()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def categories(path):
    return [row["verdict"]["category"] for _, row in read_rows(path)]


def test_rows_to_a_file(rows, tmp_path, capsys):
    code, out, err = emt(capsys, "judge", rows, "-o", tmp_path / "new" / "judged.jsonl")
    assert (code, out) == (0, "")
    assert err == f"fuzzy: 2 correct, 2 incorrect; written to {tmp_path / 'new' / 'judged.jsonl'}\n"
    assert categories(tmp_path / "new" / "judged.jsonl") == ["correct", "incorrect", "correct", "incorrect"]


def test_rows_to_standard_output(rows, capsysbinary):
    assert main(["judge", str(rows), "-o", "-"]) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["1", "2", "3", "4"]


def test_an_llm_is_asked_within_the_limit_and_once(rows, tmp_path, capsys, server):
    code, _, err = emt(capsys, "judge", rows, "--judge", "llm", "-o", tmp_path / "a.jsonl", "--max-calls", 3)
    assert code == 0
    assert err.startswith("llm: 4 answers: 3 calls to make (0 already in the cache), about ")
    assert len(server.requests) == 3
    assert categories(tmp_path / "a.jsonl") == ["correct"] * 4
    # Judged again, all comes from the cache, so that no limit is needed.
    code, _, err = emt(capsys, "judge", rows, "--judge", "llm", "-o", tmp_path / "b.jsonl")
    assert code == 0
    assert err.startswith("llm: 4 answers: 0 calls to make (3 already in the cache)")
    assert len(server.requests) == 3
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (("--max-calls", "2"), "--max-calls 2: 3 calls are needed; nothing was asked"),
        ((), "how many calls may be made"),
    ],
)
def test_nothing_is_spent_beyond_the_limit_or_unasked(rows, tmp_path, capsys, server, limit, message):
    code, _, err = emt(capsys, "judge", rows, "--judge", "llm", "-o", tmp_path / "a.jsonl", *limit)
    assert code == 2
    assert message in err.splitlines()[-1]
    assert server.requests == []
    assert not (tmp_path / "a.jsonl").exists()


def test_a_failing_server_loses_nothing(rows, tmp_path, capsys, server):
    server.behave = lambda number, _: reply("VERDICT: correct") if number == 0 else failure(429)
    command = ("judge", rows, "--judge", "llm", "-o", tmp_path / "a.jsonl", "--max-calls", 3)
    server_one_at_a_time = {"EMT_JUDGE_CONCURRENCY": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server_one_at_a_time.items():
            patch.setenv(name, value)
        code, _, err = emt(capsys, *command)
    assert code == 2
    assert "the server failed (RateLimitError: " in err
    assert categories(tmp_path / "a.jsonl") == ["correct"] + ["unscored"] * 3

    server.behave = lambda *_: reply("VERDICT: incorrect")
    code, _, err = emt(capsys, *command, "--overwrite")
    assert code == 0
    assert "2 calls to make (1 already in the cache)" in err
    assert categories(tmp_path / "a.jsonl") == ["correct"] + ["incorrect"] * 3


def test_ctrl_c_is_one_line_and_keeps_what_is_done(rows, tmp_path, server):
    server.behave = lambda number, _: reply("VERDICT: correct", hang_s=0 if number == 0 else 30)
    command = [sys.executable, "-m", "emt_tasks.commands.app", "judge", str(rows), "--judge", "llm"]
    command += ["-o", str(tmp_path / "a.jsonl"), "--max-calls", "3"]
    environment = os.environ | {"EMT_JUDGE_CONCURRENCY": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 60
        while len(server.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "emt: interrupted; replies kept: 1; repeat the command to resume"
    assert "Traceback" not in said
    assert "destroyed" not in said
    assert not (tmp_path / "a.jsonl").exists()
    server.behave = lambda *_: reply("VERDICT: correct")
    asked = len(server.requests)
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "2 calls to make (1 already in the cache)" in again.stderr
    assert len(server.requests) == asked + 2
    assert categories(tmp_path / "a.jsonl") == ["correct"] * 4
    assert list(tmp_path.glob("*.partial*")) == []


def test_the_bar_shows_calls_cost_and_time_left(tmp_path, server, monkeypatch):
    """On a terminal: of six calls of 0.4 s each, one at a time, the bar shows the first as done while others run."""
    server.behave = lambda *_: reply("VERDICT: correct", hang_s=0.4)
    rows = tmp_path / "six.jsonl"
    rows.write_bytes(b"".join(dump_row(ROWS[0] | {"id": str(n), "prediction": f"cat {n}"}) for n in range(6)))
    monkeypatch.setenv("EMT_JUDGE_CONCURRENCY", "1")
    monkeypatch.setenv("EMT_JUDGE_PRICE_IN", "1000")
    command = [sys.executable, "-m", "emt_tasks.commands.app", "judge", str(rows), "--judge", "llm"]
    command += ["-o", str(tmp_path / "a.jsonl"), "--max-calls", "6"]
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "160", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    assert process.returncode == 0, said
    assert re.search(r"2 of 6 calls, [\d.]+ of at most [\d.]+ spent, 0:00:0\d left", said.decode()), said
    assert re.search(r"llm: 6 calls, [\d.]+ spent", said.decode())


@pytest.mark.parametrize(
    ("done", "money", "elapsed", "said"),
    [
        # 100 of 400 in 60 s: 300 more take three times as long.
        (100, 0.25, 60.0, "100 of 400 calls, 0.25 of at most 2.00 spent, 0:03:00 left"),
        (0, 0.0, 60.0, "0 of 400 calls, 0.00 of at most 2.00 spent"),
        (400, 1.5, 60.0, "400 of 400 calls, 1.50 of at most 2.00 spent"),
    ],
)
def test_spending_in_words(done, money, elapsed, said):
    assert spending(Estimate(500, calls=400, money=2.0), done, money, elapsed) == said


def test_without_prices_no_money_is_named():
    assert spending(Estimate(500, calls=400), 200, 0.0, 3600.0) == "200 of 400 calls, 1:00:00 left"


def by_model(replies):
    """A server whose models say different things."""

    def behave(_number, request):
        said = replies[request["model"]]
        return said if not isinstance(said, str) else reply(f"VERDICT: {said}")

    return behave


def test_a_panel_judges_rows_and_says_how_far_it_agrees(rows, tmp_path, capsys, server):
    server.behave = by_model({"a": "correct", "b": "correct", "c": "incorrect"})
    command = ["judge", rows, "--judge", "panel", "--model", "a", "--model", "b", "--model", "c"]
    code, _, err = emt(capsys, *command, "-o", tmp_path / "a.jsonl", "--max-calls", 9)
    assert code == 0
    assert err.startswith("panel: 4 answers: 9 calls to make (0 already in the cache), about ")
    assert len(server.requests) == 9
    assert categories(tmp_path / "a.jsonl") == ["correct"] * 4
    # Of the three votes on each answer two are alike, of all 12 votes 8 are correct: D_o = 4·(2·1 + 1·2)/2 / 12 = 2/3,
    # D_e = 2·8·4/(12·11) = 64/132, alpha = 1 − (2/3)/(64/132) = −0.375. All answers are alike, so are all resamples.
    assert err.splitlines()[-4:] == [
        "judges               llm:a, llm:b, llm:c",
        "answers              4: 0 unanimous, 4 by majority, 0 without one",
        *(
            f"{what:<21}Krippendorff's alpha -0.375 (95 % interval -0.375 to -0.375), 4 answers scored by two or more"
            for what in ("correct or not", "category")
        ),
    ]
    code, out, _ = emt(capsys, "judge", "agreement", tmp_path / "a.jsonl", "--json")
    assert (code, json.loads(out)["reliability"]["category"]["alpha"]) == (0, pytest.approx(-0.375))


def test_a_panel_keeps_to_the_limit_and_reports_who_failed(rows, tmp_path, capsys, server):
    server.behave = by_model({"a": "correct", "b": "correct", "c": failure(500)})
    command = ["judge", rows, "--judge", "panel", "--model", "a", "--model", "b", "--model", "c"]
    code, _, err = emt(capsys, *command, "-o", tmp_path / "a.jsonl", "--max-calls", 8)
    assert (code, server.requests) == (2, [])
    assert "--max-calls 8: 9 calls are needed; nothing was asked" in err
    code, _, err = emt(capsys, *command, "-o", tmp_path / "a.jsonl", "--max-calls", 9)
    assert code == 2
    assert "the server failed (c: InternalServerError: " in err
    # Two of three voted, and agree.
    assert categories(tmp_path / "a.jsonl") == ["correct"] * 4
    server.behave = by_model({"c": "correct"})
    code, _, err = emt(capsys, *command, "-o", tmp_path / "a.jsonl", "--max-calls", 9, "--overwrite")
    assert code == 0
    assert "3 calls to make (6 already in the cache)" in err
    assert "4 unanimous, 0 by majority" in err


def test_several_models_need_the_panel(rows, tmp_path, capsys, server):
    command = ["judge", rows, "--model", "a", "--model", "b", "-o", tmp_path / "a.jsonl", "--judge"]
    assert "'panel' takes several" in emt(capsys, *command, "llm")[2]
    assert "panel: expected two models or more, found m" in emt(capsys, *command[:2], *command[6:], "panel")[2]
    assert not (tmp_path / "a.jsonl").exists()


def test_agreement_of_three(rows, tmp_path, capsys):
    for name, said in {"b": "correct", "c": "incorrect"}.items():
        changed = [row | {"category": said} if row["id"] == "4" else row for row in ROWS]
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(map(dump_row, changed)))
    files = [rows, tmp_path / "b.jsonl", tmp_path / "c.jsonl"]
    code, out, _ = emt(capsys, "judge", "agreement", *files)
    assert code == 0
    # 12 votes, 7 of them correct; only the fourth answer is split, by one vote: D_o = (1·2 + 2·1)/2/12 = 1/6,
    # D_e = 2·7·5/(12·11) = 70/132, alpha = 1 − 22/70 = 0.686.
    assert out.splitlines()[1] == "answers              4: 3 unanimous, 1 by majority, 0 without one"
    assert out.splitlines()[2].startswith("correct or not       Krippendorff's alpha 0.686 (95 % interval ")
    code, out, _ = emt(capsys, "judge", "agreement", *files, "--json")
    measured = json.loads(out)["reliability"]
    assert (measured["judges"], measured["answers"]) == ([str(file) for file in files], 4)
    assert measured["category"]["alpha"] == pytest.approx(48 / 70)


def test_agreement_of_one_needs_votes(rows, capsys):
    code, _, err = emt(capsys, "judge", "agreement", rows)
    assert code == 2
    assert "rows.jsonl: holds no panel's votes; expected them, or two files or more to compare" in err


def test_the_cascade_without_a_server(rows, tmp_path, capsys, monkeypatch):
    for name in ("EMT_JUDGE_BASE_URL", "EMT_JUDGE_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    command = ("judge", rows, "--judge", "cascade", "--threshold", "2", "-o", tmp_path / "a.jsonl")
    code, _, _ = emt(capsys, *command)
    assert code == 0
    assert {row["verdict"]["judge"] for _, row in read_rows(tmp_path / "a.jsonl")} == {"fuzzy"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--judge", "oracle"],
            "unknown judge 'oracle'; choose one of cascade, embedding, emt-paper, fuzzy, llm, panel",
        ),
        (["--judge", "fuzzy", "--model", "m"], "judge 'fuzzy': unknown setting 'model'"),
        (["--task", "mnist"], "--task mnist: "),
    ],
)
def test_mistakes_are_one_line(rows, tmp_path, capsys, arguments, message):
    code, out, err = emt(capsys, "judge", rows, "-o", tmp_path / "a.jsonl", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"emt: {message}")
    assert err.count("\n") == 1


def test_a_number_that_is_none_names_its_variable(rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EMT_JUDGE_TIMEOUT", "soon")
    code, _, err = emt(capsys, "judge", rows, "--judge", "llm", "-o", tmp_path / "a.jsonl")
    assert code == 2
    assert "EMT_JUDGE_TIMEOUT='soon': expected a non-negative number" in err


def test_agreement_with_gold_rows(rows, tmp_path, capsys, server):
    emt(capsys, "judge", rows, "--judge", "llm", "-o", tmp_path / "llm.jsonl", "--max-calls", 3)
    code, out, _ = emt(capsys, "judge", "agreement", tmp_path / "llm.jsonl", rows)
    assert code == 0
    # The server says correct to everything: right on two of four, and no better than chance.
    assert out.splitlines()[:5] == [
        "answers              4 (4 scored by both; unscored: A 0, B 0)",
        "correct or not       50.0 % (95 % interval 15.0 to 85.0), Cohen's kappa 0.000",
        "category             50.0 % (95 % interval 15.0 to 85.0), Cohen's kappa 0.000",
        "A correct, B not     2",
        "B correct, A not     0",
    ]
    assert out.splitlines()[-1] == "cifar10 4: A correct, B incorrect: 'It is a dog.'"
    code, out, _ = emt(capsys, "judge", "agreement", tmp_path / "llm.jsonl", rows, "--json")
    measured = json.loads(out)
    assert (code, measured["accuracy"], measured["kappa"], len(measured["disagreements"])) == (0, 0.5, 0.0, 2)


def test_help_of_both_commands(capsys):
    code, out, _ = emt(capsys, "judge", "--help")
    assert code == 0
    assert out.startswith("Usage: emt judge [OPTIONS] ")
    assert "emt judge agreement --help" in out
    code, out, _ = emt(capsys, "judge", "agreement", "--help")
    assert code == 0
    assert out.startswith("Usage: emt judge agreement [OPTIONS] ")


def test_help_loads_neither_torch_nor_openai():
    script = (
        "import sys; from emt_tasks.commands.app import main; main(['judge', '--help']); "
        "sys.exit(str({'torch', 'openai', 'transformers', 'statsmodels'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_each_judge_of_the_table_can_be_built(server, monkeypatch):
    from judges import JUDGE_NAMES, get_judge

    for name in JUDGE_NAMES:
        settings = {"model": ["a", "b"]} if name == "panel" else {}
        judge = get_judge(name, **settings)
        assert judge.name == name
        assert get_judge(name, **settings) is judge
        getattr(judge, "close", lambda: None)()

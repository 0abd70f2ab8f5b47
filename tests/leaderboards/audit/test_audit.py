"""Audits: what is drawn, how it is labelled, and what the gate makes of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.app import main
from leaderboards.audit.drawing import draw
from leaderboards.audit.page import serve, unlabelled
from leaderboards.audit.rows import AuditRow, read_audit, write_audit
from tests.support.chat_server import ChatServer, reply
from tests.support.layout import WIDTHS, faults
from tests.support.synthetic_runs import judged_sample, write_run

TASK = "emt_cifar10"
N, DRIFTED, REWORDED = 400, 20, 40
"""Documents; those that the judge takes for wrong, wrongly; and those answered right in other words."""


def candidate_sample(doc: int, **fields: Any) -> dict[str, Any]:
    if doc < DRIFTED:
        return judged_sample(doc, "extrinsic", text=f"a kitty, number {doc}", labels=(), **fields)
    text = f"The answer is cat ({doc})." if doc < DRIFTED + REWORDED else "a cat"
    return judged_sample(doc, "correct", text=text, **fields)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    rows = {
        "base": [judged_sample(doc, "correct") for doc in range(N)],
        "candidate": list(map(candidate_sample, range(N))),
    }
    paths = [write_run(tmp_path, {TASK: samples}, name=name) for name, samples in rows.items()]
    return str(paths[0]), str(paths[1])


@pytest.fixture
def audit(runs: tuple[str, str], tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    assert main(["audit", "sample", *runs, "-o", str(path)]) == 0
    return path


def label_all(path: Path, right: Callable[[AuditRow, str], bool]) -> None:
    """Label every answer as `right` says of the row and the text."""
    write_audit(
        path,
        [
            row.model_copy(update={f"{side}_correct": right(row, getattr(row, side)) for side in ("first", "second")})
            for row in read_audit(path)
        ],
    )


def test_what_is_drawn(runs: tuple[str, str]) -> None:
    rows = draw(*map(read_run, map(Path, runs)))
    kinds = {kind: sorted(row.doc_id for row in rows if row.stratum == kind) for kind in ("differ", "agree")}
    assert kinds == {"differ": list(range(20)), "agree": list(range(20, 60))}
    assert {(row.stratum, row.population, row.drawn) for row in rows} == {("differ", 20, 20), ("agree", 40, 40)}
    assert [row.doc_id for row in rows] != sorted(row.doc_id for row in rows)  # the place says nothing of the kind
    for row in rows:
        base, candidate = (row.first, row.second) if row.base_first else (row.second, row.first)
        assert (base, candidate) == ("a cat", candidate_sample(row.doc_id)["filtered_resps"])
        assert (row.question, row.target, row.labels) == ("What is in the image?", "cat", None)
    assert 15 < sum(row.base_first for row in rows) < 45


def test_a_part_is_drawn_at_random_and_by_the_seed(runs: tuple[str, str]) -> None:
    pair = [read_run(Path(run)) for run in runs]

    def drawn(seed: int) -> list[AuditRow]:
        return draw(*pair, size=10, seed=seed)

    assert drawn(0) == drawn(0)
    some = [{row.doc_id for row in drawn(seed) if row.stratum == "agree"} for seed in range(30)]
    assert all(len(documents) == 10 for documents in some)
    assert set.union(*some) == set(range(20, 60))
    assert {(row.population, row.drawn) for row in drawn(0)} == {(20, 20), (40, 10)}
    assert len({row.base_first for seed in range(9) for row in drawn(seed) if row.doc_id == 3}) == 2


def test_a_drifted_judge_fails_a_harmless_candidate_and_an_audit_does_not(
    runs: tuple[str, str], audit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", *runs]) == 1  # by the verdicts 20 of 400 are lost, 5 points
    label_all(audit, lambda *_: True)
    capsys.readouterr()
    assert main(["gate", *runs, "--audit", str(audit), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    drop = data["units"][0]["drop"]
    assert (drop["estimate"], drop["method"]) == (0.0, "audited by people, stratified Tango score, corrected")
    assert data["units"][0]["judge_error"] is None
    assert data["tasks"][0]["audit"]["strata"] == {
        "verdicts differ": {"population": 20, "labelled": 20, "lost": 0, "gained": 0},
        "verdicts agree, texts differ": {"population": 40, "labelled": 40, "lost": 0, "gained": 0},
    }


def test_an_audit_finds_what_the_judge_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The judge takes 40 of the candidate's answers for right that are not: 10 points, of 60 pairs labelled.
    base = [judged_sample(doc, "correct") for doc in range(N)]
    wrong = [judged_sample(doc, "correct", text="a cat, or a dog" if doc < 40 else "a cat") for doc in range(N)]
    paths = [str(write_run(tmp_path, {TASK: rows}, name=name)) for name, rows in (("b", base), ("c", wrong))]
    assert main(["gate", *paths]) == 0
    path = tmp_path / "audit.jsonl"
    assert main(["audit", "sample", *paths, "-o", str(path)]) == 0
    label_all(path, lambda _, text: text == "a cat")
    capsys.readouterr()
    assert main(["gate", *paths, "--audit", str(path)]) == 1
    assert "10.0 [" in capsys.readouterr().out


def test_the_quadrants_of_an_audited_task_rest_on_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ("ocr_vqa", "imagewikiqa")  # both out of distribution in text; one quadrant where the matrix says so
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text("oodt_oodi: [ocr_vqa, imagewikiqa]\n")
    paths = []
    for name, sample in (("b", lambda doc: judged_sample(doc, "correct")), ("c", candidate_sample)):
        paths.append(str(write_run(tmp_path, {task: map(sample, range(N)) for task in tasks}, name=name)))
    path = tmp_path / "audit.jsonl"
    assert main(["audit", "sample", *paths, "--tasks", "ocr_vqa", "-o", str(path)]) == 0
    label_all(path, lambda *_: True)
    capsys.readouterr()
    main(["gate", *paths, "--matrix", str(matrix), "--audit", str(path), "--json"])
    units = {unit["name"]: unit["drop"] for unit in json.loads(capsys.readouterr().out)["units"]}
    assert units["ocr_vqa"]["estimate"] == 0
    assert units["imagewikiqa"]["estimate"] == 5
    assert units["oodt_oodi"]["estimate"] == 2.5
    assert units["oodt_oodi"]["method"].startswith("1 of 2 tasks audited")


def test_answers_that_no_judge_scored_count_against_an_audited_verdict_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = {}
    for unscored in (0, 9):
        rows = {
            "base": [judged_sample(doc, "correct") for doc in range(N)],
            "candidate": [
                judged_sample(doc, "unscored") if doc >= N - unscored else candidate_sample(doc) for doc in range(N)
            ],
        }
        paths = [str(write_run(tmp_path / f"{unscored}", {TASK: of}, name=name)) for name, of in rows.items()]
        path = tmp_path / f"{unscored}.jsonl"
        assert main(["audit", "sample", *paths, "-o", str(path)]) == 0
        label_all(path, lambda *_: True)
        capsys.readouterr()
        code = main(["gate", *paths, "--audit", str(path), "--margin", "2", "--json"])
        verdicts[unscored] = code, json.loads(capsys.readouterr().out)["units"][0]["reason"]
        report = tmp_path / f"{unscored}.html"
        assert main(["report", *paths, "--audit", str(path), "--margin", "2", "-o", str(report)]) == 0
        assert verdicts[unscored][1] in report.read_text(encoding="utf-8") or code == 0
    assert verdicts[0] == (0, "the drop is shown to be below the margin")
    # 9 of 400 may be 2.25 points.
    assert verdicts[9][0] == 2
    assert verdicts[9][1].startswith("9 documents that only one run scored could turn it")


def _without_labels(rows: list[AuditRow]) -> list[AuditRow]:
    return [rows[0].model_copy(update={"first_correct": None}), *rows[1:]]


def _without(kind: str, many: int = 1) -> Callable[[list[AuditRow]], list[AuditRow]]:
    def taken_out(rows: list[AuditRow]) -> list[AuditRow]:
        drop = [row for row in rows if row.stratum == kind][:many]
        return [row for row in rows if row not in drop]

    return taken_out


def _other_text(rows: list[AuditRow]) -> list[AuditRow]:
    return [rows[0].model_copy(update={"first": "another"}), *rows[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_labels, "1 of 60 pairs have no labels, first doc_id "),
        (_without("agree"), "39 pairs of stratum 'agree', expected 40"),
        (_without("agree", 40), "0 pairs of stratum 'agree', expected 1"),
        (_without("differ"), "19 pairs of stratum 'differ', expected 20"),
        (_other_text, "are not those of these two runs"),
    ],
)
def test_an_audit_that_does_not_fit_is_refused(
    runs: tuple[str, str],
    audit: Path,
    change: Callable[[list[AuditRow]], list[AuditRow]],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    label_all(audit, lambda *_: True)
    write_audit(audit, change(read_audit(audit)))
    capsys.readouterr()
    assert main(["gate", *runs, "--audit", str(audit)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err


def test_runs_that_were_judged_again_need_another_audit(
    runs: tuple[str, str], audit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label_all(audit, lambda *_: True)
    again = tmp_path / "again"
    assert main(["judge", runs[1], "-o", str(again), "--judge", "fuzzy"]) == 0
    capsys.readouterr()
    assert main(["gate", runs[0], str(again), "--audit", str(audit), "--allow-different", "judge"]) == 2
    assert "draw it again with emt audit sample" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", r":1: task is missing; expected a line of emt audit sample"),
        ("[]", r":1: expected a JSON object"),
        ("", "holds no rows"),
    ],
)
def test_a_file_that_is_no_audit(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        read_audit(path)


def test_labels_typed_by_hand_are_true_or_false(audit: Path) -> None:
    text = audit.read_text()
    audit.write_text(text.replace('"first_correct": null', '"first_correct": "yes"', 1))
    with pytest.raises(UserError, match=r":1: first_correct: input should be a valid boolean, found 'yes'"):
        read_audit(audit)
    lines = text.splitlines()
    audit.write_text("\n".join([*lines, lines[0]]) + "\n")
    with pytest.raises(UserError, match="stands there twice"):
        read_audit(audit)


def test_scores_between_0_and_1_cannot_be_audited(tmp_path: Path) -> None:
    rows = [judged_sample(doc, "correct") | {"accuracy": 0.5} for doc in range(5)]
    pair = [read_run(write_run(tmp_path, {TASK: rows}, name=name)) for name in ("b", "c")]
    with pytest.raises(UserError, match="its scores are not just 0 and 1"):
        draw(*pair)


def test_equal_answers_leave_nothing_to_audit(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = str(write_run(tmp_path, {TASK: [judged_sample(doc, "correct") for doc in range(N)]}, name="same"))
    assert main(["audit", "sample", runs[0], same, "-o", str(tmp_path / "a.jsonl")]) == 2
    assert "there is nothing to audit" in capsys.readouterr().err


def test_labels_are_not_overwritten(runs: tuple[str, str], audit: Path) -> None:
    before = audit.read_bytes()
    assert main(["audit", "sample", *runs, "-o", str(audit)]) == 2
    assert audit.read_bytes() == before


class Page:
    """The labelling page, as a browser sees it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.url, _, self.token = address.partition("/#token=")

    def get(self, path: str, **headers: str) -> bytes:
        sent = {"x-emt-token": self.token} | headers
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=sent)) as answer:
            return answer.read()

    def post(self, path: str, body: Any, **headers: str) -> int:
        sent = {"x-emt-token": self.token} | headers
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), sent, method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            error.close()
            return error.code


@pytest.fixture
def page(audit: Path) -> Iterator[Page]:
    server = serve(audit)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Page(server.address)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_is_blind_and_saves_each_label(page: Page, audit: Path) -> None:
    rows = json.loads(page.get("/rows"))
    assert {key for row in rows for key in row} == {
        *("task", "doc_id", "question", "target", "first", "second", "first_correct", "second_correct", "image")
    }
    assert page.post("/label/2", {"first": True, "second": False}) == 200
    saved = read_audit(audit)
    assert [(row.first_correct, row.second_correct) for row in saved[1:4]] == [
        (None, None),
        (True, False),
        (None, None),
    ]
    assert [(row.task, row.doc_id) for row in saved] == [(row["task"], row["doc_id"]) for row in rows]
    assert unlabelled(saved) == 59
    assert page.post("/label/2", {"first": None, "second": None}) == 200
    assert unlabelled(read_audit(audit)) == 60


def test_labels_typed_in_while_the_page_is_open_are_kept(page: Page, audit: Path) -> None:
    rows = read_audit(audit)
    write_audit(audit, [rows[0].model_copy(update={"first_correct": True, "second_correct": True}), *rows[1:]])
    assert page.post("/label/1", {"first": False, "second": False}) == 200
    assert [row.first_correct for row in read_audit(audit)[:3]] == [True, False, None]
    audit.write_text("{")
    assert page.post("/label/1", {"first": False, "second": False}) == 409  # and what is there is left alone
    assert audit.read_text() == "{"


@pytest.mark.parametrize(
    ("path", "body", "headers", "code"),
    [
        ("/label/0", {"first": "yes", "second": True}, {}, 400),
        ("/label/0", {"first": True}, {}, 400),
        ("/label/0", [], {}, 400),
        ("/label/60", {"first": True, "second": True}, {}, 404),
        ("/label/-1", {"first": True, "second": True}, {}, 404),
        ("/label/0", {"first": True, "second": True}, {"x-emt-token": "guessed"}, 403),
        ("/label/0", {"first": True, "second": True}, {"host": "evil.example:80"}, 403),
    ],
)
def test_the_page_takes_labels_from_itself_only(
    page: Page, audit: Path, path: str, body: Any, headers: dict[str, str], code: int
) -> None:
    before = audit.read_bytes()
    assert page.post(path, body, **headers) == code
    assert audit.read_bytes() == before


def test_the_page_shows_images_by_reference(audit: Path, pictures: Path) -> None:
    rows = read_audit(audit)
    images = [{"file": str(pictures), "row": row} for row in (0, 3, 9)] + ["not from a file"]
    from leaderboards.audit.page import Labelling

    changed = [row.model_dump() | {"image": image} for row, image in zip(rows, images, strict=False)]
    write_audit(audit, [AuditRow.model_validate(row) for row in changed])
    labelling = Labelling(audit)
    image, kind = labelling.image(0)
    assert (image[:4], kind) == (b"\x89PNG", "image/png")
    assert labelling.image(1) == "the image cannot be read"
    assert labelling.image(2) == "test.parquet has no such row"
    assert labelling.image(3) == "not from a file"
    assert [row["image"] for row in labelling.shown()] == [None, None, None, "not from a file"]


def test_a_judge_as_auditor_beside_people(
    runs: tuple[str, str], audit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "label", str(audit), "--judge", "fuzzy"]) == 0
    assert "No pair has people's labels" in capsys.readouterr().err
    main(["gate", *runs, "--audit", str(audit)])
    assert "60 pairs of answers audited by fuzzy, stratified Tango score" in capsys.readouterr().out
    rows = read_audit(audit)
    write_audit(audit, [rows[0].model_copy(update={"first_correct": True, "second_correct": True}), *rows[1:]])
    assert main(["audit", "label", str(audit), "--judge", "fuzzy"]) == 0
    assert "A: fuzzy, B: people\nanswers              2 (2 scored by both" in capsys.readouterr().out
    assert read_audit(audit)[0].labels == (True, True, "people")
    main(["gate", *runs, "--audit", str(audit)])
    assert "60 pairs of answers audited by people and fuzzy" in capsys.readouterr().out


def test_a_language_model_as_auditor(
    audit: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that all are right but one, and answers that one off the format; people say that two are wrong."""
    server = ChatServer(lambda _, request: reply(
        "Hm." if "number 7" in request["messages"][-1]["content"] else "It names the cat.\nVERDICT: correct"
    ))  # fmt: skip
    for name, value in (("MODEL", "m"), ("BASE_URL", server.url), ("CACHE", "off")):
        monkeypatch.setenv(f"EMT_JUDGE_{name}", value)
    label_all(audit, lambda _, text: "number 3" not in text)
    try:
        assert main(["audit", "label", str(audit), "--judge", "llm", "--max-calls", "10"]) == 2
        assert "61 calls are needed" in capsys.readouterr().err  # one for "a cat", one for each other text
        assert main(["audit", "label", str(audit), "--judge", "llm", "--max-calls", "61"]) == 0
    finally:
        server.stop()
    told = capsys.readouterr()
    assert "llm: 59 of 60 pairs labelled" in told.err
    assert "answers              120 (119 scored by both; unscored: A 1, B 0)" in told.out
    assert "A correct, B not     1\n" in told.out
    assert {row.llm.judge for row in read_audit(audit) if row.llm} == {"llm:m"}


def test_the_page_from_outside(audit: Path) -> None:
    command = [sys.executable, "-m", "emt_tasks", "audit", "label", str(audit)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        found = re.fullmatch(
            r"Label at (http://127\.0\.0\.1:\d+/#token=[\w-]+) and press Ctrl-C here when done\n",
            process.stderr.readline(),
        )
        assert found
        page = Page(found[1])
        assert page.post("/label/0", {"first": True, "second": True}) == 200
        assert page.post("/label/1", {"first": True, "second": True}, **{"content-length": "-1"}) == 400
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == f"59 pairs in {audit} have no labels yet\n"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_the_keys_of_the_page(page: Page, audit: Path, chromium: Any) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect  # waits without a script: the page's policy forbids eval
    context = chromium.new_context()
    try:
        tab = context.new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(page.address)
        expect(tab.locator("#count")).to_have_text("0 of 60")
        for key, label in (("1", (True, False)), ("2", (False, True)), ("3", (True, True)), ("0", (False, False))):
            place = sum(row.first_correct is not None for row in read_audit(audit))
            with tab.expect_response("**/label/*"):
                tab.keyboard.press(key)
            row = read_audit(audit)[place]
            assert (row.first_correct, row.second_correct) == label
            expect(tab.locator("#count")).to_have_text(f"{place + 1} of 60")  # until then, keys do nothing
        assert faults == []
    finally:
        context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits(audit: Path, chromium: Any, width: int, request: pytest.FixtureRequest) -> None:
    rows = read_audit(audit)
    word = "Donaudampfschifffahrtsgesellschaft" * 5
    texts = dict.fromkeys(("task", "question", "target", "first", "second"), word)
    write_audit(audit, [row.model_copy(update=texts) for row in rows])
    expect = pytest.importorskip("playwright.sync_api").expect
    page: Page = request.getfixturevalue("page")
    context = chromium.new_context(viewport={"width": width, "height": 900})
    try:
        tab = context.new_page()
        tab.goto(page.address)
        expect(tab.locator("#target")).to_contain_text(word)
        assert faults(tab) == []
    finally:
        context.close()


def test_without_an_audit_the_gate_says_what_error_would_turn_it(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    # 380 of 400 right by the verdicts, drop 5.0, its lower bound L: e = (L − 1) / (95 + L − 1).
    assert main(["gate", *runs, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    lower = data["units"][0]["drop"]["lower"]
    expected = 100 * (lower - 1) / (95 + lower - 1)
    assert data["units"][0]["judge_error"] == {"kind": "false wrong", "points": pytest.approx(expected)}
    assert f"takes {expected:.1f} points more of the candidate's right answers for wrong" in data["notes"][-1]

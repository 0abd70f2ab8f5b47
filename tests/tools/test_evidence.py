"""The evidence: what a statement's interval decides, and the page that is written from runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.files import dump_row
from emt_core.measured import HEADER, ROWS
from finetune.recipes.files import read as read_recipe
from leaderboards.published import read_publications
from leaderboards.statistics import Interval
from tests.support.synthetic_runs import judged_sample, write_run
from tools.evidence import claims, data, page, remedies, runs
from tools.evidence.__main__ import main
from tools.evidence.results import BASE, ENCODER, Finding, Model, NotRun, Results, Statement

SETTINGS = runs.read()
DOCUMENTS = 100
MNIST, CIFAR10 = "emt_mnist", "emt_cifar10"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets variables for the commands that it runs; they end with the test."""
    for name in ("EMT_DATA_DIR", "EMT_INCLUDE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        if not os.environ[name]:
            monkeypatch.delenv(name)


def interval(lower, upper):
    return Interval((lower + upper) / 2, lower, upper, 100, 0.95, "by hand")


@given(st.floats(-50, 50), st.floats(0, 20), st.floats(-50, 50))
def test_a_statement_is_decided_by_its_whole_interval(lower, width, bound):
    found = interval(lower, lower + width)
    above, below = (Statement("", found, side, bound).verdict for side in ("above", "below"))
    inside = lower <= bound <= lower + width
    assert (above == "cannot be told") == (below == "cannot be told") == inside
    assert (above == "holds") == (below == "does not hold") == (lower > bound)


def test_a_claim_needs_all_of_its_statements():
    holds, open_, fails = (Statement("", interval(*ends)) for ends in ((1.0, 2.0), (-1.0, 1.0), (-2.0, -1.0)))
    assert Finding((holds, holds)).verdict == "holds"
    assert Finding((holds, open_)).verdict == "cannot be told"
    assert Finding((holds, open_, fails)).verdict == "does not hold"


def test_a_mean_is_refuted_by_one_of_its_settings():
    holds, open_, fails = (Statement("", interval(*ends)) for ends in ((1.0, 2.0), (-1.0, 1.0), (-2.0, -1.0)))
    assert Statement("", interval(1.0, 2.0), settings=(holds, open_)).verdict == "holds"
    assert Statement("", interval(1.0, 2.0), settings=(holds, fails)).verdict == "does not hold"
    assert Statement("", interval(-1.0, 1.0), settings=(holds, open_)).verdict == "cannot be told"


def test_an_interval_without_ends_decides_nothing():
    assert Statement("", Interval(3.0, None, None, 1, 0.95, "")).verdict == "cannot be told"


def test_every_run_is_a_recipe_and_every_claim_a_function():
    names = [experiment.name for experiment in runs.experiments(SETTINGS, Path("work"), 2)]
    assert len(names) == 2 * len(set(names))
    for experiment in runs.experiments(SETTINGS, Path("work"), 1):
        _, recipe, *overrides = experiment.command(Path("model"), Path("out"))
        assert read_recipe(recipe, overrides).seed == 0
    assert all(callable(getattr(claims, claim["test"])) for claim in SETTINGS["claims"].values())


def samples(right, *, hallucinated=0, chosen=0):
    """Documents of which the first ones are right, and the last ones hallucinated or the class name."""
    for doc in range(DOCUMENTS):
        category = "correct" if doc < right else "extrinsic" if doc >= DOCUMENTS - hallucinated else "incorrect"
        yield {**judged_sample(doc, category), "class_name_chosen": float(doc >= DOCUMENTS - chosen)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of one seed, and for LoRA on MNIST of two: the base is right on 60 documents, each fine-tuning on 40."""
    folder = tmp_path_factory.mktemp("runs")
    tasks = runs.base_tasks(SETTINGS)
    write_run(folder, {task: samples(60) for task in tasks}, name=BASE)
    for experiment in runs.experiments(SETTINGS, Path("work"), 2):
        if experiment.seed and experiment.name != "emt-lora-mnist":
            continue
        name, right = f"{experiment.name}-{experiment.seed}", 40 - 10 * experiment.seed
        for step in (32, 63, 94) if experiment.name.startswith("emt") else (60,):
            made = {task: samples(right, hallucinated=30, chosen=20) for task in experiment.tasks}
            write_run(folder / name / "evaluated", made, name=f"step-{step:06d}")
        (folder / f"{name}.done").touch()
    probed = {task: [float(doc < 80) for doc in range(DOCUMENTS)] for task in claims.EMT}
    (folder / f"{ENCODER}.json").write_text(json.dumps(probed))
    for name, closed in ((BASE, 60), ("llm-high", 55)):
        leave_closed_sets(folder / f"{name}.probes", closed)
    return folder


def leave_closed_sets(folder: Path, right: int) -> None:
    """Closed sets that are right on the first documents: of the 20 that are lost, 15 are still the likeliest."""
    folder.mkdir()
    tasks = SETTINGS["diagnosed"]["tasks"]
    told = {task: {"documents": DOCUMENTS, "closed_sets": {"label": 10.0}, "probe": None} for task in tasks}
    (folder / HEADER).write_text(json.dumps({"tower": "one", "tasks": told}))
    for task in tasks:
        rows = []
        for doc in range(DOCUMENTS):
            named = f"class {(doc + (doc >= right)) % 10}"
            found = {"top": [[named, 0.9]], "rank": 1 + (doc >= right), "right": f"class {doc % 10}"}
            rows.append(dump_row({"doc_id": doc, "closed_sets": {"label": found}}))
        (folder / ROWS.format(task=task)).write_bytes(b"".join(rows))


def test_differences_by_hand(folder):
    results = Results(folder, 2, SETTINGS["images"])
    base, tuned = Model(BASE), Model("llm-high")
    assert results.mean(base, CIFAR10) == pytest.approx(60.0)
    assert results.more(Model(ENCODER), base, [CIFAR10]).estimate == pytest.approx(20.0)
    assert results.more(base, tuned, ["evidence_choices", "evidence_kinds"]).estimate == pytest.approx(20.0)
    assert results.more(tuned, base, ["evidence_kinds"], "hallucinated").estimate == pytest.approx(30.0)
    assert results.more(tuned, base, ["evidence_kinds_distractor"], "class name chosen").estimate == pytest.approx(20.0)
    assert results.extra((base, tuned), ("evidence_kinds", "evidence_kinds_distractor")).estimate == pytest.approx(0.0)


def test_seeds_are_averaged_document_by_document(folder):
    both = Model("emt-lora-mnist")
    assert Results(folder, 2, SETTINGS["images"]).mean(both, MNIST) == pytest.approx(35.0)
    assert Results(folder, 1, SETTINGS["images"]).mean(both, MNIST) == pytest.approx(40.0)
    assert set(Results(folder, 2, SETTINGS["images"]).scores(both, MNIST)) == {0.0, 0.5, 1.0}


def test_a_model_that_was_not_run_has_no_scores(folder):
    with pytest.raises(NotRun, match="never"):
        Results(folder, 1, SETTINGS["images"]).scores(Model("never"), MNIST)


def test_the_page_has_every_claim_with_its_verdict(folder, tmp_path):
    found = page.write(Results(folder, 2, SETTINGS["images"]), SETTINGS, 2, tmp_path)
    text = (tmp_path / "evidence.md").read_text()
    assert set(found) == set(SETTINGS["claims"])
    assert found["a"].verdict == "holds"
    assert found["b"].verdict == "does not hold"
    assert found["j"].verdict == "holds"
    assert {statement.found.estimate for statement in found["j"].statements} == {75.0}
    assert "| encoder | 80.0 | 80.0 | 80.0 |" in text
    for claim in SETTINGS["claims"].values():
        assert claim["title"] in text
    drawn = {file.name for file in (tmp_path / "images" / "evidence").iterdir()}
    assert drawn == {"encoder.svg", "epochs.svg", "matrix.svg", "distractor.svg", "hybrid.svg"}
    assert all(f"images/evidence/{name}" in text for name in drawn)


def test_what_is_not_run_yet_is_said(tmp_path):
    write_run(tmp_path, {task: samples(60) for task in runs.base_tasks(SETTINGS)}, name=BASE)
    assert page.write(Results(tmp_path, 1, SETTINGS["images"]), SETTINGS, 1, tmp_path / "docs") == {}
    assert (tmp_path / "docs" / "evidence.md").read_text().count("**not run**") == 2 * len(SETTINGS["claims"])


def leave_run(folder: Path, learned: int, kept: int) -> None:
    """A run of all tasks: the first documents of the new task and of the others are right."""
    (new,) = SETTINGS["matrix"]["idt_idi"]
    right = {task: learned if task == new else kept for tasks in SETTINGS["matrix"].values() for task in tasks}
    made = {
        task: [judged_sample(doc, "correct" if doc < count else "incorrect") for doc in range(DOCUMENTS)]
        for task, count in right.items()
    }
    write_run(folder, made)


@pytest.fixture
def remedied(tmp_path):
    """Of 100 documents, the base has 40 of the new task right and 90 of each other.

    Nothing: 60 and 30. KL: 55 and 80. The merge has 50 and 85, and was chosen by the first 20 documents of each task.
    """
    leave_run(tmp_path / BASE, 40, 90)
    for name, learned, kept in (("llm-high", 60, 30), ("kl-high", 55, 80)):
        leave_run(tmp_path / f"{name}-0" / "evaluated" / "checkpoint-60", learned, kept)
        (tmp_path / f"{name}-0.done").touch()
    rescued = tmp_path / "rescued-high-0"
    leave_run(rescued / "rescued-run", 50, 85)
    (rescued / "frontier.svg").write_text("<svg/>")
    seen = {task: list(range(20)) for tasks in SETTINGS["matrix"].values() for task in tasks}
    (rescued / "searched.json").write_text(json.dumps(seen))
    said = "0.50 of the base: keeps 50 % (30.0 to 70.0) of what was learned, forgetting 5.0 points, passes."
    (tmp_path / "rescued-high-0.log").write_text(f"0.50 of the base   32  50  6.2\n{said}\nLearned against kept\n")
    (tmp_path / "rescued-high-0.done").touch()
    return tmp_path


def test_remedies_by_hand(remedied):
    """Nothing gains 20 points and forgets 60; KL 15 and 10, so 5 less learned and 50 less forgotten.

    The merge on the 80 documents that its search did not see: of the new task it has 30 right and the base 20, so 12.5
    points more; of the others 65 and 70, so 6.2 lost (5 of 80). Nothing has 40 and 10 of them: 12.5 less learned, and
    68.8 less forgotten (55 of 80).
    """
    results, docs = Results(remedied, 1, SETTINGS["images"]), remedied / "docs"
    ways = {way.name: way for way in remedies.write(results, SETTINGS, 1, docs)}

    def found(name):
        way = ways[name]
        return [one.estimate for one in (way.learned, way.forgotten, way.learned_more, way.forgotten_less)]

    assert found("llm-high") == pytest.approx([20.0, 60.0, 0.0, 0.0])
    assert found("kl-high") == pytest.approx([15.0, 10.0, -5.0, 50.0])
    assert found("rescued-high") == pytest.approx([12.5, 6.25, -12.5, 68.75])
    assert all(way.learned.lower <= way.learned.estimate <= way.learned.upper for way in ways.values())


def test_the_page_of_remedies(remedied):
    docs = remedied / "docs"
    ways = remedies.write(Results(remedied, 1, SETTINGS["images"]), SETTINGS, 1, docs)
    assert [way.name for way in ways] == ["llm-high", "kl-high", "rescued-high"]
    text = (docs / remedies.PAGE).read_text()
    rows = {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
            for row in text.splitlines() if row.startswith("| ")}  # fmt: skip
    assert [cell.split()[0] for cell in rows["KL on other data"]] == ["15.0", "10.0", "−5.0", "50.0"]
    assert rows["nothing"][2:] == ["", ""]
    assert rows["the whole language model"] == ["+31.8", "−23.3", "+20.0", "−60.0"]
    assert rows["self-attention projections only"] == ["+24.9", "−0.6", "not run", "not run"]
    assert rows["KL on other data (kl-high)"] == ["55.0", *["80.0"] * 6]
    assert "Not run: only attention trained; only gate and up trained; L2-SP; EWC" in text
    assert "keeps 50 % (30.0 to 70.0) of what was learned" in text
    assert "32  50" not in text
    for name in (remedies.SCATTER, remedies.FRONTIER):
        assert (docs / "images" / "evidence" / name).is_file() and f"images/evidence/{name}" in text


def test_a_page_of_remedies_without_runs_says_so(tmp_path):
    assert remedies.write(Results(tmp_path, 1, SETTINGS["images"]), SETTINGS, 1, tmp_path) == []
    text = (tmp_path / remedies.PAGE).read_text()
    assert "Not run: nothing; only attention trained;" in text and "+24.9" in text


def test_every_way_on_the_page_is_run_and_is_compared_with_what_was_published():
    group = SETTINGS["runs"][remedies.GROUP]
    assert set(group["shown"]) == {*group["each"], group["rescued"]["name"]}
    published = {change.trained for paper in read_publications() for change in paper.changes}
    assert set(group["published"].values()) == published and set(group["published"]) <= set(group["each"])


def test_only_the_remedies_are_run_and_none_of_what_only_the_base_is_asked():
    alone = runs.only(SETTINGS, remedies.GROUP)
    names = [experiment.name for experiment in runs.experiments(alone, Path("work"), 1)]
    assert names == list(SETTINGS["runs"][remedies.GROUP]["each"]) and names[0] == "llm-high"
    assert runs.base_tasks(alone) == SETTINGS["runs"][remedies.GROUP]["tasks"]
    commands = {one.name: one.command(Path("m"), Path("o")) for one in runs.experiments(SETTINGS, Path("work"), 1)}
    for one in runs.experiments(alone, Path("work"), 1):  # so that either order of runs finds the other's
        assert one.command(Path("m"), Path("o")) == commands[one.name]


@pytest.mark.parametrize(("code", "leaves_run"), [(0, True), (1, True), (2, True), (0, False)])
def test_a_rescue_is_done_once_whatever_its_verdict(code, leaves_run, tmp_path, monkeypatch):
    """`emt` is stood in for by a program that notes its arguments, and may leave a run, as a search of minutes does."""
    (tmp_path / "llm-high-0" / "checkpoint-000060").mkdir(parents=True)
    calls = []

    def emt(arguments, log, *, passes):
        calls.append(arguments)
        log.write_text("It passes as it is: nothing to rescue.\n")
        assert code in passes
        if leaves_run:
            leave_run(tmp_path / "rescued-high-0" / "rescued-run", 50, 85)

    monkeypatch.setattr(runs, "emt", emt)
    group = SETTINGS["runs"][remedies.GROUP]

    def rescue():
        quadrants = runs.matrix(SETTINGS, tmp_path)
        runs.rescue(group["rescued"], group["tasks"], Path("small"), tmp_path, 0, quadrants)

    if not leaves_run:
        with pytest.raises(UserError, match=r"wrote no rescued-run .*nothing to rescue"):
            rescue()
        return
    rescue()
    rescue()
    (arguments,) = calls
    assert arguments[:3] == ["rescue", "small", str(tmp_path / "llm-high-0" / "checkpoint-000060")]
    assert arguments[arguments.index("--learn") + 1] == "evidence_objects"


def test_what_fails_is_told_and_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def run(experiment, _model, _folder):
        if experiment.name == "kl-high":
            raise UserError("emt finetune failed: no memory")

    for owner, name in ((runs, "rescue"), (runs, "evaluate"), (data, "prepare")):
        monkeypatch.setattr(owner, name, lambda *_: None)
    monkeypatch.setattr(runs, "run", run)
    (tmp_path / "small-vlm").mkdir()
    where = [str(tmp_path), "--data", str(tmp_path), "--large", str(tmp_path), "--docs", str(tmp_path / "docs")]
    assert main([*where, "--seeds", "1", "--only", "remedies"]) == 2
    assert "error: emt finetune failed: no memory" in capsys.readouterr().err
    assert (tmp_path / "docs" / remedies.PAGE).is_file()
    assert not (tmp_path / "docs" / "evidence.md").exists()

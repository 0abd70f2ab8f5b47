"""The evidence: what a statement's interval decides, and the page that is written from runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.files import dump_row
from emt_core.measured import HEADER, ROWS
from finetune.recipes.files import read as read_recipe
from leaderboards.statistics import Interval
from tests.support.synthetic_runs import judged_sample, write_run
from tools.evidence import claims, page, remedies, runs
from tools.evidence.results import BASE, ENCODER, Finding, Model, NotRun, Results, Statement

SETTINGS = runs.read()
DOCUMENTS = 100
MNIST, CIFAR10 = "emt_mnist", "emt_cifar10"


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


def test_remedies_by_hand(tmp_path):
    """Of 100 documents each: the new task goes from 40 to 60 right, the six others from 90 to 80; one way was run."""
    names = [task for tasks in SETTINGS["matrix"].values() for task in tasks]
    (new,) = SETTINGS["matrix"]["idt_idi"]

    def run(folder, learned, kept):
        right = {task: learned if task == new else kept for task in names}
        samples = {
            task: [judged_sample(doc, "correct" if doc < right[task] else "incorrect") for doc in range(DOCUMENTS)]
            for task in names
        }
        write_run(folder, samples)

    run(tmp_path / BASE, 40, 90)
    run(tmp_path / "kl-high-0" / "evaluated" / "checkpoint-60", 60, 80)
    (tmp_path / "kl-high-0.done").touch()
    text = remedies.section(Results(tmp_path, 1, SETTINGS["images"]), SETTINGS)
    (row,) = [line for line in text.splitlines() if line.startswith("| kl-high")]
    cells = [cell.strip() for cell in row.split("|")]
    assert (cells[2], cells[4]) == ("20.0", "10.0")
    assert "Not run: attention-high, gate-up-high" in text and "kl-high," not in text.partition("Not run:")[2]
    assert "| self-attention projections only | +24.9 | -0.6 |" in text

"""Our tasks and our model in plain lmms-eval, installed through their entry points."""

from __future__ import annotations

import ast
import hashlib
from importlib.metadata import version
from pathlib import Path

import pytest

from emt_tasks.tasks import registry

PROMPTS = Path(__file__).with_name("prompts")


def test_every_task_leaves_results_and_samples_with_our_metrics(run):
    for task, samples in run.samples.items():
        assert run.results["versions"][task] == 1.0
        assert len(samples) == (36 if task == "ocr_vqa" else 12), task
        for sample in samples:
            shares = [sample[name] for name in ("accuracy", "incorrect", "intrinsic", "extrinsic", "unscored")]
            assert sorted(set(shares)) == [0.0, 1.0]
            assert sum(shares) == 1
            assert sample["verdict"]["category"] in ("correct", "incorrect", "intrinsic", "extrinsic")
            assert sample["verdict"]["reason"]
            assert sample["judge_target"]["kind"] in ("classification", "multiple_choice", "short_answer")


def test_a_run_says_what_its_answers_depend_on(run):
    assert run.results["transformers_version"] == version("transformers")
    assert run.results["lmms_eval_version"] == version("lmms-eval")  # not the commit of the folder it ran in
    asked = {sample["judged_by"] for samples in run.samples.values() for sample in samples}
    assert asked == {f"fuzzy, emt-eval {version('emt-eval')}", "likelihood"}


def test_a_documents_hash_says_nothing(run):
    """lmms-eval 0.7.3 hashes a field that it never fills; were that to change, `comparison.alike` could compare it."""
    hashes = {sample["doc_hash"] for samples in run.samples.values() for sample in samples}
    assert hashes == {hashlib.sha256(b"null").hexdigest()}


def test_means_are_those_of_the_samples_and_groups_are_means_of_their_tasks(run):
    results = run.results["results"]
    for task, samples in run.samples.items():
        assert results[task]["accuracy,none"] == pytest.approx(sum(row["accuracy"] for row in samples) / len(samples))
    for group in ("emt", "oodt_idi", "forgetting_matrix"):
        members = [results[task.name]["accuracy,none"] for task in registry.tasks([group])]
        assert run.results["groups"][group]["accuracy,none"] == pytest.approx(sum(members) / len(members))


@pytest.mark.parametrize("file", sorted(PROMPTS.glob("*.txt")), ids=lambda file: file.stem)
def test_prompts_reach_the_model_to_the_letter(run, file):
    assert run.samples[file.stem][0]["input"] == file.read_text(encoding="utf-8").removesuffix("\n")


def test_there_is_a_golden_prompt_for_every_task(run):
    plain = {task.name for task in registry.tasks(["emt", "forgetting_matrix"])}
    assert {file.stem for file in PROMPTS.glob("*.txt")} == plain


def test_questions_about_one_image_are_clustered(run):
    clusters = [sample["cluster"] for sample in run.samples["ocr_vqa"]]
    assert clusters[:4] == ["000000000"] * 3 + ["000000001"]
    assert all(sample["cluster"].startswith("images/") for sample in run.samples["imagewikiqa"])


def test_closed_tasks_choose_the_likeliest_label(run):
    for sample in run.samples["emt_mnist_closed"]:
        losses = [ast.literal_eval(response)[0] for response in sample["filtered_resps"]]
        (match,) = sample["verdict"]["matches"]
        assert match["label"] == str(losses.index(min(losses)))
        assert sample["accuracy"] == float(match["label"] == sample["target"])
        assert 0.1 <= sample["verdict"]["confidence"] <= 1
    assert {sample["class_name_chosen"] for sample in run.samples["imagewikiqa_distractor_closed"]} <= {0.0, 1.0}
    assert "class_name_chosen,none" in run.results["results"]["imagewikiqa_distractor"]


def test_lmms_eval_lists_every_name_of_ours(lmms_eval, sample_data):
    listed = lmms_eval("--tasks", "list", data=sample_data).stdout.split()
    assert set(registry.entries()) <= set(listed)


def test_missing_data_stops_lmms_eval_in_one_line_before_the_model_is_loaded(lmms_eval, tmp_path):
    done = lmms_eval("--model", "emt_vlm", "--model_args", "pretrained=none", "--tasks", "imagewikiqa", data=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"emt-eval: imagewikiqa: no {tmp_path}/imagewikiqa/test.parquet")
    assert "Traceback" not in done.stdout + done.stderr

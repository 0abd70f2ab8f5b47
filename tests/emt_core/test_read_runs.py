"""Finding runs and reading their samples, sound and faulty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.samples import NONE, SEVERAL, read_samples
from tests.support.synthetic_runs import STAMP, judged_sample, write_run


def samples_file(run: Path, task: str = "emt_cifar10") -> Path:
    return run / f"{STAMP}_samples_{task}.jsonl"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        judged_sample(0, "correct", text="a cat", labels=["cat"]),
        judged_sample(1, "incorrect", text="a dog", labels=["dog", "dog"]),
        judged_sample(2, "intrinsic", text="cat or dog", labels=["cat", "dog"]),
        judged_sample(3, "extrinsic", text="\u0000 <script>", labels=[]),
        judged_sample(4, "unscored", text="…", labels=[]),
    ]
    return write_run(tmp_path, {"emt_cifar10": rows}, groups={"emt": ["emt_cifar10"], "emt_cifar10": []})


def test_a_run_is_found_in_its_folder_its_parent_and_by_its_file(run: Path) -> None:
    for path in (run, run.parent, run / f"{STAMP}_results.json"):
        found = read_run(path)
        assert (found.name, found.stamp, list(found.tasks)) == ("model", STAMP, ["emt_cifar10"])
        assert found.groups == {"emt": ("emt_cifar10",)}
        assert found.tasks["emt_cifar10"].metrics[0] == "accuracy"
        assert found.tasks["emt_cifar10"].version == "1.0"


def test_samples_become_a_typed_table(run: Path) -> None:
    samples = read_samples(read_run(run).tasks["emt_cifar10"])
    assert samples.metric == "accuracy"
    assert samples.judged
    assert set(samples.judges) == {"fuzzy"}
    frame = samples.frame
    assert frame["score"].to_list() == [1, 0, 0, 0, None]
    assert frame["category"].to_list() == ["correct", "incorrect", "intrinsic", "extrinsic", "unscored"]
    assert frame["answer"].to_list() == ["cat", "dog", SEVERAL, NONE, NONE]
    assert frame["class"].to_list() == ["cat"] * 5
    assert frame["unscored"].to_list() == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        ([1, 0.5, None], [1.0, 0.5, None]),
        ([True, False, True], [1.0, 0.0, 1.0]),
        ([{"score": 1.0, "id": "a"}, {"score": 0, "id": "b"}, {"score": 1}], [1.0, 0.0, 1.0]),
        ([{"score": True}, {"score": False}, {"score": True}], [1.0, 0.0, 1.0]),
        ([1.0, float("nan"), 0.0], [1.0, None, 0.0]),  # which polars does not read
        ([True, 0.5, {"score": 1}], [1.0, 0.5, 1.0]),
    ],
)
def test_other_tasks_metrics_count_too(tmp_path: Path, values: list[object], scores: list[float | None]) -> None:
    rows = [
        {"doc_id": index, "target": f"{index}", "filtered_resps": [["x", "y"]], "exact": value, "input": {"a": index}}
        for index, value in enumerate(values)
    ]
    run = write_run(tmp_path, {"other": rows}, other={"metrics": ("list_of_things", "exact")})
    samples = read_samples(read_run(run).tasks["other"])
    assert samples.metric == "exact"
    assert not samples.judged
    assert samples.frame["score"].to_list() == scores
    assert samples.frame["answer"].null_count() == 3
    expected = ["unscored" if score is None else "correct" if score == 1 else "incorrect" for score in scores]
    assert samples.frame["category"].to_list() == expected


def test_score_key_and_cluster_key_of_the_config(tmp_path: Path) -> None:
    rows = [
        {"doc_id": i, "target": "a", "exact": {"hit": i % 2, "video": f"v{i // 2}"}, "input": "q"} for i in range(4)
    ]
    config = {"score_key": "hit", "cluster_key": "video"}
    run = write_run(tmp_path, {"other": rows}, other={"metrics": ("exact",), "config": config})
    frame = read_samples(read_run(run).tasks["other"]).frame
    assert frame["score"].to_list() == [0, 1, 0, 1]
    assert frame["cluster"].to_list() == ["v0", "v0", "v1", "v1"]


def test_a_metric_can_be_chosen_and_a_bad_choice_names_the_good_ones(run: Path) -> None:
    task = read_run(run).tasks["emt_cifar10"]
    with pytest.raises(UserError, match=r"--metric emt_cifar10=bleu: not a per-sample number; it has accuracy"):
        read_samples(task, "bleu")
    # Better when lower: turned, so that forgetting is not upside down.
    samples = read_samples(task, "incorrect")
    assert samples.metric == "incorrect:lower"
    assert samples.frame["score"].to_list() == [1, 0, 1, 1, None]


def test_what_is_no_number_is_no_metric(tmp_path: Path) -> None:
    rows = [{"doc_id": 0, "target": "a", "list": [7], "text": "abc", "input": "q"}]
    run = write_run(tmp_path, {"other": rows}, other={"metrics": ("list", "text")})
    with pytest.raises(
        UserError, match=r"no metric .* \('list' is a list for doc_id 0, expected a number; 'text' is 'abc' for"
    ):
        read_samples(read_run(run).tasks["other"])


def test_a_metric_may_leave_0_to_1_and_late(tmp_path: Path) -> None:
    rows = [{"doc_id": i, "target": "a", "rating": 1 + (i == 300), "input": "q"} for i in range(301)]
    run = write_run(tmp_path, {"other": rows}, other={"metrics": ("rating",)})
    assert read_samples(read_run(run).tasks["other"]).frame["score"].to_list()[-2:] == [1.0, 2.0]


def test_a_stated_range_is_held(tmp_path: Path) -> None:
    rows = [{"doc_id": i, "target": "a", "rating": 10 * (i == 300), "input": "q"} for i in range(301)]
    run = write_run(tmp_path, {"other": rows}, other={"metrics": ("rating",)})
    task = read_run(run).tasks["other"]
    assert read_samples(task, "rating:0..10").stated == (0, 10)
    # Better when lower, a value v is the score 1 − v: 0 to 10 becomes −9 to 1.
    lower = read_samples(task, "rating:lower:0..10")
    assert (lower.stated, lower.frame["score"].to_list()[-1]) == ((-9, 1), -9)
    with pytest.raises(UserError, match=r"metric 'rating:0..9' is 10 for doc_id 300, expected 0 to 9"):
        read_samples(task, "rating:0..9")
    with pytest.raises(UserError, match=r"--metric other=rating:5..1: expected a range LOW..HIGH with LOW below HIGH"):
        read_samples(task, "rating:5..1")


def test_several_filters_keep_the_first(tmp_path: Path) -> None:
    rows = [{"doc_id": i, "target": "a", "exact": float(f), "input": "q"} for f in (1, 0) for i in range(3)]
    run = write_run(tmp_path, {"other": rows}, other={"metrics": ("exact",), "filters": ("strict", "loose")})
    assert read_samples(read_run(run).tasks["other"]).frame["score"].to_list() == [1, 1, 1]


def one_line(caught: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_truncated_file_names_its_last_line(run: Path) -> None:
    path = samples_file(run)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError) as caught:
        read_samples(read_run(run).tasks["emt_cifar10"])
    assert one_line(caught) == f"{path}:5: the last line is cut off; write the file again"


def test_a_broken_line_in_a_long_file_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"emt_cifar10": [judged_sample(i, "correct") for i in range(500)]})
    lines = samples_file(run).read_text(encoding="utf-8").splitlines()
    lines[400] = lines[400][:100]
    samples_file(run).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=":401: expected a JSON object"):
        read_samples(read_run(run).tasks["emt_cifar10"])


def test_repeated_documents_are_refused(tmp_path: Path) -> None:
    rows = [judged_sample(doc_id, "correct") for doc_id in (0, 1, 7, 7, 1)]
    run = write_run(tmp_path, {"emt_cifar10": rows})
    with pytest.raises(UserError, match=r"contains doc_id 1 2 times \(2 documents are repeated\)"):
        read_samples(read_run(run).tasks["emt_cifar10"])


def test_results_without_samples_say_the_flag(run: Path) -> None:
    samples_file(run).unlink()
    with pytest.raises(UserError, match="has no samples beside it: run lmms-eval again with --log_samples"):
        read_run(run)


def test_one_missing_samples_file_is_named(tmp_path: Path) -> None:
    rows = [judged_sample(0, "correct")]
    run = write_run(tmp_path, {"emt_mnist": rows, "emt_cifar10": rows})
    samples_file(run, "emt_mnist").unlink()
    with pytest.raises(UserError, match=r"samples_emt_mnist.jsonl is missing: 1 of 2 tasks have no samples"):
        read_run(run)


def test_samples_without_results_are_refused(run: Path) -> None:
    (run / f"{STAMP}_samples_emt_mnist.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"samples_emt_mnist.jsonl belongs to no task"):
        read_run(run)
    (run / f"{STAMP}_results.json").unlink()
    with pytest.raises(UserError, match="has no results file beside it: the run did not finish"):
        read_run(run)


def test_two_time_stamps_must_be_told_apart(run: Path) -> None:
    later = "20260102_120000"
    for path in list(run.iterdir()):
        (run / path.name.replace(STAMP, later)).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=rf"contains 2 runs, {STAMP} and {later}: choose one file, such as .*{later}"):
        read_run(run)
    assert read_run(run / f"{STAMP}_results.json").stamp == STAMP


def test_runs_of_two_models_must_be_told_apart(run: Path) -> None:
    write_run(run.parent, {"emt_cifar10": [judged_sample(0, "correct")]}, name="other")
    with pytest.raises(UserError, match=r"contains runs of 2 models \(model, other\): choose one of these folders"):
        read_run(run.parent)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"results": {}}', '{"results": 3}'])
def test_a_faulty_results_file_is_one_line(run: Path, content: str) -> None:
    path = run / f"{STAMP}_results.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_run(run)
    assert str(path) in one_line(caught)


def test_a_missing_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: expected a run, such as an lmms-eval output folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is no run that is known here: the folder is empty; expected"):
        read_run(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"is no run that is known here: found a file \*\.txt"):
        read_run(tmp_path / "notes.txt")


def answer(labels: list[str]) -> str:
    """What the table holds for a verdict's labels."""
    distinct = set(labels)
    return NONE if not distinct else SEVERAL if len(distinct) > 1 else distinct.pop()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["correct", "incorrect", "intrinsic", "extrinsic", "unscored"]),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_both_readers_read_alike(tmp_path: Path, answers: list[tuple[str, str, list[str]]]) -> None:
    rows = [
        judged_sample(i, category, target=text, text=text, labels=labels, prompt=text, cluster=text)
        for i, (category, text, labels) in enumerate(answers)
    ]
    run = write_run(tmp_path, {"task": rows})
    task = read_run(run).tasks["task"]
    fast = read_samples(task).frame
    # NaN, which is not JSON, in a field that nobody asks for makes polars give up and Python read.
    path = samples_file(run, "task")
    assert fast["answer"].to_list() == [answer(labels) for _, _, labels in answers]
    path.write_text("".join(json.dumps({**row, "extra": float("nan")}) + "\n" for row in rows), encoding="utf-8")
    assert read_samples(task).frame.equals(fast, null_equal=True)

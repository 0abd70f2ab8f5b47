"""What is not alike in two runs is listed, and stops the gate where it changes answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.runs import Run
from emt_tasks.commands.app import main
from emt_tasks.tasks.evaluator import EvaluationSettings
from leaderboards.comparison.alike import OF_TASKS, SAME_RUN, SETTINGS, compare_settings, why_stopped
from tests.support.synthetic_runs import STAMP, judged_sample, write_run

TASK = "flowers102"
Rows = list[dict[str, Any]]
Gate = Callable[..., tuple[int, dict[str, Any]]]


def rows(**fields: Any) -> Rows:
    return [judged_sample(index, "correct") | fields for index in range(400)]


def change(run: Path, top: dict[str, Any] | None = None, **config: Any) -> None:
    """Replace parts of a run's results file: `top` at its top, the rest in its `config`."""
    file = run / f"{STAMP}_results.json"
    results = json.loads(file.read_text())
    results |= top or {}
    results["config"] |= config
    file.write_text(json.dumps(results))


@pytest.fixture
def gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gate:
    """Gate two runs that are alike but for what each side's results file is given."""

    def run(
        base: dict[str, Any], candidate: dict[str, Any], *flags: str, samples: tuple[Rows, Rows] | None = None
    ) -> tuple[int, dict[str, Any]]:
        paths = []
        answers = samples or (rows(), rows())
        for name, written, changes in zip(("base", "candidate"), answers, (base, candidate), strict=True):
            path = write_run(tmp_path, {TASK: written}, name=name)
            change(path, **changes)
            paths.append(str(path))
        code = main(["gate", *paths, "--json", *flags])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else {"error": printed.err}

    return run


STOPS = [
    ("system-prompt", {"top": {"system_instruction": "Be brief."}}),
    ("system-prompt", {"model_args": "pretrained=candidate,system_prompt=Be brief, and kind."}),
    ("chat-template", {"top": {"chat_template": "{{ messages }}"}}),
    ("chat-template", {"model_args": "pretrained=candidate,chat_template=/home/me/other.jinja"}),
    ("quantisation", {"model_args": "pretrained=candidate,load_in_4bit=True"}),
    ("quantisation", {"model_args": {"pretrained": "candidate", "load_in_8bit": True}}),
    ("pixels", {"model_args": "pretrained=candidate,max_pixels=1003520"}),
    ("pixels", {"model_args": "pretrained=candidate,min_pixels=3136"}),
    ("decoding", {"gen_kwargs": "temperature=0.7"}),
    ("decoding", {"model_args": "pretrained=candidate,max_new_tokens=4"}),
    ("model-class", {"model": "llava_hf"}),
    ("use_images", {"model_args": "pretrained=candidate,use_images=upside_down"}),
]


@pytest.mark.parametrize(("name", "candidate"), STOPS)
def test_what_changes_answers_stops_the_gate_until_it_is_accepted(
    gate: Gate, name: str, candidate: dict[str, Any]
) -> None:
    code, data = gate({}, candidate)
    assert (code, data["verdict"]) == (2, "undecided")
    assert [(found["name"], found["stops"]) for found in data["differences"]] == [(name, True)]
    assert f"accept it with --allow-different {name}." in data["sentence"]
    code, data = gate({}, candidate, "--allow-different", name)
    assert (code, data["verdict"]) == (0, "not inferior")
    assert [(found["stops"], found["allowed"]) for found in data["differences"]] == [(False, True)]


LISTED = [
    ("dtype", {"model_args": "pretrained=b,dtype=float16"}, {"model_args": "pretrained=c,dtype=bfloat16"}),
    ("attention", {}, {"model_args": "pretrained=c,attn_implementation=eager"}),
    ("lmms-eval", {}, {"top": {"lmms_eval_version": "0.8.0"}}),
    ("transformers", {"top": {"transformers_version": "5.0"}}, {"top": {"transformers_version": "5.2"}}),
    ("seed", {"random_seed": 0}, {"random_seed": 1}),
]


@pytest.mark.parametrize(("name", "base", "candidate"), LISTED)
def test_what_may_change_them_is_listed_only(
    gate: Gate, name: str, base: dict[str, Any], candidate: dict[str, Any]
) -> None:
    code, data = gate(base, candidate)
    assert code == 0
    assert [(found["name"], found["stops"]) for found in data["differences"]] == [(name, False)]
    assert any(note.startswith(f"differs: {name}") for note in data["notes"])


@pytest.mark.parametrize(
    "candidate",
    [
        {},
        {"model_args": "pretrained=b,peft=/adapters/c,revision=abc,device=cuda:1,batch_size=4"},
        {"model_args": "pretrained=c,load_in_4bit=False,max_pixels=None,dtype=auto,chat_template="},
        {"gen_kwargs": ""},
        {"resolved_cli_args": {"apply_chat_template": True, "reasoning_tags": "none"}},  # the base's are not known
        {"top": {"transformers_version": "5.2"}},
    ],
)
def test_what_is_meant_to_differ_or_is_not_known_is_no_difference(gate: Gate, candidate: dict[str, Any]) -> None:
    code, data = gate({}, candidate)
    assert (code, data["differences"]) == (0, [])


def test_the_same_run_twice_stops(gate: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = {"start_time": 12.5, "end_time": 99.25}
    code, data = gate({"top": clock}, {"top": clock})  # a copy: lmms-eval's clock never reads the same twice
    assert (code, data["differences"][0]["name"]) == (2, "same-run")
    assert main(["gate", str(tmp_path / "base"), str(tmp_path / "base")]) == 2
    assert "base and candidate are the same run, base" in capsys.readouterr().out


JUDGED = "fuzzy, emt-eval 0.1.0"


@pytest.mark.parametrize(
    ("base", "candidate", "stops"),
    [
        # 400 documents each; one judge, as every sample says
        (rows(judged_by=JUDGED), rows(judged_by=JUDGED), None),
        # a cascade's language model was needed on one side only: one judge all the same
        (rows(judged_by="cascade"), [*rows(judged_by="cascade")[:-1], judged_sample(399, "correct", judge="llm:m")
                                     | {"judged_by": "cascade"}], None),
        # ten of the candidate's answers went to another judge
        (rows(judged_by=JUDGED), rows(judged_by=JUDGED)[:390] + rows(judged_by="llm")[390:], True),
        # two judges on both sides, but not of the same documents
        (rows(judged_by="llm")[:10] + rows(judged_by=JUDGED)[10:],
         rows(judged_by=JUDGED)[:390] + rows(judged_by="llm")[390:], True),
        # two judges on both sides, of the same documents
        (rows(judged_by="llm")[:10] + rows(judged_by=JUDGED)[10:],
         rows(judged_by="llm")[:10] + rows(judged_by=JUDGED)[10:], False),
        # older runs, which log only whose verdict it is
        (rows(), [*rows()[:-1], judged_sample(399, "correct", judge="llm:m")], True),
    ],
)  # fmt: skip
def test_judges(gate: Gate, base: Rows, candidate: Rows, stops: bool | None) -> None:
    code, data = gate({}, {}, samples=(base, candidate))
    assert [found["stops"] for found in data["differences"]] == ([] if stops is None else [stops])
    assert code == (2 if stops else 0)
    if stops:
        assert gate({}, {}, "--allow-different", "judge", samples=(base, candidate))[0] == 0


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("version", {"version": 2.0}),
        ("prompt", {"config": {"doc_to_text": "Name it."}}),
        ("decoding", {"config": {"generation_kwargs": {"max_new_tokens": 8}}}),
        ("scoring", {"config": {"process_results": "<function other at 0x1>"}}),
    ],
)
def test_what_is_refused_can_be_accepted(
    name: str, overrides: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = str(write_run(tmp_path, {TASK: rows()}, name="base"))
    candidate = str(write_run(tmp_path, {TASK: rows()}, name="candidate", **{TASK: overrides}))
    assert main(["gate", base, candidate]) == 2
    assert f", or accept it with --allow-different {name}\n" in capsys.readouterr().err
    assert main(["gate", base, candidate, "--json", "--allow-different", name]) == 0
    (found,) = json.loads(capsys.readouterr().out)["differences"]
    assert (found["name"], found["task"], found["allowed"]) == (name, TASK, True)


def test_a_name_that_nothing_bears_is_refused(gate: Gate) -> None:
    code, data = gate({}, {}, "--allow-different", "pixel")
    assert code == 2
    assert data["error"].startswith("emt: --allow-different pixel: not known; expected same-run, model-class, ")


def test_another_place_of_the_data_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = [{"dataset_path": "parquet", "dataset_kwargs": {"data_files": {"test": f"{root}/flowers/test.parquet"}}}
               for root in ("/a", "/b")] + [{"dataset_path": "org/flowers"}]  # fmt: skip
    runs = [str(write_run(tmp_path, {TASK: rows()}, name=name, **{TASK: {"config": config}}))
            for name, config in zip(("one", "two", "three"), configs, strict=True)]  # fmt: skip
    assert main(["gate", *runs[:2]]) == 0  # the same files, elsewhere
    assert "differs" not in capsys.readouterr().out
    assert main(["gate", runs[0], runs[2]]) == 0
    said = "differs: task flowers102: data (dataset_path) is flowers/test.parquet in base, org/flowers in candidate"
    assert said in capsys.readouterr().out


def test_report_and_junit_say_why(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, {TASK: rows()}, name=name) for name in ("base", "candidate")]
    change(runs[1], model_args="pretrained=c,max_pixels=9")
    page, junit = tmp_path / "report.html", tmp_path / "gate.xml"
    assert main(["report", *map(str, runs), "-o", str(page)]) == 0
    assert "pixels (max_pixels) is none in base, 9 in candidate" in page.read_text()
    assert main(["gate", *map(str, runs), "--junit", str(junit)]) == 2
    assert 'errors="1"' in junit.read_text()
    accepted = tmp_path / "accepted.html"
    assert main(["report", *map(str, runs), "-o", str(accepted), "--allow-different", "pixels"]) == 0
    assert "differs (accepted): pixels" in accepted.read_text()


names = st.sampled_from([field for setting in SETTINGS for field in setting.fields.split()] + ["peft", "a_new_one"])
values = st.text("abc019_/. ", max_size=8).map(str.strip)


def _run(folder: str, model_args: Any) -> Run:
    results = {"config": {"model": "emt_vlm", "model_args": model_args}, "lmms_eval_version": "0.7.3"}
    return Run(Path(folder) / f"{STAMP}_results.json", folder, {}, {}, results)


@given(st.dictionaries(names, values, max_size=5), st.sampled_from(["c", "other/checkpoint-2"]))
def test_one_set_of_arguments_for_both_models_never_stops(arguments: dict[str, str], candidate: str) -> None:
    """`emt check` evaluates both by the same arguments."""
    said = ",".join(f"{name}={value}" for name, value in arguments.items())
    sides = [EvaluationSettings(model, (TASK,), model_args=said).all_model_args() for model in ("b", candidate)]
    runs = [_run(folder, text) for folder, text in zip("bc", sides, strict=True)]
    assert why_stopped(compare_settings(*runs)) is None


@given(st.dictionaries(names, values, max_size=5), st.dictionaries(names, values, max_size=5))
def test_differences_are_the_same_from_either_side(one: dict[str, str], other: dict[str, str]) -> None:
    there = compare_settings(_run("b", one), _run("c", other))
    back = compare_settings(_run("b", other), _run("c", one))
    assert {(found.field, found.base, found.candidate) for found in there} == {
        (found.field, found.candidate, found.base) for found in back
    }
    assert all(found.base != found.candidate and "\n" not in str(found) for found in there)


def test_the_page_names_each_setting() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "alike.md").read_text()
    assert all(f"`{name}`" in page for name in (SAME_RUN, *OF_TASKS, *(setting.name for setting in SETTINGS)))

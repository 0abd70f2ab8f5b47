"""The demo's tasks as lmms-eval reads them: data made on first use, prompts, groups, scores of right answers."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import import_module

import datasets
import jinja2
import pytest

from emt_core.errors import UserError
from emt_tasks.datasets import checks, vocabularies
from emt_tasks.datasets.catalog import get
from emt_tasks.demo import NAMES, cached
from emt_tasks.tasks import hooks, registry
from judges import find_vocabulary
from tools.demo_rows import rows

TASKS = ["demo_digits", "demo_shapes", "demo_digits_qa", "demo_digits_qa_distractor", "demo_shapes_qa"]


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.delenv("EMT_DATA_DIR", raising=False)
        yield folder


def documents(name):
    """The documents of a task, as the harness would load them."""
    config = registry.load(registry.entries()[name].file)
    path, kwargs = (_hook(config[key]) for key in ("dataset_path", "dataset_kwargs"))
    loaded = datasets.load_dataset(path, split=config["test_split"], **kwargs)
    return config, _hook(config["process_docs"])(loaded) if "process_docs" in config else loaded


def _hook(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


def prompt(config, document):
    text = config["doc_to_text"]
    return jinja2.Template(text).render(**document) if " " in text or "{" in text else _hook(text)(document)


def test_quadrants():
    groups = {
        "demo_idt_idi": ["demo_digits"],
        "demo_idt_oodi": ["demo_shapes"],
        "demo_oodt_idi": ["demo_digits_qa", "demo_digits_qa_distractor"],
        "demo_oodt_oodi": ["demo_shapes_qa"],
    }
    assert list(registry.entries()["demo_matrix"].members) == list(groups)
    assert {group: [task.name for task in registry.tasks([group])] for group in groups} == groups


def test_the_same_question_is_asked_in_distribution_whatever_the_image():
    texts = {registry.load(registry.entries()[name].file)["doc_to_text"] for name in ("imagenet_vqa", *TASKS[:2])}
    assert texts == {"What type of object is in this photo?"}


@pytest.mark.parametrize("name", NAMES)
def test_a_task_asks_what_the_rows_to_train_on_ask(name):
    config, found = documents(name)
    expected = rows(name, "test")
    assert [prompt(config, document) for document in found] == [row["question"] for row in expected]
    assert [document["image"].tobytes() for document in found.select(range(5))] == [
        row["image"].tobytes() for row in expected[:5]
    ]


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_are_scored_right(name):
    config, found = documents(name)
    score = _hook(config["process_results"])
    answers = [row["answer"] for row in rows(name.removesuffix("_distractor"), "test")]
    for document, answer in zip(found, answers, strict=True):
        sample = score(document, [answer])
        assert sample["accuracy"] == 1, (answer, sample)
        assert sum(sample[metric] for metric in ("incorrect", "intrinsic", "extrinsic", "unscored")) == 0


def test_the_class_name_is_recognised_where_it_is_chosen():
    config, found = documents("demo_digits_qa_distractor")
    for document in found.select(range(30)):
        lines = prompt(config, document).splitlines()
        (letter,) = (line[0] for line in lines if line[1:] == f". {document['classname']}")
        assert letter != document["label"]
        sample = hooks.demo_digits_qa_score_distractor(document, [letter])
        assert (sample["accuracy"], sample["class_name_chosen"]) == (0, 1)
        assert sample["judge_target"]["class_name"] == document["classname"]
        assert sample["cluster"] == document["image_path"]


def test_vocabularies_are_found_by_name_and_in_the_order_of_the_labels():
    from emt_tasks.demo.questions import NUMBERS
    from emt_tasks.demo.shapes import OUTLINES

    assert find_vocabulary("demo_digits").names == list(NUMBERS[:10])
    assert vocabularies.load("demo_shapes").names == list(OUTLINES)


def test_data_is_there_without_being_prepared_and_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    checks.check_data(["demo_matrix"])
    assert get("demo_shapes").local_file("test") == cached("demo_shapes", "test")
    own = tmp_path / "demo_shapes" / "test.parquet"
    own.parent.mkdir()
    own.write_bytes(cached("demo_shapes", "test").read_bytes())
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    assert get("demo_shapes").local_file("test") == own


def test_two_processes_that_make_the_data_leave_one_whole_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = "from emt_tasks.demo import cached; print(cached('demo_shapes_qa', 'test'))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert printed == {str(cached("demo_shapes_qa", "test"))}
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    made = hashlib.sha256(file.read_bytes()).digest()
    file.unlink()
    assert hashlib.sha256(cached("demo_shapes_qa", "test").read_bytes()).digest() == made


def test_a_cache_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with pytest.raises(UserError, match=f"{blocked}/emt-eval.* cannot be written"):
        cached("demo_digits", "test")

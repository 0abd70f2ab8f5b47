"""A data set of the user's own: one row and one YAML, and tasks, data, evaluation, judges, training, matrix know it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.app import main
from emt_tasks.datasets import catalog, include, vocabularies
from emt_tasks.datasets.checks import check_data
from emt_tasks.tasks import registry
from emt_tasks.tasks.registry.template import task_yaml
from emt_tasks.tasks.short_answer import ShortAnswerTask
from finetune.data.sources import open_source
from finetune.recipes.schema import SourceEntry

ROW = """
toy:
  kind: classification
  columns: {image: photo, label: kind}
  vocabulary: [nought, {one: [single]}, two]
  question: "Which number? <image>"
  answer: "It is {label}."
"""
QUESTIONS = """
toy_letters:
  kind: multiple_choice
  answer: "{label}"
toy_words:
  kind: short_answer
  columns: {cluster: photo_id}
"""


@pytest.fixture(autouse=True)
def no_folders(monkeypatch):
    monkeypatch.setenv(include.VARIABLE, "")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with the rows, and beside it photos in class folders."""
    monkeypatch.delenv("EMT_DATA_DIR", raising=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "datasets.yaml").write_text(ROW + QUESTIONS)
    digits = load_digits()
    for number in range(12):
        label = int(digits.target[number % 3])
        folder = tmp_path / "photos" / ["nought", "one", "two"][label]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[number % 3] * 15.9).astype("uint8")
        Image.fromarray(pixels).resize((32, 32)).save(folder / f"{number}.png")
    return tmp_path / "mine"


def emt(*words: str | Path) -> int:
    return main([str(word) for word in words])


def test_one_row_and_one_yaml_are_enough(mine, tmp_path, capsys):
    assert emt("data", "prepare", "toy", "--from", tmp_path / "photos", "--split", "test", "--include", mine) == 0
    assert emt("tasks", "new", "toy", "--include", mine, "--ask", "Which number?", "--quadrant", "idt_oodi") == 0
    capsys.readouterr()
    assert sorted(file.name for file in mine.iterdir()) == ["datasets.yaml", "toy", "toy.yaml"]

    assert emt("tasks", "list", "--json", "--include", mine) == 0
    assert '{"name": "toy", "kind": "task", "data": "toy", "about": "Which number?"}' in capsys.readouterr().out
    assert emt("data", "list", "toy", "--json", "--include", mine) == 0
    (listed,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (listed["documents"], listed["state"]) == (12, "there")

    run = tmp_path / "run"
    # A process of its own: lmms-eval leaves files open, and warnings are errors here.
    command = [sys.executable, "-m", "emt_tasks", "eval", "emt:tiny", "-t", "toy", "-o", run, "--device", "cpu"]
    subprocess.run([*command, "--include", mine], check=True)
    assert read_run(run).tasks["toy"].config["metadata"]["quadrant"] == "idt_oodi"

    assert emt("judge", run, "--judge", "fuzzy", "-o", tmp_path / "judged", "--include", mine) == 0
    capsys.readouterr()
    assert emt("gate", run, run, "--json") in (0, 2)
    verdict = json.loads(capsys.readouterr().out)
    assert [unit["name"] for unit in verdict["quadrants"]] == ["idt_oodi"]

    train = open_source(SourceEntry(data="toy", split="test"))
    assert (len(train), train.turn(5).question, train.turn(5).answer) == (12, "Which number? <image>", "It is one.")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model: emt:tiny\ntrain: projector\nmixture: {sources: [{data: toy, split: test}]}\n"
        f"optimiser: {{learning_rate: 1e-4}}\nbatch: {{size: 4, micro: 4}}\nsteps: 2\noutput: {tmp_path / 'trained'}\n"
    )
    assert emt("finetune", recipe, "--include", mine) == 0


def table(folder: Path, name: str, rows: list[dict[str, str]], suffix: str = "jsonl") -> Path:
    Image.new("RGB", (4, 4)).save(folder / "one.png")
    file = folder / f"{name}.{suffix}"
    if suffix == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        file.write_text("\n".join(lines) + "\n")
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    ("column", "value", "prompt"),
    [
        ("question", "Why?", "Why?"),
        ("question", ["Why?"], "Why?"),
        ("asked", "Why?", "Why?"),
        ("asked", ["Why?"], "Why?"),
    ],
)
def test_a_question_is_asked_whatever_its_column_is_called(column, value, prompt):
    from lmms_eval.utils import apply_template

    columns = catalog.Columns(question=column, answer="answer")
    row = catalog.Dataset(name="mine", kind="short_answer", columns=columns)
    answer = ["So."] if isinstance(value, list) else "So."
    table = datasets.Dataset.from_list([{"image": "one.png", column: value, "answer": answer}])
    (document,) = ShortAnswerTask(row).documents(table)
    asks = yaml.safe_load(re.sub("!function", "", task_yaml(row, "mine")))["doc_to_text"]
    assert apply_template(asks, document) == f"{prompt}\nAnswer the question using a single word or phrase."


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_questions_come_from_a_table(mine, tmp_path, suffix, capsys):
    rows = [{"image": "one.png", "photo_id": "a", "question": f"How many? {n}", "answer": str(n)} for n in range(3)]
    file = table(tmp_path, "test", rows, suffix)
    assert emt("data", "prepare", "toy_words", "--from", file, "--include", mine) == 0
    assert emt("tasks", "new", "toy_words", "--include", mine) == 0
    check_data(["toy_words"])
    task = registry.load(registry.entries()["toy_words"].file)
    assert task["doc_to_text"] == "{{question}}\nAnswer the question using a single word or phrase."
    train = open_source(SourceEntry(data="toy_words", split="test"))
    assert [train.turn(row).answer for row in range(3)] == ["0", "1", "2"]
    assert vocabularies.find.kind("toy_words") == "short_answer"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "Which?\nA. cat\nB. dog", "label": "C"},
            r"label, row 0: found 'C', expected a letter from A to B",
        ),
        ({"question": "Which?", "label": "A"}, r"question, row 0: expected a question with options A\. and B\."),
    ],
)
def test_letters_are_checked_before_a_model_is_loaded(mine, tmp_path, row, message):
    file = table(tmp_path, "test", [{"image": "one.png", **row}])
    assert emt("data", "prepare", "toy_letters", "--from", file, "--include", mine) == 0
    assert emt("tasks", "new", "toy_letters", "--include", mine) == 0
    with pytest.raises(UserError, match=message):
        check_data(["toy_letters"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- toy", "expected a mapping of names to data sets"),
        ("toy: 3", "toy: expected a mapping of fields, found '3'"),
        ("Toy-1: {kind: short_answer}", "a data set's name may only have lower-case letters, digits and _"),
        ("toy: {kind: classification}", "data set 'toy': a classification data set has a vocabulary"),
        ("toy: {kind: guess}", "toy: kind: input should be 'classification', 'multiple_choice' or 'short_answer'"),
        ("toy: {kind: short_answer, colour: red}", "toy: unknown key colour"),
        ("toy: {kind: short_answer, generator: 'os:getcwd'}", "toy: unknown key generator"),
        ("toy: {kind: short_answer, columns: {foto: x}}", "toy: unknown key columns.foto"),
        ("toy: {kind: classification, vocabulary: [cat, Cat]}", "vocabulary: 'cat' appears twice"),
        ("toy: {kind: classification, vocabulary: [{cat: dog}]}", "expected a class or `class: \\[synonyms\\]`"),
        ("cifar10: {kind: short_answer}", "data set 'cifar10' is already in the catalog"),
        ("toy: {kind: [", "cannot be read as YAML"),
    ],
)
def test_a_faulty_row_is_one_line(tmp_path, text, message):
    (tmp_path / "datasets.yaml").write_text(text)
    include.add([tmp_path])
    with pytest.raises(UserError, match=message) as error:
        catalog.datasets()
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_folder_that_is_not_there_and_a_task_of_a_taken_name(mine, capsys):
    assert emt("tasks", "list", "--include", mine / "nowhere") == 2
    assert "nowhere is not a folder; expected one with datasets.yaml and tasks in it" in capsys.readouterr().err
    assert emt("tasks", "list", "--include") == 2
    assert "--include: expected a folder after it" in capsys.readouterr().err
    assert emt("tasks", "new", "toy", "--name", "emt_cifar10", f"--include={mine}") == 2
    assert "choose another --name" in capsys.readouterr().err


def test_plain_lmms_eval_learns_the_data_sets_of_an_include_path(mine, tmp_path, monkeypatch):
    from lmms_eval.tasks import TaskManager

    from emt_tasks.plugin import manifests

    assert emt("data", "prepare", "toy", "--from", tmp_path / "photos", "--split", "test", "--include", mine) == 0
    assert emt("tasks", "new", "toy", "--include", mine) == 0
    monkeypatch.setenv(include.VARIABLE, "")
    manifests()
    manager = TaskManager("ERROR", include_path=str(mine), include_defaults=False)
    assert "toy" in manager.all_tasks
    assert catalog.get("toy").folder == mine

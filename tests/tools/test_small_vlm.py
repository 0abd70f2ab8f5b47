"""The questions that the small model is aligned on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from PIL import Image

from emt_tasks.tasks import registry
from emt_tasks.tasks.multiple_choice import parse
from finetune.recipes.files import read
from tools.small_vlm import questions
from tools.small_vlm.questions import Thing

FOLDER = Path(questions.__file__).parent
THING = Thing("0.png", "cat", "n02121620", ("dog", "frog", "ship", "truck"))


@pytest.mark.parametrize("seed", range(20))
def test_the_letter_is_the_right_options(seed):
    row = questions.which(THING, random.Random(seed))
    asked = parse(row["question"])
    assert asked.choices["ABCD".index(row["letter"])] == row["answer"] == "cat"
    assert len(set(asked.choices)) == 4
    assert asked.tail == "Answer with one of these options."


@pytest.mark.parametrize(
    ("colour", "share", "named"),
    [((250, 250, 250), 1.0, "White"), ((60, 110, 200), 0.7, "Blue"), ((60, 110, 200), 0.4, None)],
)
def test_a_colour_is_that_of_at_least_half_of_the_image(tmp_path, colour, share, named):
    """The rest of the image is in bands of other colours."""
    image = Image.new("RGB", (100, 100), colour)
    others = [(0, 0, 0), (70, 130, 60), (225, 205, 80)]
    start = round(100 * share)
    for number, other in enumerate(others):
        image.paste(other, (0, start + (100 - start) * number // 3, 100, 100))
    image.save(tmp_path / "0.png")
    row = questions._colour(tmp_path / "0.png")
    assert (row and row["answer"]) == named


def test_the_sorts_are_the_test_sets_vocabulary():
    rows = yaml.safe_load((FOLDER.parent / "evidence" / "tasks" / "datasets.yaml").read_text())
    assert rows["evidence_things"]["vocabulary"] == list(questions.SORTS)
    tasks = (FOLDER.parent / "evidence" / "tasks").glob("evidence_*.yaml")
    asked = [line for file in tasks for line in file.read_text().splitlines() if line.startswith("doc_to_text: ")]
    assert asked.count(f'doc_to_text: "{questions.QUESTION}"') == 3


@pytest.mark.parametrize("recipe", ["align_projector", "align_llm"])
def test_the_recipes_are_recipes(recipe):
    found = read(str(FOLDER / f"{recipe}.yaml"), ["work=small"])
    assert found.output.startswith("small/")
    (asked,) = (source.question for source in found.mixture.sources if source.data == "cifar10")
    assert asked == registry.load(registry.entries()["emt_cifar10"].file)["doc_to_text"]

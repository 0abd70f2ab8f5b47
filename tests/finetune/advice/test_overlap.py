"""Where tasks are for some training data: by texts, by pixels, by the catalog; and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emt_tasks.tasks import registry
from finetune.advice.overlap import Known, images_by_size, place, share_alike, tasks_for
from finetune.advice.sample import sample_training
from finetune.data.llava import to_llava
from finetune.recipes.schema import SourceEntry

DEMO = ("demo_digits", "demo_shapes", "demo_digits_qa", "demo_shapes_qa")
CIFAR = "What is the object in the image? Please only answer a single object in airplane, automobile, bird."


def known(entry: SourceEntry, name: str | None = None, rows: int = 64) -> Known:
    """What is known of some training data; without a name as of a user's file."""
    training = sample_training(entry, rows)
    return Known(name, entry.split, [turn.question for turn in training.turns], images_by_size(training.examples))


@pytest.mark.parametrize(
    ("question", "prompt", "alike"),
    [
        ("What is the object in the image? <image>", CIFAR, True),  # what is asked first is the same
        ("What is the object in the picture?", "what is the object in a picture?", True),  # 2 words of 7, few letters
        ("What is the number in the image?", CIFAR, False),  # number and object share only b and e
        ("What is the colour of the object in the image?", CIFAR, False),
        ("Who wrote this book?", "Who wrote this book?\nAnswer the question using a single word or phrase.", True),
    ],
)
def test_alike(question: str, prompt: str, alike: bool) -> None:
    assert share_alike([question], [prompt]) == alike


def test_the_share_counts_every_turn() -> None:
    """Three of four turns ask what the task asks, though only one of two distinct questions does."""
    assert share_alike(["Which bird?"] * 3 + ["How many wings has it?"], ["Which bird?"]) == 0.75


@pytest.mark.parametrize("name", ["demo_digits", None])
def test_the_demos_quadrants_come_out_as_declared(name: str | None) -> None:
    """With the catalog's help, and for a file without a name from texts and pixels alone."""
    seen = known(SourceEntry(data="demo_digits"), name)
    entries = registry.entries()
    found = {task: place(entries[task], seen) for task in DEMO}
    assert {task: one.quadrant for task, one in found.items()} == {task: entries[task].quadrant for task in DEMO}
    assert all(one.leaked == 0 for one in found.values())


def test_seen_from_the_shapes_the_quadrants_turn_round() -> None:
    """Trained on the shapes' questions: their own task is in distribution, and the digits' question is another."""
    seen = known(SourceEntry(data="demo_shapes_qa"), "demo_shapes_qa")
    found = {task: place(registry.entries()[task], seen).quadrant for task in DEMO}
    assert found == {
        "demo_shapes_qa": "idt_idi",
        "demo_shapes": "oodt_idi",
        "demo_digits": "oodt_oodi",
        "demo_digits_qa": "oodt_oodi",
    }


def test_training_on_what_is_evaluated_is_a_leak() -> None:
    seen = known(SourceEntry(data="demo_digits", split="test"), "demo_digits")
    assert place(registry.entries()["demo_digits"], seen).leaked == seen.image_count > 0


def test_a_users_file_is_recognised_by_its_pixels(data_dir: Path, tmp_path: Path) -> None:
    """The small data's CIFAR images are the same noise in every data set but MNIST, which has digits."""
    file = to_llava(SourceEntry(data="cifar10"), tmp_path / "mine")
    seen = known(SourceEntry(data=str(file)))
    entries = registry.entries()
    assert place(entries["emt_cifar10"], seen).quadrant == "idt_idi"
    assert place(entries["imagenet_vqa"], seen).quadrant == "oodt_idi"
    found = place(entries["emt_mnist"], seen)
    assert found.quadrant == "oodt_oodi"
    assert found.image.why == "none of 24 sampled is among 4 of 4 of mnist:test and 24 of 24 of mnist:train"


def test_what_is_not_here_cannot_be_told(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = to_llava(SourceEntry(data="cifar10"), tmp_path / "mine")
    seen = known(SourceEntry(data=str(file)))
    monkeypatch.delenv("EMT_DATA_DIR")
    cifar, books = (place(registry.entries()[task], seen) for task in ("emt_cifar10", "ocr_vqa"))
    assert (cifar.text.inside, cifar.image.inside, cifar.quadrant) == (True, None, None)  # its prompt is in its YAML
    assert (books.text.inside, books.image.inside, books.quadrant) == (None, None, None)
    assert books.text.why == books.image.why == "ocr_vqa is not here"


def test_a_named_data_set_that_is_not_here_is_placed_by_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageNet's texts by the tasks' prompts, or as the matrix has them; images by where they come from."""
    monkeypatch.delenv("EMT_DATA_DIR", raising=False)
    seen = known(SourceEntry(data="imagenet1k"), "imagenet1k")
    found = {entry.name: place(entry, seen) for entry in tasks_for("imagenet1k")}
    assert {name: one.quadrant for name, one in found.items()} == {
        "imagenet_vqa": "idt_idi",
        "flowers102": "idt_oodi",
        "imagewikiqa": "oodt_idi",
        "ocr_vqa": "oodt_oodi",
        "emt_miniimagenet": "oodt_idi",  # ImageNet's images
        "emt_mnist": "oodt_oodi",
        "emt_cifar10": "oodt_oodi",
        "emt_cifar100": "oodt_oodi",
    }
    assert found["imagewikiqa"].text.why == "as forgetting_matrix has it"


def test_text_without_images_has_other_images_everywhere(data_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps({"question": "Who wrote this book?", "answer": "Ada Lovelace"}) + "\n")
    found = place(registry.entries()["ocr_vqa"], known(SourceEntry(data=str(file))))
    assert (found.quadrant, found.image.why) == ("idt_oodi", "the training data has none")

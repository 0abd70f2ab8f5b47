"""The YAML files as they stand: names, groups, versions and prompts."""

from __future__ import annotations

import pytest

from emt_tasks.datasets import vocabularies
from emt_tasks.tasks import registry

TASKS = {
    "emt": ["emt_mnist", "emt_cifar10", "emt_cifar100", "emt_miniimagenet"],
    "forgetting_matrix": ["imagenet_vqa", "flowers102", "imagewikiqa", "ocr_vqa", "imagewikiqa_distractor"],
}


@pytest.mark.parametrize("group", TASKS)
def test_groups_hold_their_tasks_and_have_lite_twins(group):
    assert [task.name for task in registry.tasks([group])] == TASKS[group]
    assert [task.name for task in registry.tasks([f"{group}_lite"])] == [f"{name}_lite" for name in TASKS[group]]


def test_every_classification_and_choice_task_has_a_closed_twin():
    names = {name for tasks in TASKS.values() for name in tasks} - {"ocr_vqa"}
    assert {f"{name}_closed" for name in names} <= set(registry.entries())


def test_every_entry_has_a_version_and_says_what_it_is():
    for entry in registry.entries().values():
        assert entry.version == "1.0"
        assert len(entry.summary) > 20
        assert entry.file.stem == entry.name


def test_names_that_are_not_ours_are_left_out():
    assert registry.tasks(["mme", "idt_idi"]) == [registry.entries()["imagenet_vqa"]]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "miniimagenet"])
def test_prompts_list_all_labels_of_the_vocabulary(name):
    labels = vocabularies.load(name).names
    if name == "miniimagenet":
        # The paper's list runs from "African hunting dog" to "yawl": sorted by name, capitals first.
        labels = sorted(labels)
    prompt = registry.load(registry.entries()[f"emt_{name}"].file)["doc_to_text"]
    assert prompt == f"What is the object in the image? Please only answer a single object in {', '.join(labels)}."


def test_tasks_name_the_hubs_data_set_that_they_read():
    """So that a run on a local file can still be published under its data set's name."""
    from emt_tasks.datasets import catalog

    for task in registry.tasks(["emt", "forgetting_matrix"]):
        assert registry.load(task.file)["metadata"].get("dataset") == catalog.get(task.dataset).hub

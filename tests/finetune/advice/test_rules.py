"""The table of advice: every row can win, names what exists, and wins where it should."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from emt_core.errors import UserError
from finetune.advice.budget import MEASURED, Sizes
from finetune.advice.evidence import EVIDENCE
from finetune.advice.facts import Facts, Other
from finetune.advice.recipe import propose, words
from finetune.advice.rules import RULES
from finetune.advice.shape import Shape
from finetune.recipes.files import checked, fields_at
from finetune.training.memory import Workload

GIB = 2**30
NARROW = Shape(100_000, 2000, 1, 10, "What?", short=True, closed=True)
FREE = Shape(100_000, 2000, 1500, 1900, None, short=False, closed=False)
OTHERS = (Other("shapes", 5000, "idt_oodi"), Other("books", None, "oodt_oodi"))


def sizes(weights: int) -> Sizes:
    """A model of so many weights: 2 % of them the projector, 30 % attention, 90 % the language model."""
    parts = {"full": weights, "llm": 9 * weights // 10, "llm_attention": 3 * weights // 10, "projector": weights // 50}
    step = Workload(0, weights, MEASURED * 600, MEASURED * 5, 30, 4000, 32000, parts["llm"])
    return Sizes(parts, {"llm_attention": weights // 5000}, step)


def facts(weights: int | None = 7 * 10**9, gib: float = 80, shape: Shape | None = NARROW, **changed: Any) -> Facts:
    known = Facts(
        data={"data": "mine.jsonl"},
        shape=shape,
        placements=(),
        others=OTHERS,
        learned="digits_lite",
        watched=("shapes_lite", "books_lite"),
        evaluated=("digits_lite", "shapes_lite", "books_lite"),
        sizes=sizes(weights) if weights else None,
        available=int(gib * GIB),
        fields={"model": "m", "output": "o"},
    )
    return replace(known, **changed)


def advised(known: Facts, *given: str) -> dict[str, Any]:
    """The fields that are proposed for some facts."""
    return propose(known, given)[1]


LORA = {"llm_attention": {"lora": {"rank": 64, "alpha": 128}}}


@pytest.mark.parametrize(
    ("known", "train", "rate", "quantization"),
    [
        (facts(6 * 10**5), {"full": {}}, 3e-5, None),
        (facts(14 * 10**7), {"projector": {}}, 3e-4, None),
        (facts(), {"llm_attention": {}}, 5e-6, None),
        (facts(shape=FREE), {"llm_attention": {}}, 5e-6, None),
        # Attention in full takes 2.1e9 · 16 bytes, 31 GiB, beside 9 GiB that are frozen.
        (facts(gib=24), {"projector": {}}, 1e-4, None),  # few labels
        (facts(gib=24, shape=FREE), LORA, 2e-5, None),
        (facts(gib=12), {"projector": {}}, 1e-4, "nf4"),
        (facts(gib=12, shape=FREE), LORA, 2e-5, "nf4"),
        (facts(gib=2), {"projector": {}}, 1e-4, None),  # nothing fits
        (facts(None), {"llm_attention": {}}, 5e-6, None),  # the model could not be read
    ],
)
def test_part_and_rate_follow_from_size_memory_and_labels(
    known: Facts, train: dict[str, Any], rate: float, quantization: str | None
) -> None:
    found = advised(known)
    assert found["train"] == train
    assert found["optimiser"]["learning_rate"] == rate
    assert found.get("quantization") == quantization


def test_a_third_of_the_examples_is_other_data_shared_equally() -> None:
    """30 % of 100,000 / 0.7 is 42,858 examples; half of them, rounded up, from each source, which shapes lacks."""
    assert advised(facts())["mixture"]["sources"] == [
        {"data": "mine.jsonl"},
        {"data": "shapes", "ratio": 0.15},  # all of its 5,000, repeatedly
        {"data": "books", "ratio": 0.15},
    ]
    many = (Other("shapes", 10**6, "idt_oodi"),)
    assert advised(facts(others=many))["mixture"]["sources"][1] == {"data": "shapes", "ratio": 0.3, "limit": 42858}
    # With 100 steps of 32 examples it is 30 % of 3,200.
    assert advised(facts(others=many), "steps=100")["mixture"]["sources"][1]["limit"] == 960
    assert advised(facts(others=()))["mixture"]["sources"] == [{"data": "mine.jsonl"}]


@pytest.mark.parametrize(
    ("known", "regulariser"),
    [
        (facts(), "ewc"),
        (facts(others=()), "l2_sp"),
        (facts(gib=24, shape=FREE), "kl"),
        (facts(gib=24, shape=FREE, others=()), None),
        (facts(gib=2), None),
    ],
)
def test_the_regulariser_follows_from_the_way_to_train_and_the_data(known: Facts, regulariser: str | None) -> None:
    assert list(advised(known).get("regularise", {})) == ([regulariser] if regulariser else [])


@pytest.mark.parametrize(
    ("examples", "epochs", "every", "saves"),
    # 3 epochs of 1,000 / 0.7 examples in steps of 32 are 134 steps: ten looks are one every 13. One of 100,000 / 0.7
    # are 4,465: one every 50. A sixth of them, rounded up, is between two checkpoints.
    [(1000, 3, 13, 23), (100_000, 1, 50, 745), (None, 1, 50, "epoch")],
)
def test_epochs_looks_and_saves_follow_from_the_number_of_examples(
    examples: int | None, epochs: int, every: int, saves: int | str
) -> None:
    found = advised(facts(shape=replace(NARROW, examples=examples)))
    assert found["epochs"] == epochs
    watched = {"tasks": ["digits_lite", "shapes_lite", "books_lite"], "learn": "digits_lite"}
    assert found["probe"] == {**watched, "every": every, "stop": 4.0}
    assert found["save"] == {"every": saves, "keep": "best"}


def test_no_checkpoint_is_the_best_where_nothing_tells() -> None:
    """Without a task of the new data's own, and where the user wants no probe."""
    found = advised(facts(learned=None))
    assert found["probe"]["tasks"] == ["shapes_lite", "books_lite"] and "save" not in found
    assert "save" not in advised(facts(), "probe=null")
    assert advised(facts(), "save.every=7")["save"] == {"every": 7, "keep": "best"}
    assert advised(facts(), "save={every: end}")["save"] == {"every": "end"}


def test_nothing_is_watched_or_evaluated_where_no_data_is_here() -> None:
    found = advised(facts(watched=(), evaluated=()))
    assert "probe" not in found and "evaluate" not in found


def test_what_is_given_decides_what_follows() -> None:
    """The whole language model in full gets the low rate of the paper, and memory for all of it."""
    proposals, fields = propose(facts(gib=200), ["train=llm", "batch.size=16", "probe.stop=2", "seed=3"])
    assert fields["train"] == "llm" and fields["optimiser"]["learning_rate"] == 1e-6
    assert fields["batch"]["size"] == 16 >= fields["batch"]["micro"]
    assert fields["probe"]["every"] == 50 and fields["probe"]["stop"] == 2
    assert fields["seed"] == 3
    told = {one.field: (one.given, one.replaced) for one in proposals}
    assert told["train"] == (("train=llm",), True)
    assert told["probe"] == (("probe.stop=2",), False)
    assert told["mixture"] == ((), False)


def test_a_section_that_is_given_as_a_whole_stays() -> None:
    """Its fields are not proposed again, one by one."""
    fields = advised(facts(), "batch={size: 8, micro: 4}", "optimiser={name: sgd, learning_rate: 0.1}", "probe=null")
    assert fields["batch"] == {"size": 8, "micro": 4}
    assert fields["optimiser"] == {"name": "sgd", "learning_rate": 0.1}
    assert fields["probe"] is None
    other = advised(facts(), "optimiser.name=sgd", "evaluate.batch_size=4", "batch.size=4")
    assert other["optimiser"] == {"name": "sgd", "learning_rate": 5e-6}
    assert other["evaluate"] == {"batch_size": 4, "tasks": ["digits_lite", "shapes_lite", "books_lite"]}
    assert other["batch"] == {"size": 4, "micro": 4}


@pytest.mark.parametrize(("shape", "train"), [(FREE, LORA), (NARROW, {"projector": {}})])
def test_a_quantization_that_is_given_decides_the_part(shape: Shape, train: dict[str, Any]) -> None:
    """Attention in full would fit, but cannot be trained on quantized weights."""
    fields = advised(facts(gib=300, shape=shape), "quantization=int8")
    assert (fields["train"], fields["quantization"]) == (train, "int8")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["train=audio"], "train: this model has no part 'audio'; it has full, llm, llm_attention, projector"),
        (["train=[llm, llm_attention]"], "llm_attention is inside llm"),
        (["train=3"], "--advise: train: "),
        (["train={projector: 3}"], "--advise: train.projector: "),
        (["train=llm", "quantization=nf4"], "quantization: llm is trained in full"),
        (["batch.size=many"], "--advise: batch.size: "),
        (["probe.stopp=2"], "unknown key probe.stopp, did you mean stop?"),
        (["steps=10", "epochs=2"], "give either epochs or steps"),
        (["nothing"], "override 'nothing': expected key=value"),
    ],
)
def test_what_is_given_wrong_is_one_line(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as one:
        propose(facts(), given)
    assert "\n" not in str(one.value)


def test_steps_stand_for_epochs() -> None:
    fields = advised(facts(), "steps=70")
    assert fields["steps"] == 70 and "epochs" not in fields
    assert fields["probe"]["every"] == 7


@pytest.mark.parametrize("weights", [6 * 10**5, 14 * 10**7, 7 * 10**9, None])
@pytest.mark.parametrize("gib", [1, 8, 24, 80, 300])
@pytest.mark.parametrize("shape", [NARROW, FREE, None])
@pytest.mark.parametrize("others", [OTHERS, ()])
def test_every_advice_is_a_valid_recipe_that_fits(
    weights: int | None, gib: int, shape: Shape | None, others: tuple[Other, ...]
) -> None:
    known = facts(weights, gib, shape, others=others)
    fields = advised(known)
    recipe = checked(fields, "advice")
    if known.sizes and known.with_fields(**fields).fits():
        assert known.sizes.memory(recipe).total <= 0.9 * known.available


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.field}: {rule.because[:40]}")
def test_each_row_names_what_exists(rule: Any) -> None:
    place = rule.field.split(".")
    assert place[-1] in fields_at(place[:-1])
    assert set(rule.evidence) <= set(EVIDENCE)
    rule.because.format(**words(facts(fields={"model": "m", "output": "o", "train": {"projector": {}}})))


def test_each_row_wins_somewhere_and_each_source_is_cited() -> None:
    """No row is shadowed by those above it."""
    won = set()
    shapes = (NARROW, FREE, replace(FREE, examples=100), None)
    asked: list[tuple[Facts, tuple[str, ...]]] = [
        (facts(weights, gib, shape, others=others, watched=watched, evaluated=watched), given)
        for weights in (6 * 10**5, 14 * 10**7, 7 * 10**9, None)
        for gib in (2, 6, 12, 24, 80)
        for shape in shapes
        for others, watched in ((OTHERS, ("a",)), ((), ()))
        for given in ((), ("train=projector",), ("train=llm",))
    ]
    for known, given in asked:
        for proposal in propose(known, given)[0]:
            won.add((proposal.field, proposal.evidence, proposal.because[-30:]))
    assert {rule.field for rule in RULES} == {field for field, _, _ in won}
    lost = [rule for rule in RULES if not any(_is(rule, *one) for one in won)]
    assert lost == []
    assert {key for rule in RULES for key in rule.evidence} == set(EVIDENCE)


def _is(rule: Any, field: str, evidence: tuple[str, ...], end: str) -> bool:
    """Whether a proposal is this row's: the end of its reason, up to what is filled in, is the same."""
    constant = rule.because.rpartition("}")[2][-30:]
    return (field, evidence) == (rule.field, rule.evidence) and end.endswith(constant)

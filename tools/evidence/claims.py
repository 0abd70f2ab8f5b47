"""The claims: each a function from results to what was found. `evidence.yaml` names them.

Where the projector alone is trained, (b), (c) and (e) go by a tenth of the recipe's rate: at the recipe's, which is a
large model's, the small one has lost all within an epoch, the new task too, and no later epoch can take anything. (d)
compares two recipes as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from tools.evidence.results import BASE, ENCODER, Finding, Model, Results, Statement

MARGIN = 5.0
"""Percentage points that what "holds up" may lose: the intervals of 400 documents are about as wide."""

MNIST, CIFAR10, THINGS = "emt_mnist", "emt_cifar10", "evidence_things"
EMT = (MNIST, CIFAR10, THINGS)
NAMED = {MNIST: "MNIST", CIFAR10: "CIFAR-10", THINGS: "ImageNet by sort"}
Matrix = Mapping[str, Sequence[str]]

base, encoder = Model(BASE), Model(ENCODER)


def encoder_ahead(results: Results, _matrix: Matrix) -> Finding:
    """(a) The tower's linear probe beside the model."""
    return _finding(
        Statement(f"{NAMED[task]}: the encoder is ahead by", results.more(encoder, base, [task])) for task in EMT
    )


def early_lift(results: Results, _matrix: Matrix) -> Finding:
    """(b) The other data sets after one epoch on CIFAR-10, by the projector."""
    early = Model("emt-gentle-cifar10", 0)
    return _finding(
        Statement(f"after one epoch on CIFAR-10, {NAMED[task]} rises by", results.more(early, base, [task]))
        for task in (MNIST, THINGS)
    )


def later_fall(results: Results, _matrix: Matrix) -> Finding:
    """(c) The other data sets, and the share of hallucinations, from one epoch to three."""

    def statements(data: str) -> Iterator[Statement]:
        others = [task for task in EMT if task != f"emt_{data}"]
        early, late = Model(f"emt-gentle-{data}", 0), Model(f"emt-gentle-{data}")
        named = f"from one epoch on {NAMED[f'emt_{data}']} to three, the others"
        yield Statement(f"{named} fall by", results.more(early, late, others))
        hallucinated = results.more(late, base, others, "hallucinated")
        yield Statement(
            f"after three epochs on {NAMED[f'emt_{data}']}, hallucinations rose by",
            hallucinated,
        )

    return _finding(chain(statements("cifar10"), statements("mnist")))


def lora_forgets_more(results: Results, _matrix: Matrix) -> Finding:
    """(d) The other data sets after three epochs: the projector's runs above LoRA's."""

    def statement(data: str) -> Statement:
        others = [task for task in EMT if task != f"emt_{data}"]
        found = results.more(Model(f"emt-linear-{data}"), Model(f"emt-lora-{data}"), others)
        return Statement(f"after {NAMED[f'emt_{data}']}, LoRA has lost more than the projector by", found)

    return _finding(map(statement, ("cifar10", "mnist")))


def varied_forgets_less(results: Results, _matrix: Matrix) -> Finding:
    """(e) ImageNet by sort, which neither was trained on, after CIFAR-10 and after MNIST."""
    return _finding(
        Statement(
            f"{shown}: ImageNet by sort is higher after CIFAR-10 than after MNIST by",
            results.more(Model(f"emt-{how}-cifar10"), Model(f"emt-{how}-mnist"), [THINGS]),
        )
        for how, shown in (("gentle", "projector"), ("lora", "LoRA"))
    )


def other_images_hold(results: Results, matrix: Matrix) -> Finding:
    """(f) Both quadrants of other images: gentle runs lose less than the margin, the rough ones more than nothing."""
    gentle = {"projector-low": "the projector, low rate", "llm-low": "the language model, low rate",
              "full-low": "all parts, low rate"}  # fmt: skip
    rough = {"full-high": "all parts, high rate"}
    quadrants = {"idt_oodi": "same question, other images", "oodt_oodi": "other questions and images"}

    def statement(name: str, how: str, quadrant: str, *, holds: bool) -> Statement:
        lost = results.more(base, Model(name), matrix[quadrant])
        text = f"{how}, {quadrants[quadrant]}: lost"
        return Statement(text, lost, "below", MARGIN) if holds else Statement(text, lost)

    pairs = [(name, how, True) for name, how in gentle.items()] + [(name, how, False) for name, how in rough.items()]
    return _finding(statement(name, how, quadrant, holds=holds) for name, how, holds in pairs for quadrant in quadrants)


def other_text_falls(results: Results, matrix: Matrix) -> Finding:
    """(g) Other questions about the same images, even where little was trained or gently."""
    return _finding(
        Statement(f"{how}: lost", results.more(base, Model(name), matrix["oodt_idi"]))
        for name, how in (("projector-low", "the projector, low rate"), ("llm-low", "the language model, low rate"),
                          ("llm-high", "the language model, high rate"))
    )  # fmt: skip


def distracted_by_class_name(results: Results, _matrix: Matrix) -> Finding:
    """(h) The same questions with and without the class name among the options, before and after.

    As in the paper's figure, after training the language model at the lowest rate.
    """
    plain, distractor = "evidence_kinds", "evidence_kinds_distractor"

    def statements(name: str, how: str) -> Iterator[Statement]:
        tuned = Model(name)
        yield Statement(
            f"{how}: with the class name, accuracy fell by",
            results.more(base, tuned, [distractor]),
        )
        yield Statement(
            f"{how}: … which is more than without it by",
            results.extra((base, tuned), (distractor, plain)),
        )
        chosen = results.more(tuned, base, [distractor], "class name chosen")
        yield Statement(f"{how}: the class name is chosen more often by", chosen)

    return _finding(statements("llm-low", "the language model, low rate"))


def hybrid_repairs(results: Results, matrix: Matrix) -> Finding:
    """(i) Other questions about the same images with other data mixed in, and what that costs on the new task."""
    alone, most = Model("llm-high"), Model("hybrid-70")
    repaired = results.more(most, alone, matrix["oodt_idi"])
    kept = results.more(base, most, matrix["oodt_idi"])
    cost = results.more(alone, most, matrix["idt_idi"])
    return _finding(
        [
            Statement("70 % of other data: other questions are higher than without by", repaired),
            Statement("70 % of other data: of the base's, lost", kept, "below", MARGIN),
            Statement("70 % of other data: lost on the new task", cost, "below", MARGIN),
        ]
    )


def recoverable(results: Results, _matrix: Matrix) -> Finding:
    """(j) Of the answers that were lost, what the closed set regains, against what a guess among the choices would."""
    found = [one for one in results.causes(Model("llm-high")) if one.recoverable and one.lost]
    return _finding(
        Statement(
            f"the language model, high rate, {one.task}: of {one.lost} lost answers the closed set regains, in percent",
            one.recoverable,
            "above",
            round(one.guessed or 0.0, 1),
        )
        for one in found
        if one.recoverable
    )


def _finding(statements: Iterable[Statement]) -> Finding:
    return Finding(tuple(statements))

"""The claims: each a function from results to what was found. `evidence.yaml` names them.

Where the projector alone is trained, (c) and (e) go by a tenth of the recipe's rate: at the recipe's, which is a large
model's, the small one has lost all within an epoch, the new task too, and no later epoch can take anything. (b) is put
to both rates; (d) compares two recipes as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tools.evidence.results import BASE, ENCODER, Finding, Measure, Model, Results, Setting, Statement

MARGIN = 5.0
"""Percentage points that what "holds up" may lose: the intervals of 400 documents are about as wide."""

MNIST, CIFAR10, THINGS = "emt_mnist", "emt_cifar10", "evidence_things"
EMT = (MNIST, CIFAR10, THINGS)
NAMED = {MNIST: "MNIST", CIFAR10: "CIFAR-10", THINGS: "ImageNet by sort"}
Matrix = Mapping[str, Sequence[str]]

base, encoder = Model(BASE), Model(ENCODER)


def encoder_ahead(results: Results, _matrix: Matrix) -> Finding:
    """(a) The tower's linear probe beside the model."""
    settings = {NAMED[task]: (encoder, base, [task]) for task in EMT}
    return _finding([_mean(results, "the encoder is ahead by", settings)])


def early_lift(results: Results, _matrix: Matrix) -> Finding:
    """(b) The other data sets after one epoch on CIFAR-10, by the projector, at both rates."""
    rates = {"emt-linear-cifar10": "the recipe's rate", "emt-gentle-cifar10": "a tenth of it"}
    settings = {
        f"{shown}, {NAMED[task]}": (Model(name, 0), base, [task])
        for name, shown in rates.items()
        for task in (MNIST, THINGS)
    }
    return _finding([_mean(results, "after one epoch on CIFAR-10, others rise by", settings)])


def later_fall(results: Results, _matrix: Matrix) -> Finding:
    """(c) The other data sets from one epoch to three, and the share of hallucinations after three."""
    trained = {f"on {NAMED[f'emt_{data}']}": data for data in ("cifar10", "mnist")}
    fall = {
        shown: (Model(f"emt-gentle-{data}", 0), Model(f"emt-gentle-{data}"), _others(data))
        for shown, data in trained.items()
    }
    rose = {shown: (Model(f"emt-gentle-{data}"), base, _others(data)) for shown, data in trained.items()}
    return _finding(
        [
            _mean(results, "from one epoch to three, the others fall by", fall),
            _mean(results, "after three epochs, hallucinations rose by", rose, "hallucinated"),
        ]
    )


def lora_forgets_more(results: Results, _matrix: Matrix) -> Finding:
    """(d) The other data sets after three epochs: the projector's runs above LoRA's."""
    settings = {
        f"after {NAMED[f'emt_{data}']}": (Model(f"emt-linear-{data}"), Model(f"emt-lora-{data}"), _others(data))
        for data in ("cifar10", "mnist")
    }
    return _finding([_mean(results, "LoRA has lost more than the projector by", settings)])


def varied_forgets_less(results: Results, _matrix: Matrix) -> Finding:
    """(e) ImageNet by sort, which neither was trained on, after CIFAR-10 and after MNIST."""
    settings = {
        shown: (Model(f"emt-{how}-cifar10"), Model(f"emt-{how}-mnist"), [THINGS])
        for how, shown in (("gentle", "projector"), ("lora", "LoRA"))
    }
    return _finding([_mean(results, "ImageNet by sort is higher after CIFAR-10 than after MNIST by", settings)])


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
    ways = {"projector-low": "the projector, low rate", "llm-low": "the language model, low rate",
            "llm-high": "the language model, high rate"}  # fmt: skip
    settings = {how: (base, Model(name), matrix["oodt_idi"]) for name, how in ways.items()}
    return _finding([_mean(results, "other questions about the same images: lost", settings)])


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


def _others(data: str) -> list[str]:
    return [task for task in EMT if task != f"emt_{data}"]


def _mean(results: Results, text: str, settings: Mapping[str, Setting], measure: Measure = "accuracy") -> Statement:
    """State the mean over settings, and each of them."""
    each = (Statement(shown, results.more_over([setting], measure)) for shown, setting in settings.items())
    return Statement(f"{text} (mean)", results.more_over(list(settings.values()), measure), settings=tuple(each))


def _finding(statements: Iterable[Statement]) -> Finding:
    return Finding(tuple(statements))

"""What is proposed when: for each field of the recipe the first row whose conditions all hold.

A row is data: conditions, the field's value (or how it follows from the facts), the reason in a line, and the keys of
its sources. To change the advice, change a row; to change a number, change `finetune.advice.evidence`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

from finetune.advice.facts import FEW, SMALL, TINY, Facts

Condition = Callable[[Facts], bool]

OTHER = 0.3
"""The share of other data in all: the smallest that was measured, on the demo's model and on the small real one."""

MANY = 10_000
"""Examples from which one epoch is proposed, else three. Ours; EMT's data sets have 50,000 and more."""

STOP = 4.0
"""Points that a task may be shown to have lost before training ends: the gate's default margin."""

_LOOKS = 10
"""How often the probe looks at least: few documents a look need many looks to show anything."""

_LORA = {"rank": 64, "alpha": 128}
_SAMPLE = 100
"""Examples of each source that a regulariser's reference is made of; tools.remedies has as many."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row.

    Attributes:
        field: the recipe's field that it proposes.
        when: conditions, which must all hold.
        value: the proposal, or a function of the facts; None proposes to leave the field out.
        because: the reason in one line; `{name}` stands for a fact of `finetune.advice.recipe.words`.
        evidence: keys of `finetune.advice.evidence`.
        instead: fields that take this one's place where the user gives them.
    """

    field: str
    when: tuple[Condition, ...]
    value: Any
    because: str
    evidence: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()


def unread(facts: Facts) -> bool:
    """The model could not be read."""
    return facts.sizes is None


def tiny(facts: Facts) -> bool:
    """The model is like the demo's."""
    return facts.weights is not None and facts.weights < TINY


def small(facts: Facts) -> bool:
    """The model is like the small real one."""
    return facts.weights is not None and facts.weights < SMALL


def few_labels(facts: Facts) -> bool:
    """The answers are a few labels."""
    return facts.shape is not None and facts.shape.closed and facts.shape.answers <= FEW


def many_examples(facts: Facts) -> bool:
    """An epoch is long, or nobody knows how long."""
    return facts.shape is None or facts.shape.examples is None or facts.shape.examples >= MANY


def narrow(facts: Facts) -> bool:
    """The data is one question with few short answers."""
    return facts.shape is not None and facts.shape.narrow


def trains(*parts: str) -> Condition:
    """Return a condition: one of these parts is trained, and in full."""
    return lambda facts: bool(set(parts) & set(facts.train)) and not facts.has_lora


def by_lora(facts: Facts) -> bool:
    """A part is trained by LoRA."""
    return facts.has_lora


def fits(train: dict[str, Any], quantization: str | None = None) -> Condition:
    """Return a condition: the model has these parts, and training them so fits into the device's memory."""
    return lambda facts: all(map(facts.has, train)) and facts.fits(train=train, quantization=quantization)


def needs_quantization(facts: Facts) -> bool:
    """What is trained fits only beside a quantized language model, and is not a part of it in full."""
    in_full = [part for part, settings in facts.train.items() if not settings.get("lora")]
    frozen = not any(part.startswith(("llm", "full")) for part in in_full)
    return frozen and not facts.fits() and facts.fits(quantization="nf4")


def fits_with(name: str) -> Condition:
    """Return a condition: the recipe with this regulariser fits too."""
    return lambda facts: facts.fits(regularise={name: {"sources": [dict(facts.data)]} if name == "ewc" else {}})


def has_others(facts: Facts) -> bool:
    """There is other data to mix in."""
    return bool(facts.others)


def watches(facts: Facts) -> bool:
    """A task of another quadrant can be watched."""
    return bool(facts.watched)


def evaluates(facts: Facts) -> bool:
    """Some task's data is here."""
    return bool(facts.evaluated)


def too_little(facts: Facts) -> bool:
    """Nothing that was chosen fits into memory."""
    return not facts.fits()


def checkpointed(facts: Facts) -> bool:
    """The batch fits only with gradient checkpointing."""
    found = facts.fit()
    return found is not None and found.checkpointing


def mixed(facts: Facts) -> dict[str, Any]:
    """Return the mixture: the data, and an equal share of each other source, as many as will be drawn in all."""
    ratio = round(OTHER / len(facts.others), 3)
    examples = facts.shape.examples if facts.shape else None
    recipe = facts.recipe()
    if recipe.steps:
        drawn: int | None = ceil(ratio * recipe.steps * recipe.batch.size)
    else:
        drawn = ceil(ratio * examples * (recipe.epochs or 1) / (1 - OTHER)) if examples else None
    others = [
        {
            "data": other.data,
            "ratio": ratio,
            **({"limit": drawn} if drawn and other.examples and drawn < other.examples else {}),
        }
        for other in facts.others
    ]
    return {"sources": [dict(facts.data), *others]}


def alone(facts: Facts) -> dict[str, Any]:
    """Return the mixture of the data alone."""
    return {"sources": [dict(facts.data)]}


def reference(facts: Facts) -> list[dict[str, Any]]:
    """Return some of the other data: what the base should keep."""
    return [{"data": other.data, "limit": _SAMPLE} for other in facts.others]


def probe(facts: Facts) -> dict[str, Any]:
    """Return the probe: at least ten looks, at most one every 50 steps."""
    steps = facts.steps()
    every = 50 if steps is None else max(1, min(50, steps // _LOOKS))
    return {"tasks": list(facts.watched), "every": every, "stop": STOP}


def micro(facts: Facts) -> int:
    """Return the examples at a time that fit; 1 where none do."""
    found = facts.fit()
    return found.micro if found else 1


RULES = (
    Rule(
        "precision",
        (tiny,),
        "fp32",
        "as in the demo's recipes",
    ),
    Rule(
        "train",
        (tiny,),
        {"full": {}},
        "{weights} weights: as small as the demo's model, on which all parts at a low rate kept every quadrant",
        ("low-demo",),
    ),
    Rule(
        "train",
        (small, fits({"projector": {}})),
        {"projector": {}},
        "of the ways tried on a model of this size the projector alone, here {projector} of the weights, lost least",
        ("parts-small", "gentle", "projector", "lora-small"),
    ),
    Rule(
        "train",
        (fits({"llm_attention": {}}),),
        {"llm_attention": {}},
        "the language model's attention alone, here {llm_attention} of the weights, learns most of what all of it "
        "learns, and forgets little",
        ("attention", "gentle", "parts-small"),
    ),
    Rule(
        "train",
        (few_labels, fits({"projector": {}})),
        {"projector": {}},
        "attention in full does not fit; with few labels the projector, {projector} of the weights, learns nearly as "
        "much as LoRA, and in a large model lost less",
        ("projector", "lora-small"),
    ),
    Rule(
        "train",
        (fits({"llm_attention": {"lora": _LORA}}),),
        {"llm_attention": {"lora": _LORA}},
        "attention in full does not fit; by LoRA it does. LoRA on that part alone is ours, and not measured",
        ("attention", "projector", "lora-small"),
    ),
    Rule(
        "train",
        (few_labels, fits({"projector": {}}, "nf4")),
        {"projector": {}},
        "only with a language model in 4 bits does anything fit; with few labels the projector, {projector} of the "
        "weights, learns nearly as much as LoRA, and in a large model lost less",
        ("projector", "lora-small"),
    ),
    Rule(
        "train",
        (fits({"llm_attention": {"lora": _LORA}}, "nf4"),),
        {"llm_attention": {"lora": _LORA}},
        "only LoRA on a language model in 4 bits fits. LoRA on attention alone is ours, and not measured",
        ("attention", "lora-small"),
    ),
    Rule(
        "train",
        (),
        {"projector": {}},
        "by the estimate nothing fits into {device}: this needs least; take a smaller model or several devices",
        ("projector", "parts-small"),
    ),
    Rule(
        "quantization",
        (needs_quantization,),
        "nf4",
        "the language model fits only in 4 bits (QLoRA, arXiv 2305.14314); needs bitsandbytes",
    ),
    Rule(
        "optimiser.learning_rate",
        (tiny,),
        3e-5,
        "the low rate that kept every quadrant on the demo's model, all parts trained",
        ("low-demo",),
    ),
    Rule(
        "optimiser.learning_rate",
        (by_lora,),
        2e-5,
        "a tenth of LLaVA-1.5's rate for LoRA, 2e-4, which emt_lora has. Ours, not measured",
        ("gentle",),
    ),
    Rule(
        "optimiser.learning_rate",
        (small, trains("projector")),
        3e-4,
        "the rate at which the small model's projector learned the new task and lost least",
        ("parts-small",),
    ),
    Rule(
        "optimiser.learning_rate",
        (trains("projector"),),
        1e-4,
        "a tenth of LLaVA-1.5's pretraining rate of the projector, which emt_linear has. Ours: the papers do not say",
        ("rate-small", "gentle"),
    ),
    Rule(
        "optimiser.learning_rate",
        (small,),
        3e-5,
        "the small model's low rate: it still lost other images, so watch the probe",
        ("parts-small",),
    ),
    Rule(
        "optimiser.learning_rate",
        (trains("llm_attention", "llm_gate_up"),),
        5e-6,
        "the rate of those who measured this part",
        ("attention-rate", "gentle"),
    ),
    Rule(
        "optimiser.learning_rate",
        (),
        1e-6,
        "the low end of the rates of arXiv 2603.14493; lower is safer, and learns less in the same steps",
        ("gentle", "distracted", "attention"),
    ),
    Rule(
        "batch.size",
        (),
        32,
        "as in the authors' script for attention, in the runs of docs/evidence.md and in the demo",
        ("attention-rate",),
    ),
    Rule(
        "epochs",
        (many_examples,),
        1,
        "each further epoch costs other tasks, and adds little where there are few classes",
        ("epochs", "epochs-small"),
        instead=("steps",),
    ),
    Rule(
        "epochs",
        (),
        3,
        "{examples} examples are few steps; each epoch costs other tasks, so stop earlier if the new one is learned",
        ("epochs", "epochs-small"),
        instead=("steps",),
    ),
    Rule(
        "mixture",
        (has_others, narrow),
        mixed,
        "one question with {answers} short answers: the model may learn to say nothing else. {percent} from other "
        "data, for {quadrants}{uncovered}",
        ("same-images", "hybrid", "hybrid-small", "replay"),
    ),
    Rule(
        "mixture",
        (has_others,),
        mixed,
        "{percent} from other data, for {quadrants}{uncovered}",
        ("hybrid", "hybrid-small", "replay"),
    ),
    Rule(
        "mixture",
        (),
        alone,
        "no other training data is here, which is what helps most: mix in with=DATA, 30 % or more",
        ("hybrid", "hybrid-small", "replay"),
    ),
    Rule(
        "regularise",
        (by_lora, has_others),
        lambda facts: {"kl": {"weight": 1.0, "sources": reference(facts)}},
        "holds the model near the base's answers on other data; with LoRA, L2-SP and EWC say nothing about the base",
        ("kl",),
    ),
    Rule(
        "regularise",
        (by_lora,),
        None,
        "nothing was measured to help with LoRA and no other data",
        ("kl",),
    ),
    Rule(
        "regularise",
        (has_others, fits_with("ewc")),
        lambda facts: {"ewc": {"weight": 100.0, "sources": reference(facts)}},
        "holds each weight near the base's by how much other data depends on it; costs two copies of what is trained",
        ("ewc",),
    ),
    Rule(
        "regularise",
        (fits_with("l2_sp"),),
        {"l2_sp": {"weight": 0.01}},
        "holds the weights near the base's; needs no other data, and a copy of what is trained",
        ("l2_sp",),
    ),
    Rule(
        "regularise",
        (),
        None,
        "a copy of the trained weights does not fit",
        ("l2_sp",),
    ),
    Rule(
        "batch.micro",
        (unread,),
        1,
        "the model was not read: what fits is not known",
    ),
    Rule(
        "batch.micro",
        (too_little,),
        1,
        "by the estimate not even one example fits into {device}",
    ),
    Rule(
        "batch.micro",
        (),
        micro,
        "examples at a time: {memory} by the estimate, of {device}",
    ),
    Rule(
        "gradient_checkpointing",
        (checkpointed,),
        True,
        "fits only so; takes about a third more time",
    ),
    Rule(
        "probe",
        (watches,),
        probe,
        "watches a task of each other quadrant; training ends once one is shown to have lost more than {stop:g} points",
        ("alarm",),
    ),
    Rule(
        "probe",
        (),
        None,
        "nothing to watch: no task of another quadrant has its data here",
        ("alarm",),
    ),
    Rule(
        "evaluate.tasks",
        (evaluates,),
        lambda facts: list(facts.evaluated),
        "the tasks whose data is here, each quadrant's; before a release: emt check on all of them",
    ),
    Rule(
        "evaluate.tasks",
        (),
        None,
        "no task's data is here (EMT_DATA_DIR): nothing would be noticed",
    ),
)
"""In the order in which fields are decided; later rows may ask what earlier fields became."""

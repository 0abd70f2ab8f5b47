"""What is proposed when: for each field of the recipe the first row whose conditions all hold.

A row is data: conditions, the field's value (or how it follows from the facts), the reason in a line, and the keys of
its sources. To change the advice, change a row; to change a number, change `finetune.advice.evidence`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune.advice.conditions import (
    LORA,
    Condition,
    alone,
    by_lora,
    checkpointed,
    evaluates,
    few_labels,
    fits,
    fits_with,
    has_others,
    many_examples,
    micro,
    mixed,
    narrow,
    needs_quantization,
    probe,
    ranks,
    reference,
    saves,
    small,
    tiny,
    too_little,
    trains,
    unread,
    watches,
)


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
        "attention in full is not possible here; with few labels the projector, {projector} of the weights, learns "
        "nearly as much as LoRA, and in a large model lost less",
        ("projector", "lora-small"),
    ),
    Rule(
        "train",
        (fits({"llm_attention": {"lora": LORA}}),),
        {"llm_attention": {"lora": LORA}},
        "attention in full is not possible here; by LoRA it fits. LoRA on that part alone is ours, and not measured",
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
        (fits({"llm_attention": {"lora": LORA}}, "nf4"),),
        {"llm_attention": {"lora": LORA}},
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
        ("ewc", "together"),
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
        ("alarm", "stopped"),
    ),
    Rule(
        "probe",
        (),
        None,
        "nothing to watch: no task of another quadrant has its data here",
    ),
    Rule(
        "save",
        (ranks,),
        saves,
        "keeps the checkpoint that learned most of those that lost no more than that: later steps may cost other tasks "
        "more than they add to the new one",
        ("epochs", "best"),
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

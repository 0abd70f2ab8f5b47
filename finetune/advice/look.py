"""Look at data, model and device, and give the facts to the rules: what `emt finetune --advise` does."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError, listed
from emt_tasks.datasets import catalog
from emt_tasks.tasks import registry
from finetune.advice.overlap import Known, Placement, images_by_size, place, tasks_for
from finetune.advice.sample import IMAGES, Training, at_hand, sample_training
from finetune.advice.shape import Shape, shape_of
from finetune.data.sources import is_named
from finetune.recipes.files import changed, checked, override_key
from finetune.recipes.schema import SourceEntry

if TYPE_CHECKING:
    from finetune.advice.budget import Sizes
    from finetune.advice.recipe import Proposal
    from finetune.data.conversations import TrainingExample

MODEL = "Qwen/Qwen2.5-VL-3B-Instruct"
"""The model where none is given: that of the recipes forgetting_*."""

OWN = ("data", "split", "images", "with", "model")
"""Overrides that are no fields of a recipe, and `model`."""

LENGTHS = 8
"""Examples of the other data that are looked at: how long they are decides what fits into memory."""

Progress = Callable[[str, Sequence[Any]], Any]
"""Iterates over items, and shows how far it is."""


@dataclass(frozen=True)
class Request:
    """What the user asks about: the data, other data to mix in, the model, and fields of the recipe that are given."""

    source: SourceEntry
    other: str | None
    model: str | None
    given: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """The advice: what was looked at, in lines; where each task is; the proposals; the recipe."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    placements: tuple[Placement, ...]
    proposals: tuple[Proposal, ...]
    recipe: str


def request(overrides: Sequence[str]) -> Request:
    """Return what `key=value` overrides ask about.

    Raises:
        UserError: one is no override, or there is no `data`.
    """
    fields: dict[str, Any] = {}
    for override in overrides:
        if "=" not in override:
            raise UserError(
                f"--advise: found {override!r}, expected data=…, model=… or a recipe's field: it takes no recipe"
            )
        if override_key(override) in OWN:
            fields = changed(fields, override)
    if not fields.get("data"):
        raise UserError("--advise: give the training data, as data=NAME or data=FILE (emt data list has the names)")
    source: dict[str, Any] = {name: str(fields[name]) for name in ("data", "split", "images") if fields.get(name)}
    other, model = (str(fields[name]) if fields.get(name) is not None else None for name in ("with", "model"))
    given = tuple(override for override in overrides if override_key(override) not in OWN)
    return Request(SourceEntry(**source), other, model, given)


def advise(asked: Request, *, memory: int | None = None, progress: Progress = lambda _, items: items) -> Advice:
    """Look at everything, and return the advice.

    Args:
        asked: data, model and fields.
        memory: bytes of the device; None for this machine's.
        progress: wraps what takes long.

    Raises:
        UserError: the data or the model cannot be read, or a field that was given is invalid.
    """
    training = sample_training(asked.source)
    name = asked.source.data if is_named(asked.source.data) else None
    seen_whole = training.examples[:: max(1, len(training.examples) // IMAGES)][:IMAGES]
    questions = [turn.question for turn in training.turns]
    known = Known(name, asked.source.split, questions, images_by_size(progress("reading images", seen_whole)))
    placements = tuple(place(entry, known) for entry in progress("comparing with tasks", tasks_for(name)))
    shape = shape_of(training.turns, training.total, training.classes) if training.turns else None
    # Imported here, since torch and transformers take long to load, and what is wrong with the data is known by now.
    from finetune.advice.facts import OTHERS, OWN, Facts, Other
    from finetune.advice.recipe import propose, written
    from finetune.training.memory import available, in_words

    room = available() if memory is None else memory
    whose = ", this machine's; for another device give --memory" if memory is None else ", as given"
    others = _others(asked, placements)
    sizes, problem = _sizes(asked, [seen_whole, *(other.examples for other in others.values())])
    facts = Facts(
        data=asked.source.model_dump(exclude_defaults=True),
        shape=shape,
        placements=placements,
        others=tuple(Other(one.entry.data, one.total, quadrant) for quadrant, one in others.items()),
        learned=_one_a_quadrant(placements, [OWN]).get(OWN),
        watched=tuple(_one_a_quadrant(placements, OTHERS).values()),
        evaluated=tuple(map(_lite, _at_hand(placements))),
        sizes=sizes,
        available=room,
        fields={"model": asked.model or MODEL, "output": f"runs/advised/{Path(asked.source.data).stem}"},
    )
    proposals, fields = propose(facts, asked.given)
    seen = (*_seen(training, shape, known.image_count), *_seen_model(asked, sizes), f"memory: {in_words(room)}{whose}")
    unseen = (*_unseen(training, others.values(), placements), *([problem] if problem else []))
    header = _header(asked, [*seen, *_places(placements)], unseen)
    return Advice(seen, unseen, placements, tuple(proposals), written(fields, proposals, header))


def _sizes(asked: Request, groups: Sequence[Sequence[TrainingExample]]) -> tuple[Sizes | None, str | None]:
    """Return the model's sizes, or why they are not known: only a model that nobody asked for may be missing."""
    from finetune.advice.budget import measure

    stub = checked(
        {
            "model": asked.model or MODEL,
            "train": "full",
            "mixture": {"sources": [asked.source.model_dump()]},
            "optimiser": {"learning_rate": 1e-6},
            "batch": {"size": 1, "micro": 1},
            "steps": 1,
            "output": "none",
        },
        "--advise",
    )
    try:
        return measure(stub, groups), None
    except UserError as error:
        if asked.model:
            raise
        return None, f"no model given, and {error}: neither its parts nor its memory were looked at"


def _others(asked: Request, placements: Sequence[Placement]) -> dict[str, Training]:
    """Return a few examples of the other data, by its quadrant: what the user names, else what is at hand.

    That is the training split of a task's data set, for each quadrant that the training data does not cover.
    """
    from finetune.advice.facts import OTHERS, YOURS

    if asked.other:
        quadrant = next((one.quadrant for one in placements if one.dataset == asked.other), None)
        return {quadrant or YOURS: sample_training(SourceEntry(data=asked.other), LENGTHS)}
    found: dict[str, Training] = {}
    for one in placements:
        new = one.quadrant in OTHERS and one.quadrant not in found and one.dataset != asked.source.data
        if new and catalog.get(one.dataset).split != "train" and at_hand(one.dataset, "train"):
            found[str(one.quadrant)] = sample_training(SourceEntry(data=one.dataset), LENGTHS)
    return found


def _at_hand(placements: Sequence[Placement]) -> list[Placement]:
    return [one for one in placements if at_hand(one.dataset, catalog.get(one.dataset).split)]


def _one_a_quadrant(placements: Sequence[Placement], quadrants: Sequence[str]) -> dict[str, str]:
    """Return a task at hand for each of these quadrants that has one."""
    found: dict[str, str] = {}
    for one in _at_hand(placements):
        if one.quadrant in quadrants:
            found.setdefault(str(one.quadrant), _lite(one))
    return found


def _lite(placement: Placement) -> str:
    """Return the small variant of a task, if it has one."""
    lite = f"{placement.task}_lite"
    return lite if lite in registry.entries() else placement.task


def _seen(training: Training, shape: Shape | None, images: int) -> list[str]:
    """Say what the training data looks like."""
    name = training.entry.data
    total = f"{training.total:,} examples" if training.total else "an unknown number of examples"
    if shape is None:
        return [f"data: {name}, {total}"]
    looked = f"{shape.looked_at:,} turns and {images} images looked at" if training.examples else "by the catalog"
    nearly = f", nearly always {shape.one_question!r}" if shape.one_question and shape.questions > 1 else ""
    questions = f"{shape.questions:,} question{'s' * (shape.questions > 1)}{nearly}"
    kind = "a closed set" if shape.closed else "short texts" if shape.short else "free text"
    narrow = "; narrow" if shape.narrow else ""
    return [f"data: {name}, {total} ({looked}): {questions}, {shape.answers:,} answers, {kind}{narrow}"]


def _seen_model(asked: Request, sizes: Sizes | None) -> list[str]:
    if sizes is None:
        return []
    shares = {part: 100 * size / sizes.weights for part, size in sizes.parts.items() if part != "full"}
    parts = ", ".join(f"{part} {share:.1f} %" for part, share in shares.items())
    return [f"model: {asked.model or MODEL}, {sizes.weights:,} weights: {parts}"]


def _places(placements: Sequence[Placement]) -> list[str]:
    """Say which tasks are in which quadrant."""
    found: dict[str, list[str]] = {}
    for placement in placements:
        found.setdefault(placement.quadrant or "cannot tell", []).append(placement.task)
    return [f"{quadrant}: {listed(tasks)}" for quadrant, tasks in sorted(found.items(), key=lambda one: one[0])]


def _unseen(training: Training, others: Iterable[Training], placements: Sequence[Placement]) -> list[str]:
    """Say what could not be looked at, and what is wrong with the data."""
    lines = []
    if training.bad:
        lines.append(
            f"{len(training.bad):,} sampled rows cannot be used (mixture.bad_rows=skip leaves them out); the first: "
            f"{training.bad[0]}"
        )
    for one in (training, *others):
        if not one.examples:
            named = f"{one.entry.data}:{one.entry.split}"
            lines.append(f"{named} is not on this machine: its rows and images were not looked at")
    entry = training.entry
    if is_named(entry.data) and entry.split == catalog.get(entry.data).split:
        lines.append(f"{entry.data}:{entry.split} is what its tasks evaluate on: train on another split")
    leaks = [one for one in placements if one.leaked]
    if leaks:
        shown = listed(f"{one.task} ({one.leaked})" for one in leaks)
        lines.append(f"training images that are evaluated on: {shown}; see emt data check")
    away = list(dict.fromkeys(one.dataset for one in placements if one not in _at_hand(placements)))
    if away:
        lines.append(f"not on this machine, so neither watched nor evaluated: {listed(away)} (emt data list)")
    return lines


def _header(asked: Request, seen: Sequence[str], unseen: Sequence[str]) -> list[str]:
    """Return the lines at the top of the recipe."""
    words: Mapping[str, str | None] = {
        "data": asked.source.data,
        "split": asked.source.split if asked.source.split != "train" else None,
        "images": asked.source.images,
        "with": asked.other,
        "model": asked.model,
    }
    command = shlex.join([f"{key}={value}" for key, value in words.items() if value is not None] + list(asked.given))
    return [
        f"Advice for {asked.source.data}, from what others have measured; nothing was trained.",
        "",
        f"Made by: emt finetune --advise {command}",
        "Run:     emt finetune THIS-FILE --dry-run, then without --dry-run",
        "",
        "Looked at:",
        *(f"- {line}" for line in seen),
        *(["Not looked at, or wrong:"] if unseen else []),
        *(f"- {line}" for line in unseen),
    ]

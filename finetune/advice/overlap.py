"""Which quadrant of the evaluation matrix each task is in for some training data: are its texts and images alike?

Texts are compared as texts. Images are the same where the catalog says that two data sets have the same origin, or
where a sample of both shares one by its pixels. Where it shares none they count as others: that is what can be seen,
and other photos of the same things would not be noticed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from rapidfuzz import fuzz, process

from emt_core.errors import UserError
from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks import registry
from emt_tasks.tasks.registry import Entry
from finetune.advice.sample import at_hand, drawn, sampled_columns
from finetune.advice.shape import plain
from finetune.data.conversations import TrainingExample
from finetune.data.images import decode, fingerprint

ALIKE = 90
"""The similarity (normalised indel, 0 to 100) from which two questions are alike: they differ in a short word."""

SHARE = 0.1
"""The share of training questions that are alike a task's from which the task's text is in distribution."""

DISTINCT = 500
"""Distinct questions that are compared at most, on either side."""

EVALUATED = 2000
"""Rows of each file of an evaluation data set that training images are compared with at most."""

VARIANTS = ("_lite", "_closed", "_distractor")
"""Suffixes of tasks that ask about the same documents as another."""

_IN, _OUT = "id", "ood"


@dataclass(frozen=True, slots=True)
class Half:
    """One half of a quadrant: in distribution, out of it, or None where nothing could be compared; and why."""

    inside: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Placement:
    """A task's place for the training data; `leaked` of the sampled training images are in what it evaluates on."""

    task: str
    dataset: str
    text: Half
    image: Half
    leaked: int = 0

    @property
    def quadrant(self) -> str | None:
        """The quadrant as the matrix names it; None if one half cannot be told."""
        if self.text.inside is None or self.image.inside is None:
            return None
        text, image = (_IN if half.inside else _OUT for half in (self.text, self.image))
        return f"{text}t_{image}i"


@dataclass(frozen=True)
class Known:
    """What is known of training data: its name in the catalog and split, sampled questions, images by size."""

    name: str | None
    split: str
    questions: Sequence[str]
    images: Mapping[tuple[int, int], set[bytes]]

    @property
    def image_count(self) -> int:
        """The number of distinct images."""
        return sum(map(len, self.images.values()))


def tasks_for(name: str | None) -> list[Entry]:
    """Return the tasks to place: those that declare a quadrant first, without variants that ask the same.

    The demo's generated data is only asked about where it is also trained on.
    """
    generated = name is not None and catalog.get(name).generator is not None
    found = [
        entry
        for entry in registry.entries().values()
        if entry.dataset is not None
        and not entry.name.endswith(VARIANTS)
        and (catalog.get(entry.dataset).generator is not None) == generated
    ]
    return sorted(found, key=lambda entry: (entry.quadrant is None, entry.name))


def images_by_size(examples: Iterable[TrainingExample]) -> dict[tuple[int, int], set[bytes]]:
    """Return the fingerprints of examples' images, by width and height; those that cannot be read are left out."""
    found: dict[tuple[int, int], set[bytes]] = {}
    for example in examples:
        try:
            for image in example.load_images():
                found.setdefault(image.size, set()).add(fingerprint(image))
        except UserError:  # training will refuse the row, and name it
            continue
    return found


def place(entry: Entry, known: Known) -> Placement:
    """Return the place of a task that has a data set."""
    dataset = catalog.get(str(entry.dataset))
    splits = (dataset.split,) if known.name else (dataset.split, "train")  # of a named one, the name says what it is
    shared = {split: _shared(dataset, split, known.images) for split in dict.fromkeys(splits)}
    found = {split: one for split, one in shared.items() if one is not None}
    evaluated = found.get(dataset.split)
    leaked = evaluated.images if evaluated else 0
    return Placement(entry.name, dataset.name, _text(entry, known), _image(dataset, found, known), leaked)


def _text(entry: Entry, known: Known) -> Half:
    if not known.questions:
        return _declared(entry, known.name) or Half(None, "the training questions are not here")
    prompts = prompts_of(entry)
    if not prompts:
        return _declared(entry, known.name) or Half(None, f"{entry.dataset} is not here")
    share = share_alike(known.questions, prompts)
    return Half(share >= SHARE, f"{100 * share:.0f} % alike")


def _declared(entry: Entry, trained: str | None) -> Half | None:
    """Return what a group that has both this task and one on the training data says of the task's text.

    A group's quadrants hold for a model that is trained on the data set of its `idt_idi` task.
    """
    if trained is None or entry.quadrant is None:
        return None
    for group in registry.entries().values():
        members = registry.tasks(group.members)
        own = any(one.dataset == trained and one.quadrant == "idt_idi" for one in members)
        if own and entry.name in {one.name for one in members}:
            return Half(entry.quadrant.startswith("idt"), f"as {group.name} has it")
    return None


def _image(dataset: Dataset, shared: Mapping[str, Shared], known: Known) -> Half:
    origin = catalog.get(known.name).origin if known.name is not None else None
    if origin == dataset.origin:
        return Half(True, f"both from {origin}")
    counted = " and ".join(f"{one.read:,} of {one.rows:,} of {dataset.name}:{split}" for split, one in shared.items())
    most = max((one.images for one in shared.values()), default=0)
    if most:
        return Half(True, f"{most} of {known.image_count} sampled are among {counted}")
    if origin is not None:
        return Half(False, f"from {dataset.origin}")
    if not known.image_count:
        return Half(False, "the training data has none")
    if not shared:
        return Half(None, f"{dataset.name} is not here")
    return Half(False, f"none of {known.image_count} sampled is among {counted}")


def share_alike(questions: Sequence[str], prompts: Sequence[str]) -> float:
    """Return the share of questions that are alike a prompt, as a whole or in what is asked first.

    What is asked first ends with the question mark: an instruction may follow, such as "Answer with a single word".
    """
    asked, prompted = (_distinct(texts) for texts in (questions, prompts))
    near: set[str] = set()
    for cut in (str, _first):
        scores = process.cdist(
            [cut(text).casefold() for text in asked],
            [cut(text).casefold() for text in prompted],
            scorer=fuzz.ratio,
            score_cutoff=ALIKE,
        )
        near |= {text for text, best in zip(asked, scores.max(axis=1), strict=True) if best >= ALIKE}
    compared = [text for text in map(plain, questions) if text in set(asked)]
    return sum(text in near for text in compared) / len(compared)


def _distinct(texts: Sequence[str]) -> list[str]:
    found = sorted(set(map(plain, texts)))
    return [found[index] for index in drawn(len(found), DISTINCT)]


def prompts_of(entry: Entry) -> list[str]:
    """Return a task's prompts, or a sample of them; none if its questions are not on this machine."""
    dataset = catalog.get(str(entry.dataset))
    template = str(registry.load(entry.file)["doc_to_text"])
    if "{{" not in template:
        return [template]
    file = at_hand(dataset.name, dataset.split)
    if file is None or dataset.columns.question is None:
        return []
    table, _ = sampled_columns(file, EVALUATED, [dataset.columns.question])
    values = table.column(0).to_pylist()
    flat = [text for value in values for text in (value if isinstance(value, list) else [value])]
    return [_filled(template, str(text)) for text in flat[:EVALUATED]]


def _filled(template: str, question: str) -> str:
    """Put a question into a task's template, which names one field."""
    before, _, rest = template.partition("{{")
    return before + question + rest.partition("}}")[2]


def _first(text: str) -> str:
    head, mark, _ = text.partition("?")
    return head + mark


@dataclass(frozen=True, slots=True)
class Shared:
    """How many sampled training images are in a sample of a file: distinct ones, the sample's rows, all rows."""

    images: int
    read: int
    rows: int


def _shared(dataset: Dataset, split: str, images: Mapping[tuple[int, int], set[bytes]]) -> Shared | None:
    """Compare training images with a split's; None without its file, or without images.

    Only images of a size that training images have are decoded.
    """
    file = at_hand(dataset.name, split) if images else None
    if file is None:
        return None
    table, rows = sampled_columns(file, EVALUATED, [dataset.columns.image])
    marks = [_mark(value, images) for value in table.column(0).to_pylist()]
    return Shared(len({mark for mark in marks if mark is not None}), len(marks), rows)


def _mark(value: Any, images: Mapping[tuple[int, int], set[bytes]]) -> bytes | None:
    """Return an image's fingerprint if a training image has it; None for an unreadable one, too."""
    try:
        with Image.open(io.BytesIO(value["bytes"])) as opened:
            if opened.size not in images:
                return None
        image = decode(value, "")
    except (OSError, TypeError, KeyError, UserError):
        return None
    mark = fingerprint(image)
    return mark if mark in images.get(image.size, ()) else None

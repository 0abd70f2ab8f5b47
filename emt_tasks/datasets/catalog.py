"""One row per data set: where it comes from, what its columns contain, how it is judged, prepared and trained on.

Tasks, `emt data`, `emt doctor`, the encoder and fine-tuning read these rows. To add a data set, add a row to
`_OURS`; users add theirs in a `datasets.yaml` in their own folder: see `emt_tasks.datasets.include`.
"""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from emt_core.errors import UserError
from emt_tasks.datasets import include
from judges import Vocabulary

DATA_DIR_VARIABLE = "EMT_DATA_DIR"
Kind = Literal["classification", "multiple_choice", "short_answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of a data set's columns, by role.

    Attributes:
        image: the image.
        label: the class (classification), or the letter of the right option (multiple choice).
        question: the question; for multiple choice with its options, one per line: "A. cat".
        answer: the short answer. If `question` and `answer` are lists, each row asks several questions.
        class_name: the name of what the image shows, if the data set gives it beside a question.
        cluster: equal in rows about one image, which are not independent of each other.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    image: str = "image"
    label: str | None = None
    question: str | None = None
    answer: str | None = None
    class_name: str | None = None
    cluster: str | None = None

    def roles(self) -> dict[str, str]:
        """The columns that exist, by role."""
        return {role.name: name for role in fields(self) if (name := getattr(self, role.name)) is not None}


ROLES: Mapping[Kind, tuple[str, ...]] = {
    "classification": ("image", "label"),
    "multiple_choice": ("image", "question", "label"),
    "short_answer": ("image", "question", "answer"),
}
"""The roles that each kind of data set requires."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """One data set; compared and hashed by identity.

    Attributes:
        name: its folder under $EMT_DATA_DIR.
        kind: how its answers are judged.
        columns: their names by role.
        vocabulary: the classes, for classification, or the name of one of our vocabularies.
        split: the split that the tasks evaluate on.
        rows: how many rows each published split has.
        asks_per_row: how many questions a row asks, on average.
        hub: its repository on the hub, or a folder that `datasets.load_dataset` reads; None if there is neither.
        revision: branch, tag or commit of that repository; None for the newest.
        files: the pattern of one split's files there, so that no other split is downloaded.
        home: where to find it if it is not on the hub.
        licence: the terms that its publisher states; empty where none are known.
        accept: the page where those terms are accepted before use; empty where none need to be.
        aliases: other names it goes by, letters and digits only.
        images_of: the data set that the images are taken from, if they are another's.
        preparation: a function of the row, as "module:name", that returns how it is read from disk (an
            `emt_tasks.datasets.prepare.layout.Preparation`); None for the layouts that any data set may have.
        generator: a function of name and split, as "module:name", that generates the data.
        folder: a user's folder with the data as NAME/SPLIT.parquet.
        question: a row's question in training; `{field}` stands for a column or a role. With `asks_as`, the question
            of that task instead.
        answer: a row's answer in training.
        asks_as: a task.
        encoder_prompt: the phrase for a class given to a zero-shot encoder (EMT, appendix B.2).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    kind: Kind
    columns: Columns
    vocabulary: str | Vocabulary | None = None
    split: str = "test"
    rows: Mapping[str, int] = field(default_factory=dict)
    asks_per_row: int = 1
    hub: str | None = None
    revision: str | None = None
    files: str = "data/{split}-*"
    home: str = ""
    licence: str = ""
    accept: str = ""
    aliases: tuple[str, ...] = ()
    images_of: str | None = None
    preparation: str | None = None
    generator: str | None = None
    folder: Path | None = None
    question: str = "{question}"
    answer: str = "{answer}"
    asks_as: str | None = None
    encoder_prompt: str = "a photo of a {label}."

    def __post_init__(self) -> None:
        missing = [role for role in ROLES[self.kind] if role not in self.columns.roles()]
        if missing:
            raise UserError(
                f"data set {self.name!r}: a {self.kind} data set needs a column for {' and '.join(missing)}"
            )
        if (self.vocabulary is None) == (self.kind == "classification"):
            expected = "a vocabulary" if self.kind == "classification" else "no vocabulary"
            raise UserError(f"data set {self.name!r}: a {self.kind} data set has {expected}")

    @property
    def gated(self) -> bool:
        """Whether the hub itself asks for the terms, and so knows who accepted them."""
        return self.hub is not None and self.accept.endswith(f"/{self.hub}")

    @property
    def origin(self) -> str:
        """The data set that the images are taken from; its own name if they are not another's."""
        return self.images_of or self.name

    def local_file(self, split: str) -> Path | None:
        """The split's parquet file, whether or not it exists: under $EMT_DATA_DIR, else generated or the user's.

        None if there is none of the three.
        """
        root = os.environ.get(DATA_DIR_VARIABLE)
        given = Path(root).expanduser() / self.name / f"{split}.parquet" if root else None
        if given is not None and given.is_file():
            return given
        if self.generator is not None:
            made: Path = pkgutil.resolve_name(self.generator)(self.name, split)
            return made
        own = self.folder / self.name / f"{split}.parquet" if self.folder else None
        return own if own is not None and (own.is_file() or given is None) else given

    def load_arguments(self, split: str) -> dict[str, Any]:
        """The arguments for `datasets.load_dataset` that load only this split.

        Raises:
            UserError: the data set is not on the hub and its parquet file does not exist.
        """
        local = self.local_file(split)
        if local is not None and local.is_file():
            return {"path": "parquet", "data_files": {split: str(local.resolve())}}
        if self.hub is None:
            raise UserError(self.advice(split))
        # The hub's metadata counts all splits: loading one of them fails its checks.
        files = {split: self.files.format(split=split)}
        revision = {"revision": self.revision} if self.revision else {}
        return {"path": self.hub, "data_files": files, "verification_mode": "no_checks"} | revision

    def advice(self, split: str, obstacle: str = "not reachable") -> str:
        """One line that says what to run if the split is missing; `obstacle` is why the hub cannot be used."""
        file = self.local_file(split)
        found = f"no {file}" if file else f"{DATA_DIR_VARIABLE} is not set"
        where = f"hub {self.hub}: {obstacle}" if self.hub else f"not on the hub, see {self.home}"
        elsewhere = f" ({where})" if self.hub or self.home else ""
        return f"{self.name}: {found}{elsewhere}; run: emt data prepare {self.name} --from FOLDER"

    def remedy(self, obstacle: str | None = None) -> str:
        """What to do about the data set's absence; `obstacle` is why the hub does not give it."""
        copy = f"emt data prepare {self.name} --from FOLDER"
        if self.hub is None:
            licence = f"accept the terms of its images at {self.accept}, then" if self.accept else "run"
            return f"not on the hub, see {self.home}; {licence}: {copy}"
        if self.gated:
            return f"accept its terms at {self.accept}, then: hf auth login; or from a copy: {copy}"
        if self.accept:
            return f"accept the terms of its images at {self.accept}, then: emt data get {self.name}"
        return f"hub {self.hub}: {obstacle or 'not asked'}; run: emt data get {self.name}, or {copy}"


# EMT's fine-tuning format (arXiv 2309.10313, appendix D.1) for CIFAR-10; the paper says that the others are built
# the same way. MNIST's is ours, after the output "The airplane is 8", quoted from a model fine-tuned on MNIST.
_WHICH_OBJECT, _OBJECT = "What is the object in the image? <image>", "The object is a(n) {label}."
_WHICH_NUMBER, _NUMBER = "What is the number in the image? <image>", "The number is {label}."
_WIKI = Columns(label="label", question="text", class_name="classname", cluster="image_path")
_SEVERAL = Columns(question="questions", answer="answers", cluster="image_id")
_DEMO = "emt_tasks.demo:cached"
_IMAGENET = "ImageNet's terms of access: research and education, not commercial"
_IMAGENET_PAGE = "huggingface.co/datasets/ILSVRC/imagenet-1k"

_OURS = (
    Dataset(
        name="mnist",
        kind="classification",
        columns=Columns(label="label"),
        vocabulary="mnist",
        rows={"train": 60_000, "test": 10_000},
        hub="ylecun/mnist",
        files="mnist/{split}-*",
        preparation="emt_tasks.datasets.prepare.mnist:preparation",
        encoder_prompt='a photo of the number: "{label}".',
        question=_WHICH_NUMBER,
        answer=_NUMBER,
    ),
    Dataset(
        name="cifar10",
        kind="classification",
        columns=Columns(image="img", label="label"),
        vocabulary="cifar10",
        rows={"train": 50_000, "test": 10_000},
        hub="uoft-cs/cifar10",
        files="plain_text/{split}-*",
        preparation="emt_tasks.datasets.prepare.cifar:cifar10",
        question=_WHICH_OBJECT,
        answer=_OBJECT,
    ),
    Dataset(
        name="cifar100",
        kind="classification",
        columns=Columns(image="img", label="fine_label"),
        vocabulary="cifar100",
        rows={"train": 50_000, "test": 10_000},
        hub="uoft-cs/cifar100",
        files="cifar100/{split}-*",
        preparation="emt_tasks.datasets.prepare.cifar:cifar100",
        question=_WHICH_OBJECT,
        answer=_OBJECT,
    ),
    # EMT §3.1 holds out 10,000 of the 60,000 training images, as does this repository's validation split.
    Dataset(
        name="miniimagenet",
        kind="classification",
        columns=Columns(label="label"),
        images_of="imagenet1k",
        vocabulary="miniimagenet",
        split="validation",
        rows={"train": 50_000, "validation": 10_000, "test": 5_000},
        hub="timm/mini-imagenet",
        licence=_IMAGENET,
        accept=_IMAGENET_PAGE,
        preparation="emt_tasks.datasets.prepare.imagenet:miniimagenet",
        question=_WHICH_OBJECT,
        answer=_OBJECT,
    ),
    Dataset(
        name="imagenet1k",
        kind="classification",
        columns=Columns(label="label"),
        vocabulary="imagenet1k",
        split="validation",
        rows={"validation": 50_000},
        hub="ILSVRC/imagenet-1k",
        licence=_IMAGENET,
        accept=_IMAGENET_PAGE,
        aliases=("ilsvrc2012", "imagenet", "imagenet2012"),
        preparation="emt_tasks.datasets.prepare.imagenet:imagenet1k",
        asks_as="imagenet_vqa",
        answer="{label}",
    ),
    Dataset(
        name="flowers102",
        kind="classification",
        columns=Columns(label="label"),
        vocabulary="flowers102",
        rows={"train": 1_020, "validation": 1_020, "test": 6_149},
        hub="dpdl-benchmark/oxford_flowers102",
        aliases=("102flowers", "flowers"),
        preparation="emt_tasks.datasets.prepare.flowers102:preparation",
        asks_as="flowers102",
        answer="{label}",
    ),
    Dataset(
        name="imagewikiqa",
        kind="multiple_choice",
        columns=_WIKI,
        images_of="imagenet1k",
        rows={"test": 2_000},
        home="github.com/yuhui-zh15/VLMClassifier",
        licence=_IMAGENET,
        accept=_IMAGENET_PAGE,
        preparation="emt_tasks.datasets.prepare.imagewikiqa:preparation",
        asks_as="imagewikiqa",
        answer="{label}",
    ),
    Dataset(
        name="ocr_vqa",
        kind="short_answer",
        columns=_SEVERAL,
        rows={"train": 166_022, "validation": 20_731, "test": 20_796},
        asks_per_row=5,
        hub="howard-hou/OCR-VQA",
        preparation="emt_tasks.datasets.prepare.ocr_vqa:preparation",
        asks_as="ocr_vqa",
    ),
    Dataset(
        name="demo_digits",
        kind="classification",
        columns=Columns(label="label"),
        vocabulary="demo_digits",
        generator=_DEMO,
        asks_as="demo_digits",
        answer="{label}",
    ),
    Dataset(
        name="demo_shapes",
        kind="classification",
        columns=Columns(label="label"),
        vocabulary="demo_shapes",
        generator=_DEMO,
        asks_as="demo_shapes",
        answer="{label}",
    ),
    Dataset(
        name="demo_digits_qa",
        kind="multiple_choice",
        columns=_WIKI,
        images_of="demo_digits",
        generator=_DEMO,
        asks_as="demo_digits_qa",
        answer="{label}",
    ),
    Dataset(
        name="demo_shapes_qa",
        kind="short_answer",
        columns=_SEVERAL,
        images_of="demo_shapes",
        generator=_DEMO,
        asks_as="demo_shapes_qa",
    ),
)

_BY_NAME: Mapping[str, Dataset] = {row.name: row for row in _OURS}
# What a task's name may have beside its data set's.
_AFFIXES = frozenset(
    {"closed", "distractor", "emt", "full", "ilsvrc", "lite", "oxford", "test", "val", "validation", "vqa"}
)


def datasets() -> Mapping[str, Dataset]:
    """Return all rows by name: ours, then those of the user's folders.

    Raises:
        UserError: a user's row is invalid, or has the name of another.
    """
    folders = include.folders()
    return _BY_NAME if not folders else _with(folders, include.generation)


def get(name: str) -> Dataset:
    """Return the row of that name.

    Raises:
        UserError: there is none.
    """
    rows = datasets()
    if name not in rows:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(rows)}")
    return rows[name]


def find(name: str) -> Dataset | None:
    """Return the row that the name of a task or a repository refers to (emt_cifar10_lite, timm/mini-imagenet)."""
    rows = datasets()
    if name in rows:
        return rows[name]
    plain = _plain(name.rpartition("/")[2])
    return next((row for row in rows.values() if plain and plain in (_plain(row.name), *row.aliases)), None)


def _plain(name: str) -> str:
    return "".join(word for word in re.split(r"[^a-z0-9]+", name.lower()) if word not in _AFFIXES)


@cache
def _with(folders: tuple[Path, ...], _generation: int) -> Mapping[str, Dataset]:
    rows = dict(_BY_NAME)
    for folder in folders:
        for row in include.read(folder):
            if row.name in rows:
                raise UserError(f"{folder}: data set {row.name!r} is already in the catalog; give yours another name")
            rows[row.name] = row
    return rows

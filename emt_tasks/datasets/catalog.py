"""Where each data set comes from: a parquet file under $EMT_DATA_DIR, else the hub; the demo's are made on the spot.

`SOURCES` is the one list of data sets; tasks, `emt data` and training all read it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emt_core.errors import UserError

DATA_DIR_VARIABLE = "EMT_DATA_DIR"
Kind = Literal["classification", "multiple_choice", "short_answer"]
# EMT's fine-tuning format (arXiv 2309.10313, appendix D.1) for CIFAR-10; the paper says that the others are built
# alike. MNIST's is ours, after the output "The airplane is 8" that the paper quotes of a model fine-tuned on MNIST.
_OBJECT = ("What is the object in the image? <image>", "The object is a(n) {label}.")
_NUMBER = ("What is the number in the image? <image>", "The number is {label}.")


@dataclass(frozen=True)
class Source:
    """One data set.

    `name` is its folder under $EMT_DATA_DIR; `hub` its repository, None where it is published elsewhere only, and
    `files` the pattern of one split's files there, so that no other split is downloaded. `columns` are the ones
    that the tasks read, the image first; `vocabulary` names the classes of a classification data set, whose second
    column holds the label. `kind` says how its answers are judged. In training a row asks `question` and is answered
    by `answer`, where `{field}` stands for a value of the row; without a `question` it asks what `asks_as`, one of
    its tasks, does.
    """

    name: str
    columns: tuple[str, ...]
    evaluation_split: str
    hub: str | None = None
    files: str = "data/{split}-*"
    home: str = ""
    vocabulary: str | None = None
    kind: Kind = "classification"
    question: str = "{question}"
    answer: str = "{answer}"
    asks_as: str | None = None

    @property
    def image(self) -> str:
        """The column that holds the image."""
        return self.columns[0]

    @property
    def label(self) -> str:
        """The column that holds a classification data set's label."""
        return self.columns[1]

    def local_file(self, split: str) -> Path | None:
        """The split's parquet file under $EMT_DATA_DIR, whether or not it exists; None where that is not set."""
        root = os.environ.get(DATA_DIR_VARIABLE)
        return Path(root).expanduser() / self.name / f"{split}.parquet" if root else None

    def load_arguments(self, split: str) -> dict[str, Any]:
        """The arguments for `datasets.load_dataset` that load this split and no other.

        Raises:
            UserError: the data set is on no hub and its parquet file does not exist.
        """
        local = self.local_file(split)
        if local is not None and local.is_file():
            return {"path": "parquet", "data_files": {split: str(local.resolve())}}
        if self.hub is None:
            raise UserError(self.advice(split))
        # The hub's metadata counts all splits: loading one of them fails its checks.
        files = {split: self.files.format(split=split)}
        return {"path": self.hub, "data_files": files, "verification_mode": "no_checks"}

    def advice(self, split: str, obstacle: str = "not reachable") -> str:
        """One line that says what to run where the split cannot be had; `obstacle` is what keeps the hub away."""
        file = self.local_file(split)
        found = f"no {file}" if file else f"{DATA_DIR_VARIABLE} is not set"
        where = f"hub {self.hub}: {obstacle}" if self.hub else f"not on the hub, see {self.home}"
        return f"{self.name}: {found} ({where}); run: emt data prepare {self.name} --from FOLDER"


@dataclass(frozen=True)
class GeneratedSource(Source):
    """One data set of the demo, written into the user's cache folder on first use."""

    def local_file(self, split: str) -> Path | None:
        """The split's parquet file under $EMT_DATA_DIR where it exists, else the one in the cache folder."""
        given = super().local_file(split)
        if given is not None and given.is_file():
            return given
        from emt_tasks.demo import cached

        return cached(self.name, split)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "mnist",
            ("image", "label"),
            "test",
            "ylecun/mnist",
            "mnist/{split}-*",
            vocabulary="mnist",
            question=_NUMBER[0],
            answer=_NUMBER[1],
        ),
        Source(
            "cifar10",
            ("img", "label"),
            "test",
            "uoft-cs/cifar10",
            "plain_text/{split}-*",
            vocabulary="cifar10",
            question=_OBJECT[0],
            answer=_OBJECT[1],
        ),
        Source(
            "cifar100",
            ("img", "fine_label"),
            "test",
            "uoft-cs/cifar100",
            "cifar100/{split}-*",
            vocabulary="cifar100",
            question=_OBJECT[0],
            answer=_OBJECT[1],
        ),
        # EMT §3.1 holds 10,000 of the 60,000 training images out; so does this repository's validation split.
        Source(
            "miniimagenet",
            ("image", "label"),
            "validation",
            "timm/mini-imagenet",
            vocabulary="miniimagenet",
            question=_OBJECT[0],
            answer=_OBJECT[1],
        ),
        Source(
            "imagenet1k",
            ("image", "label"),
            "validation",
            "ILSVRC/imagenet-1k",
            vocabulary="imagenet1k",
            answer="{label}",
            asks_as="imagenet_vqa",
        ),
        Source(
            "flowers102",
            ("image", "label"),
            "test",
            "dpdl-benchmark/oxford_flowers102",
            vocabulary="flowers102",
            answer="{label}",
            asks_as="flowers102",
        ),
        Source(
            "imagewikiqa",
            ("image", "image_path", "text", "label", "classname"),
            "test",
            home="github.com/yuhui-zh15/VLMClassifier",
            kind="multiple_choice",
            answer="{label}",
            asks_as="imagewikiqa",
        ),
        Source(
            "ocr_vqa",
            ("image", "image_id", "questions", "answers"),
            "test",
            "howard-hou/OCR-VQA",
            kind="short_answer",
            asks_as="ocr_vqa",
        ),
        GeneratedSource("demo_digits", ("image", "label"), "test", vocabulary="demo_digits"),
        GeneratedSource("demo_shapes", ("image", "label"), "test", vocabulary="demo_shapes"),
        GeneratedSource(
            "demo_digits_qa", ("image", "image_path", "text", "label", "classname"), "test", kind="multiple_choice"
        ),
        GeneratedSource("demo_shapes_qa", ("image", "image_id", "questions", "answers"), "test", kind="short_answer"),
    )
}


def source(name: str) -> Source:
    """Return the source of that name.

    Raises:
        UserError: there is none.
    """
    if name not in SOURCES:
        raise UserError(f"data set {name!r} is not known; choose one of {', '.join(SOURCES)}")
    return SOURCES[name]


def register(source: Source) -> None:
    """Add a data set to the list: from then on its hooks, checks and training examples are there.

    Raises:
        UserError: the name is taken.
    """
    if source.name in SOURCES:
        raise UserError(f"data set {source.name!r} is in the catalog already; give the new one another name")
    SOURCES[source.name] = source

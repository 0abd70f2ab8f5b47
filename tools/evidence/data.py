"""What the evidence is measured on: test images of the data sets, and questions about them."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tools.small_vlm import questions
from tools.small_vlm.questions import Row, Thing
from tools.wordnet import WordNet

DOCUMENTS = 400
"""Of each set of questions: enough to tell a change of five points."""

THINGS = "evidence_things"
"""ImageNet's images by the sort of thing, those that the alignment asks about in `train` and the others in `test`."""

_TASKS = Path(__file__).parent / "tasks"
Ask = Callable[[Thing, random.Random], Row | None]


def sets(work: Path) -> Path:
    """The folder for $EMT_DATA_DIR."""
    return (work / "evidence" / "data").resolve()


def tasks(work: Path) -> Path:
    """The folder for $EMT_INCLUDE."""
    return (work / "evidence" / "tasks").resolve()


def prepare(work: Path, data: Path, large: Path) -> None:
    """Lay out data sets and questions.

    Args:
        work: where they go.
        data: has test images of CIFAR-10 and MNIST, and ImageNet.
        large: has more training images of CIFAR-10 and MNIST.
    """
    into, asked_in = sets(work), tasks(work)
    for name in ("cifar10", "mnist"):
        _link(large / name / "train.parquet", into / name / "train.parquet")
        _link(data / name / "test.parquet", into / name / "test.parquet")
    for name, split in (("imagenet1k", "validation"), ("imagewikiqa", "test")):
        _sample(data / name / f"{split}.parquet", into / name / f"{split}.parquet")
    shutil.copytree(_TASKS, asked_in, dirs_exist_ok=True)
    wordnet = WordNet()
    cifar10 = _labelled(into / "cifar10" / "test.parquet", "cifar10", "img")
    imagenet = _labelled(data / "imagenet1k" / "validation.parquet", "imagenet1k", "image")
    for split, half in (("train", imagenet[::2]), ("test", imagenet[1::2])):
        known = _sorted(half, wordnet)
        _write(asked_in / THINGS / f"{split}.parquet", [(image, {"label": thing.name}) for image, thing in known])
    asked: dict[str, tuple[Sequence[tuple[Any, Thing]], Ask]] = {
        "evidence_choices": (cifar10, questions.which),
        "evidence_kinds": (cifar10, lambda thing, rng: questions.which_kind(thing, wordnet, rng)),
        "evidence_things_choices": (known, questions.which),
        "evidence_shapes_choices": (_shapes(), questions.which),
    }
    for task, (pairs, ask) in asked.items():
        rng = random.Random(1)  # the alignment's are others: the options come in another order
        rows = ((image, thing, ask(thing, rng)) for image, thing in pairs[:DOCUMENTS])
        _write(asked_in / task / "test.parquet", [
            (image, {"question": row["question"], "label": row["letter"], "name": thing.name})
            for image, thing, row in rows if row is not None
        ])  # fmt: skip


def _labelled(file: Path, vocabulary: str, column: str) -> list[tuple[Any, Thing]]:
    """Return a table's images, each with its label."""
    import pyarrow.parquet as pq

    from emt_tasks.datasets import vocabularies

    labels = vocabularies.load(vocabulary).labels
    names = [label.name for label in labels]
    table = pq.read_table(file)

    def thing(label: int) -> Thing:
        others = tuple(name for name in names if name != names[label])
        return Thing("", names[label], labels[label].wnid or "", others)

    pairs = zip(table[column].to_pylist(), table["label"].to_pylist(), strict=True)
    return [(image, thing(label)) for image, label in pairs]


def _sorted(pairs: Sequence[tuple[Any, Thing]], wordnet: WordNet) -> list[tuple[Any, Thing]]:
    """Return the images of things that are of some sort, named by it."""
    found = []
    for image, thing in pairs:
        found += [(image, by_sort) for by_sort in questions.sorted_things([thing], wordnet)]
    return found


def _shapes() -> list[tuple[Any, Thing]]:
    """Return the test images of drawn shapes."""
    from emt_tasks.datasets import catalog

    (file,) = catalog.get("demo_shapes").load_arguments("test")["data_files"].values()
    return _labelled(Path(file), "demo_shapes", "image")


def _write(file: Path, rows: Sequence[tuple[Any, dict[str, str]]]) -> None:
    """Write images with texts as a table, unless it is there."""
    if file.is_file():
        return
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageColumn

    texts = rows[0][1]
    features = Features({"image": ImageColumn(), **dict.fromkeys(texts, Value("string"))})
    columns = {"image": [image for image, _ in rows], **{name: [row[name] for _, row in rows] for name in texts}}
    file.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=features).to_parquet(file)


def _link(source: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(source.resolve())


def _sample(source: Path, file: Path) -> None:
    """Write some of a table's rows, the same each time, unless they are there."""
    if file.is_file():
        return
    from datasets import Dataset

    table = Dataset.from_parquet(str(source), cache_dir=str(file.parent / "cache"))
    file.parent.mkdir(parents=True, exist_ok=True)
    table.shuffle(seed=0).select(range(min(DOCUMENTS, len(table)))).to_parquet(file)


def open_image(stored: dict[str, Any]) -> Image.Image:
    """Return an image as a table stores it."""
    return Image.open(io.BytesIO(stored["bytes"])).convert("RGB")

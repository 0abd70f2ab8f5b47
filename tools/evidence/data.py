"""What the evidence is measured on: test images of the data sets, and lettered questions about them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emt_tasks.datasets import vocabularies
from tools.small_vlm import questions
from tools.small_vlm.questions import Row, Thing
from tools.wordnet import WordNet

DOCUMENTS = 400
"""Of each set of questions, and of ImageNet: enough to tell a change of five points."""

_PREFIX = {"cifar10": "", "imagenet1k": "imagenet_"}
_TASKS = Path(__file__).parent / "tasks"


def prepare(work: Path, data: Path, large: Path) -> tuple[Path, Path]:
    """Lay out data sets and questions; return the folders for $EMT_DATA_DIR and $EMT_INCLUDE.

    Args:
        work: where they go.
        data: has test images of CIFAR-10 and MNIST, and ImageNet.
        large: has more training images of CIFAR-10 and MNIST.
    """
    import pyarrow.parquet as pq

    sets = work / "evidence" / "data"
    for name in ("cifar10", "mnist"):
        _link(large / name / "train.parquet", sets / name / "train.parquet")
        _link(data / name / "test.parquet", sets / name / "test.parquet")
    _sample(data / "imagenet1k" / "validation.parquet", sets / "imagenet1k" / "validation.parquet")
    _sample(data / "imagewikiqa" / "test.parquet", sets / "imagewikiqa" / "test.parquet")
    tasks = work / "evidence" / "tasks"
    shutil.copytree(_TASKS, tasks, dirs_exist_ok=True)
    wordnet = WordNet()
    for data_set, file, column in (("cifar10", "test", "img"), ("imagenet1k", "validation", "image")):
        table = pq.read_table(sets / data_set / f"{file}.parquet")
        images, labels = table[column].to_pylist(), table["label"].to_pylist()
        for task, made in _questions(data_set, labels, wordnet).items():
            _write(tasks / task / "test.parquet", images, made)
    return sets.resolve(), tasks.resolve()


def _questions(data_set: str, labels: Sequence[int], wordnet: WordNet) -> dict[str, list[tuple[int, str, str, str]]]:
    """Return each task's questions: the image's number, the question, the right letter, and the class name."""
    known = vocabularies.load(data_set).labels
    names = [label.name for label in known]
    things = [
        Thing("", names[label], str(known[label].wnid), tuple(other for other in names if other != names[label]))
        for label in labels[:DOCUMENTS]
    ]
    asks: dict[str, Callable[[Thing, random.Random], Row | None]]
    asks = {f"evidence_{_PREFIX[data_set]}choices": questions.which}
    if data_set == "cifar10":
        asks["evidence_kinds"] = lambda thing, rng: questions.which_kind(thing, wordnet, rng)
    made = {}
    for task, ask in asks.items():
        rng = random.Random(1)  # the alignment's is another: letters are in another order
        rows = [(number, ask(thing, rng), thing.name) for number, thing in enumerate(things)]
        made[task] = [(number, row["question"], row["letter"], name) for number, row, name in rows if row is not None]
    return made


def _write(file: Path, images: Sequence[Any], made: Sequence[tuple[int, str, str, str]]) -> None:
    """Write questions about images as a table, unless it is there."""
    if file.is_file():
        return
    from datasets import Dataset, Features, Image, Value

    text = Value("string")
    features = Features({"image": Image(), "question": text, "label": text, "name": text})
    columns = {
        "image": [images[number] for number, *_ in made],
        "question": [question for _, question, _, _ in made],
        "label": [letter for _, _, letter, _ in made],
        "name": [name for *_, name in made],
    }
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

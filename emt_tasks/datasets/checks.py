"""Checks before a model is loaded: tasks that do not exist, data that is missing or invalid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image
from pyarrow import ArrowException

from emt_core.errors import UserError, listed, one_line
from emt_core.hub import obstacle
from emt_core.images import no_truncated_images
from emt_tasks.datasets import catalog, vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.labels import class_indices
from emt_tasks.tasks import registry
from emt_tasks.tasks.multiple_choice import parse

DECODED_BYTES = 64 * 2**20
"""Up to this many bytes, all images are decoded; in a larger file, the first image of each row group."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Where a data set would come from: `origin` is a file or a repository, `problem` None if it is available.

    `obstacle` is what keeps the hub from giving it, None if nothing does or the hub was not asked. `at_hand` is whether
    it, or some of it, is on this machine.
    """

    dataset: Dataset
    split: str
    origin: str
    documents: int | None
    problem: str | None
    obstacle: str | None = None
    at_hand: bool = False

    @property
    def broken(self) -> bool:
        """Whether a file is here and cannot be used."""
        return self.problem is not None and self.origin == str(self.dataset.local_file(self.split))


def check_data(names: Iterable[str]) -> None:
    """Make sure that the data of all of our tasks among these names is available.

    Raises:
        UserError: it is not; the line says what to run.
    """
    wanted = dict.fromkeys(task.dataset for task in registry.tasks(names) if task.dataset)
    problems = {name: problem for name in wanted if (problem := availability(catalog.get(name)).problem)}
    if problems:
        first, *others = problems
        also = f" (also missing: {', '.join(others)})" if others else ""
        raise UserError(problems[first] + also)


def availability(dataset: Dataset, split: str | None = None) -> Availability:
    """Look for one split of a data set, by default the one that the tasks evaluate on."""
    split = split or dataset.split
    local = dataset.local_file(split)
    if local is not None and local.is_file():
        documents, problem = inspect(local, dataset)
        return Availability(dataset, split, str(local), documents, problem, at_hand=True)
    if dataset.hub is None:
        return Availability(dataset, split, dataset.home or "nowhere", None, dataset.advice(split))
    on_disk = Path(dataset.hub).is_dir() or _in_cache(dataset)
    blocked = None if on_disk else _hub_obstacle(dataset.hub)
    problem = dataset.advice(split, blocked) if blocked else _hub_fault(dataset, split)
    return Availability(dataset, split, f"hub: {dataset.hub}", None, problem, blocked, on_disk)


def inspect(file: Path, dataset: Dataset) -> tuple[int | None, str | None]:
    """Read a parquet file without its images, then some images: its number of rows, and what is wrong with it."""
    from datasets import Features

    try:
        parquet = pq.ParquetFile(file)
        features = Features.from_arrow_schema(parquet.schema_arrow)
    except (ArrowException, OSError) as error:
        return None, f"{file}: not a parquet file ({one_line(error)}); write it again with: emt data prepare"
    rows = parquet.metadata.num_rows
    roles = dataset.columns.roles()
    missing = [column for column in roles.values() if column not in parquet.schema_arrow.names]
    if missing:
        found = listed(parquet.schema_arrow.names)
        return rows, f"{file}: no column {', '.join(missing)}; found {found}, expected {', '.join(roles.values())}"
    if rows == 0:
        return rows, f"{file}: contains no rows"
    texts = parquet.read(columns=[name for role, name in roles.items() if role != "image"]).to_pydict()
    try:
        _check_values(dataset, texts, features, str(file))
    except UserError as error:
        return rows, str(error)
    return rows, _image_fault(parquet, file, dataset.columns.image)


def _check_values(dataset: Dataset, columns: dict[str, list[Any]], features: Any, where: str) -> None:
    """Make sure that each row can be judged: its label is a class, a letter of its question, or text.

    Raises:
        UserError: one cannot; the line names the row.
    """
    roles = dataset.columns.roles()
    if dataset.kind == "classification":
        label = roles["label"]
        class_indices(columns[label], features[label], vocabularies.of(dataset), f"{where}: {label}")
    elif dataset.kind == "multiple_choice":
        for row, (text, letter) in enumerate(zip(columns[roles["question"]], columns[roles["label"]], strict=True)):
            try:
                letters = parse(str(text)).letters
            except UserError as error:
                raise UserError(f"{where}: {roles['question']}, row {row}: {error}") from error
            if letter not in list(letters):
                expected = f"expected a letter from A to {letters[-1]}"
                raise UserError(f"{where}: {roles['label']}, row {row}: found {letter!r}, {expected}")
    else:
        for row, pair in enumerate(zip(columns[roles["question"]], columns[roles["answer"]], strict=True)):
            texts = [value for side in pair for value in (side if isinstance(side, list) else [side])]
            lengths = {len(side) if isinstance(side, list) else None for side in pair}
            if len(lengths) > 1 or not all(isinstance(text, str) for text in texts):
                raise UserError(
                    f"{where}: row {row}: expected a question and an answer, or as many questions as answers"
                )


def _image_fault(parquet: Any, file: Path, column: str) -> str | None:
    """What is wrong with the images; lmms-eval reads some before a model could report them."""
    for row, value in _some_images(parquet, column):
        fault = _undecodable((value or {}).get("bytes") if isinstance(value, dict | None) else None)
        if fault:
            return f"{file}: row {row}: column {column} has no image ({fault}); write the file again"
    return None


def _some_images(parquet: Any, column: str) -> Iterator[tuple[int, Any]]:
    """Yield all images with their rows if they are few, else the first of each row group."""
    groups = [parquet.metadata.row_group(index) for index in range(parquet.metadata.num_row_groups)]
    small = sum(group.total_byte_size for group in groups) <= DECODED_BYTES
    start = 0
    for index, group in enumerate(groups):
        batches = parquet.iter_batches(256 if small else 1, row_groups=[index], columns=[column])
        row = start
        for batch in batches:
            for value in batch.column(0).to_pylist():
                yield row, value
                row += 1
            if not small:
                break
        start += group.num_rows


def _undecodable(data: bytes | None) -> str | None:
    try:
        with no_truncated_images():
            Image.open(BytesIO(data or b"")).load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return type(error).__name__
    return None


def _in_cache(dataset: Dataset) -> bool:
    """Whether `datasets` has already downloaded something of this repository."""
    repository = (dataset.hub or "").replace("/", "--")
    return (Path(HF_HUB_CACHE) / f"datasets--{repository}" / "snapshots").is_dir()


def _hub_fault(dataset: Dataset, split: str) -> str | None:
    """What is wrong with the columns and classes that a repository declares; None if it declares none."""
    import datasets

    arguments = dataset.load_arguments(split)
    arguments.pop("verification_mode")
    try:
        features = datasets.load_dataset_builder(**arguments).info.features
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        return dataset.advice(split, one_line(error))
    roles = dataset.columns.roles()
    missing = [column for column in roles.values() if features and column not in features]
    if missing:
        found = listed(features)
        return f"{dataset.name}: {dataset.hub} has no column {', '.join(missing)}; it has {found}"
    label = roles.get("label")
    if features and dataset.kind == "classification" and label:
        try:
            class_indices([], features[label], vocabularies.of(dataset), f"{dataset.name}: {label}")
        except UserError as error:
            return str(error)
    return None


def _hub_obstacle(repository: str) -> str | None:
    """What blocks access to a repository on the hub; None if nothing does."""
    try:
        HfApi().auth_check(repository, repo_type="dataset")
    except Exception as error:
        what = obstacle(error, repository, "dataset")
        if what is None:
            raise
        return what
    return None

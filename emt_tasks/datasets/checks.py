"""What can be known to be wrong before a model is loaded: tasks that do not exist, data that cannot be had."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Source, source
from emt_tasks.datasets.labels import class_indices
from emt_tasks.tasks import registry


@dataclass(frozen=True, slots=True)
class Availability:
    """Where a data set would come from: `origin` is a file or a repository, `problem` None where it is there."""

    source: Source
    split: str
    origin: str
    documents: int | None
    problem: str | None


def check_data(names: Iterable[str]) -> None:
    """Make sure that the data of all of our tasks among these names can be had.

    Raises:
        UserError: it cannot; the line says what to run.
    """
    sources = dict.fromkeys(task.source for task in registry.tasks(names) if task.source)
    problems = {name: problem for name in sources if (problem := availability(source(name)).problem)}
    if problems:
        first, *others = problems
        also = f" (also missing: {', '.join(others)})" if others else ""
        raise UserError(problems[first] + also)


def availability(source: Source, split: str | None = None) -> Availability:
    """Look for one split of a data set, by default the one that the tasks evaluate on."""
    split = split or source.evaluation_split
    local = source.local_file(split)
    if local is not None and local.is_file():
        documents, problem = _inspect(local, source)
        return Availability(source, split, str(local), documents, problem)
    if source.hub is None:
        return Availability(source, split, source.home, None, source.advice(split))
    obstacle = None if _in_cache(source) else _hub_obstacle(source.hub)
    problem = source.advice(split, obstacle) if obstacle else None
    return Availability(source, split, f"hub: {source.hub}", None, problem)


def _inspect(file: Path, source: Source) -> tuple[int | None, str | None]:
    """Read a parquet file's footer: its number of rows, and what is wrong with it."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        parquet = pq.ParquetFile(file)
    except (ArrowException, OSError) as error:
        return None, f"{file}: not a parquet file ({one_line(error)}); write it again with: emt data prepare"
    missing = [column for column in source.columns if column not in parquet.schema_arrow.names]
    rows = parquet.metadata.num_rows
    if missing:
        found = ", ".join(parquet.schema_arrow.names)
        return rows, f"{file}: no column {', '.join(missing)}; found {found}, expected {', '.join(source.columns)}"
    if rows == 0:
        return rows, f"{file}: holds no rows"
    return rows, _first_image_fault(parquet, file, source.image) or _label_fault(parquet, file, source)


def _first_image_fault(parquet: Any, file: Path, column: str) -> str | None:
    """What is wrong with the first image; lmms-eval reads it before a model could name it."""
    from PIL import Image

    value = next(parquet.iter_batches(batch_size=1, columns=[column])).to_pylist()[0][column]
    try:
        Image.open(BytesIO((value or {}).get("bytes") or b"")).load()
    except (OSError, AttributeError) as error:
        return f"{file}: row 0: column {column} holds no image ({type(error).__name__}); write the file again"
    return None


def _label_fault(parquet: Any, file: Path, source: Source) -> str | None:
    """What is wrong with the labels, of which the whole column is read."""
    from datasets import Features

    if source.vocabulary is None:
        return None
    column = source.label
    table = parquet.read(columns=[column])
    feature = Features.from_arrow_schema(parquet.schema_arrow)[column]
    try:
        class_indices(table[column].to_pylist(), feature, vocabularies.load(source.vocabulary), f"{file}: {column}")
    except UserError as error:
        return str(error)
    return None


def _in_cache(source: Source) -> bool:
    """Whether `datasets` has already downloaded something of this repository."""
    from huggingface_hub.constants import HF_HUB_CACHE

    repository = (source.hub or "").replace("/", "--")
    return (Path(HF_HUB_CACHE) / f"datasets--{repository}" / "snapshots").is_dir()


def _hub_obstacle(repository: str) -> str | None:
    """What stands between us and a repository of the hub; None where nothing does."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled

    # The base error of the HTTP client, which differs between releases of huggingface_hub.
    http_errors = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    try:
        HfApi().auth_check(repository, repo_type="dataset")
    except GatedRepoError:
        return f"gated: accept its terms at hf.co/datasets/{repository}, then: hf auth login"
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except http_errors as error:
        return one_line(error)
    return None

"""One split of a data set from the hub to OUTPUT/NAME/SPLIT.parquet: resumed where it was cut off, counted, then whole.

The parts wait beside the target until all are there, each under its hash on the hub, so that a part of another version
is never taken for it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.file_download import http_get
from pyarrow import ArrowException
from rich.console import Console

from emt_core.errors import UserError, listed, one_line
from emt_core.files import replacing
from emt_core.hub import told
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.checks import inspect
from emt_tasks.datasets.prepare.build import say

_CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """One of a split's files on the hub; `digest` is its SHA-256, if the hub says it, `identity` names its content."""

    path: str
    size: int
    identity: str
    digest: str | None


def download(
    dataset: Dataset,
    output: Path,
    *,
    split: str | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """Download one split, by default the one that the tasks evaluate on, and return its file.

    A file that is there already, whole and sound, is left as it is.

    Args:
        dataset: its row in the catalog.
        output: the folder that $EMT_DATA_DIR names.
        split: one of the data set's splits.
        overwrite: replace a file that exists.
        console: where messages go; stderr by default.

    Raises:
        UserError: the data set is not on the hub, or gated, or missing there; the connection failed; or the number of
            rows is not the published one.
    """
    console = console or Console(stderr=True)
    split = split or dataset.split
    if dataset.generator is not None:
        raise UserError(f"{dataset.name}: is generated; there is nothing to download")
    if dataset.rows and split not in dataset.rows:
        raise UserError(f"--split {split}: {dataset.name} has {' and '.join(dataset.rows)}")
    target = output / dataset.name / f"{split}.parquet"
    if target.is_file() and not overwrite:
        rows = _checked(target, dataset, split)
        say(console, f"{target}: already there, {rows:,} rows")
        return target
    if dataset.hub is None:
        raise UserError(f"{dataset.name}: {dataset.remedy()}")
    waiting = target.with_name(f".{split}.parts")
    commit, parts = _listed(dataset, split)
    _make_room(waiting, 2 * sum(part.size for part in parts))
    say(console, f"{dataset.name}, {split}: {len(parts)} file{'s' if len(parts) > 1 else ''} of {dataset.hub}")
    files = [_fetch(dataset, commit, part, waiting / f"{part.identity}-{Path(part.path).name}") for part in parts]
    _count(files, dataset, split)
    with replacing([target]) as (partial,):
        _join(files, partial)
        rows = _checked(partial, dataset, split)
    shutil.rmtree(waiting)
    say(console, f"wrote {target}: {rows:,} rows, {target.stat().st_size / 2**20:,.1f} MiB")
    return target


def _listed(dataset: Dataset, split: str) -> tuple[str, list[Part]]:
    """Return the commit and the split's files there, in order."""
    with _told(dataset):
        info = HfApi().dataset_info(str(dataset.hub), revision=dataset.revision, files_metadata=True)
    pattern = dataset.files.format(split=split)
    found = sorted((file for file in info.siblings or () if fnmatchcase(file.rfilename, pattern)), key=_name)
    if not found:
        names = listed([file.rfilename for file in info.siblings or ()][:5])
        raise UserError(f"{dataset.name}: hub {dataset.hub} has no file {pattern}; it has {names}")
    return str(info.sha), [_part(file) for file in found]


def _name(file: Any) -> str:
    return str(file.rfilename)


def _part(file: Any) -> Part:
    digest = file.lfs.sha256 if file.lfs else None
    identity = str(digest or file.blob_id or hashlib.sha256(f"{file.rfilename} {file.size}".encode()).hexdigest())
    return Part(file.rfilename, int(file.size or 0), identity[:12], digest)


def _fetch(dataset: Dataset, commit: str, part: Part, file: Path) -> Path:
    """Return one part on disk, downloaded from where an earlier attempt ended; one that is damaged is not kept."""
    if file.is_file():
        return file
    partial = file.with_name(f"{file.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    there = partial.stat().st_size
    if there > part.size:
        partial.unlink()
        there = 0
    token = get_token()
    url = hf_hub_url(str(dataset.hub), part.path, repo_type="dataset", revision=commit)
    with _told(dataset), partial.open("ab") as opened:
        http_get(
            url,
            opened,
            resume_size=there,
            headers={"authorization": f"Bearer {token}"} if token else {},
            expected_size=part.size,
            displayed_filename=part.path,
        )
    if part.digest is not None and _sha256(partial) != part.digest:
        partial.unlink()
        raise UserError(f"{dataset.name}: {part.path} arrived damaged (its SHA-256 differs); repeat the command")
    partial.rename(file)
    return file


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _count(files: Sequence[Path], dataset: Dataset, split: str) -> None:
    """Refuse files that have not as many rows as the data set is published with."""
    rows = 0
    for file in files:
        try:
            rows += pq.read_metadata(file).num_rows
        except (ArrowException, OSError) as error:
            file.unlink()
            raise UserError(f"{file.name} of {dataset.hub} is not a parquet file ({one_line(error)})") from error
    _refuse_another_count(rows, dataset, split, str(dataset.hub))


def _checked(file: Path, dataset: Dataset, split: str) -> int:
    """Return a file's number of rows, once its columns, labels, images and that number are as they should be."""
    rows, problem = inspect(file, dataset)
    if problem is not None:
        raise UserError(f"{dataset.name}: {problem}")
    _refuse_another_count(rows or 0, dataset, split, str(file))
    return rows or 0


def _refuse_another_count(rows: int, dataset: Dataset, split: str, where: str) -> None:
    published = dataset.rows.get(split)
    if published is not None and rows != published:
        raise UserError(
            f"{dataset.name}, {split}: {where} has {rows:,} rows, expected the published {published:,}; nothing was "
            f"written (from a copy of your own: emt data prepare {dataset.name} --from FOLDER)"
        )


def _join(files: Sequence[Path], target: Path) -> None:
    """Write the files' rows into one file, with their schema, which holds the names of the classes."""
    if len(files) == 1:
        shutil.copyfile(files[0], target)
        return
    schema = pq.read_schema(files[0])
    with pq.ParquetWriter(target, schema, compression="none") as writer:
        for batch in _batches(files):
            writer.write_batch(batch.cast(schema))


def _batches(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from pq.ParquetFile(file).iter_batches(batch_size=256)


def _told(dataset: Dataset) -> AbstractContextManager[None]:
    return told(str(dataset.hub), "dataset", prefix=f"{dataset.name}: ", suffix=f"; then: emt data get {dataset.name}")


def _make_room(folder: Path, size: int) -> None:
    """Refuse what the disk has no room for, before hours of waiting."""
    place = next(above for above in (folder, *folder.parents) if above.exists())
    free = shutil.disk_usage(place).free + sum(file.stat().st_size for file in folder.glob("*"))
    if free < size:
        raise UserError(
            f"{folder.parent}: needs {size / 1e9:.1f} GB, {free / 1e9:.1f} are free; choose another --output"
        )

"""The one call behind `emt data prepare`: from a copy on disk to $EMT_DATA_DIR/NAME/SPLIT.parquet."""

from __future__ import annotations

import pkgutil
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from emt_core.errors import UserError
from emt_core.files import replacing
from emt_core.images import no_truncated_images
from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.datasets.prepare import tables
from emt_tasks.datasets.prepare.images import map_ahead, stored_image
from emt_tasks.datasets.prepare.layout import DiskCopy, Found, Preparation, Split, recognise

if TYPE_CHECKING:
    from rich.console import Console


def preparations() -> dict[str, Preparation]:
    """Return how each data set is read from disk, by name, without generated ones."""
    return {name: preparation_of(row) for name, row in catalog.datasets().items() if row.generator is None}


def preparation_of(dataset: Dataset) -> Preparation:
    """Return how a data set is read from disk: its own way, or the general one for its kind."""
    function = pkgutil.resolve_name(dataset.preparation) if dataset.preparation else tables.preparation
    found: Preparation = function(dataset)
    return found


def prepare(
    name: str,
    source: Path,
    output: Path,
    *,
    split: str | None = None,
    annotations: Path | None = None,
    overwrite: bool = False,
    allow_missing: bool = False,
    console: Console | None = None,
) -> list[Path]:
    """Write output/NAME/SPLIT.parquet for one split, or for all in the source, and return the files.

    The columns are those of the data set on the hub. Image files are stored byte for byte; each is decoded once,
    so that damage is found now and not in the middle of an evaluation. The same source gives the same bytes.
    Either all files are written or none.

    Args:
        name: a key of `preparations()`.
        source: a folder or a file in one of the layouts that the data set's preparation expects.
        output: the folder that $EMT_DATA_DIR names.
        split: train, validation or test, if the data set has it; also names the split of class folders without a
            split folder above them.
        annotations: if they are elsewhere: ImageWikiQA's JSONL, OCR-VQA's dataset.json, ImageNet's labels.
        overwrite: replace files that exist.
        allow_missing: leave out rows whose image is missing, instead of raising.
        console: where messages and the progress bar go; stderr by default.

    Raises:
        UserError: the source cannot be used; the message says what was found and what was expected.
    """
    console = console or Console(stderr=True)
    dataset = catalog.get(name)
    if dataset.generator is not None:
        raise UserError(f"{name}: is generated; there is nothing to prepare")
    known = tuple(dataset.rows) or tables.SPLITS
    if split is not None and split not in known:
        raise UserError(f"--split {split}: {name} has {' and '.join(known)}")
    preparation = preparation_of(dataset)
    found = recognise(name, preparation, DiskCopy(source, annotations, split))
    say(console, f"{name}: recognised {found.what}")
    targets = {chosen: output / name / f"{chosen}.parquet" for chosen in _chosen(found, split, name)}
    present = next((target for target in targets.values() if target.exists()), None)
    if present and not overwrite:
        raise UserError(f"{present}: already exists; give --overwrite to replace it")
    splits = {chosen: found.splits[chosen]() for chosen in targets}
    for chosen, rows in splits.items():
        _check(dataset, chosen, rows, allow_missing, console)
    _write(dataset, preparation, splits, targets, console)
    return list(targets.values())


def _chosen(found: Found, split: str | None, name: str) -> list[str]:
    if split is None:
        return list(found.splits)
    if split not in found.splits:
        raise UserError(f"--split {split}: {found.what}: found only {' and '.join(found.splits)} of {name}")
    return [split]


def _check(dataset: Dataset, split: str, rows: Split, allow_missing: bool, console: Console) -> None:
    if rows.missing:
        lost = f"{len(rows.missing):,} of {rows.count + len(rows.missing):,} images are missing"
        if not allow_missing:
            raise UserError(
                f"{dataset.name}, {split}: {lost}, the first {rows.missing[0]}; "
                "find them, or skip their rows with --allow-missing"
            )
        say(console, f"{dataset.name}, {split}: {lost}, the first {rows.missing[0]}; their rows are left out")
    if not rows.count:
        raise UserError(f"{dataset.name}, {split}: expected images, found none")
    whole = dataset.rows.get(split, rows.count)
    if rows.count != whole:
        say(console, f"{dataset.name}, {split}: {rows.count:,} rows; the published data set has {whole:,}")


def _write(
    dataset: Dataset,
    preparation: Preparation,
    splits: Mapping[str, Split],
    targets: Mapping[str, Path],
    console: Console,
) -> None:
    # Here, since pyarrow is not needed to say which layouts there are.
    from emt_tasks.datasets.prepare.parquet import write_parquet

    features = preparation.features()
    bar = Progress(console=console, disable=not console.is_terminal)
    with no_truncated_images(), replacing(list(targets.values())) as partials, bar:
        for (split, content), partial in zip(splits.items(), partials, strict=True):
            with closing(_rows(preparation, content, dataset.columns.image)) as rows:
                description = f"{dataset.name}, {split}"
                write_parquet(partial, features, bar.track(rows, total=content.count, description=description))
    for split, target in targets.items():
        say(console, f"wrote {target}: {splits[split].count:,} rows, {target.stat().st_size / 2**20:,.1f} MiB")


def _rows(preparation: Preparation, split: Split, image_column: str) -> Generator[dict[str, Any]]:
    stored = map_ahead(lambda example: (example, stored_image(example)), split.examples)
    with closing(stored):
        for example, image in stored:
            row = {image_column: {"bytes": image.data, "path": example.name}, **example.columns}
            if preparation.size_columns:
                row |= dict(zip(preparation.size_columns, (image.width, image.height), strict=True))
            yield row


def say(console: Console, message: str) -> None:
    """Print a message as it is: no colours, no line breaks."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)

"""A mixture's sources: rows of a data set that a task also reads, or conversations from files and from the hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import catalog, vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks.documents import stratified_sample
from emt_tasks.tasks.hooks import task_of
from finetune.data.conversations import Format, TrainingExample, Turn, format_of, without_image_mark
from finetune.data.formats import read_conversation
from finetune.recipes.schema import SourceEntry

_JSON = (".json", ".jsonl")


class TrainingSource(Protocol):
    """Numbered training examples. `name` appears in messages and the log."""

    name: str

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example; its images are not read yet.

        Raises:
            UserError: the row cannot be used; names it.
        """
        ...

    def turn(self, index: int) -> Turn:
        """Return an example's first turn as the data has it."""
        ...

    def group(self, index: int) -> str:
        """Return the folder to write an example's image to."""
        ...


def is_file(data: str) -> bool:
    """Whether a source's `data` is a file, and not a data set's name."""
    return data.endswith((*_JSON, ".parquet"))


def is_named(data: str) -> bool:
    """Whether a source's `data` is one of the catalog's names, and not a file, a folder or a name on the hub."""
    return not is_file(data) and "/" not in data and not Path(data).expanduser().is_dir()


def open_source(entry: SourceEntry, max_pixels: int | None = None) -> TrainingSource:
    """Open one source of a mixture; `finetune.data.scan` then checks its rows one by one.

    Args:
        entry: what to open.
        max_pixels: the size that larger images are reduced to.

    Raises:
        UserError: the source is unknown, unavailable or empty, or its question and answer do not fit its columns.
    """
    source = _opened(entry, max_pixels)
    if len(source) == 0:
        raise UserError(f"mixture: source {source.name} is empty; expected at least one example")
    if entry.limit is not None and entry.limit < len(source):
        strata = [source[index].turns[-1].answer for index in range(len(source))]
        return Subset(source, stratified_sample(strata, entry.limit))
    return source


class Rows:
    """Rows of a data set that a task also reads.

    `columns` has the values without the image, `images` what `decode` takes; with `classes`, the column `label` has
    class names.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, Sequence[Any]],
        images: Any,
        form: Format,
        *,
        classes: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        self.name = name
        self._classes, self._max_pixels = classes, max_pixels
        self._columns, self._images, self._format = columns, images, form
        if len(self):
            self[0]  # a question with a missing field fails now

    def __len__(self) -> int:
        """How many rows there are."""
        return len(next(iter(self._columns.values())))

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example."""
        where = f"{self.name}, row {index}"
        turn = self.turn(index)
        cleaned = Turn(without_image_mark(turn.question), turn.answer)
        return TrainingExample((cleaned,), lambda: [self._images[index]], 1, where, max_pixels=self._max_pixels)

    def turn(self, index: int) -> Turn:
        """Return question and answer in the data set's format, with the image's mark."""
        row = {name: values[index] for name, values in self._columns.items()}
        return self._format(row, f"{self.name}, row {index}")

    def group(self, index: int) -> str:
        """Return the folder for a row's image: its class, else `images`."""
        return str(self._columns["label"][index]) if self._classes else "images"


class Conversations:
    """Conversations in any of the formats of `finetune.data.formats`, each read and checked when it is asked for.

    Args:
        name: for messages and the log.
        where: names a row in messages; `{row}` is its number.
        entries: the rows; a `UserError` stands for one that cannot be read.
        folder: of the images that are given by name.
        entry: the source's columns, and its question and answer if the recipe gives them.
        max_pixels: the size that larger images are reduced to.
    """

    def __init__(
        self, name: str, where: str, entries: Any, folder: Path, entry: SourceEntry, max_pixels: int | None = None
    ) -> None:
        self.name = name
        self._where, self._entries, self._folder, self._max_pixels = where, entries, folder, max_pixels
        self._columns = entry.columns
        self._format: Format | None = None
        if entry.question or entry.answer:
            columns = entry.columns
            self._format = Format(entry.question or f"{{{columns.question}}}", entry.answer or f"{{{columns.answer}}}")

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example."""
        where, row = self._where.format(row=index), self._entries[index]
        if isinstance(row, UserError):
            raise row
        if self._format and isinstance(row, Mapping):
            turn = self._format(row, where)
            pictures = {name: row[name] for name in (self._columns.image, "image", "images") if name in row}
            row = {self._columns.question: turn.question, self._columns.answer: turn.answer, **pictures}
        found = read_conversation(row, where, self._columns, self._folder.joinpath)
        return TrainingExample(
            found.turns, lambda: found.images, len(found.images), where, found.system, self._max_pixels
        )

    def turn(self, index: int) -> Turn:
        """Return the first turn of one."""
        return self[index].turns[0]

    def group(self, index: int) -> str:
        """Return the folder for the image of one."""
        return "images"


class Subset:
    """Some of a source's examples."""

    def __init__(self, source: TrainingSource, indices: Sequence[int]) -> None:
        self.name = source.name
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        """How many examples were kept."""
        return len(self._indices)

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example."""
        return self._source[self._indices[index]]

    def turn(self, index: int) -> Turn:
        """Return one turn."""
        return self._source.turn(self._indices[index])

    def group(self, index: int) -> str:
        """Return the folder for an image."""
        return self._source.group(self._indices[index])


def _opened(entry: SourceEntry, max_pixels: int | None) -> TrainingSource:
    if entry.data.endswith(_JSON):
        return _from_json(entry, max_pixels)
    if not is_named(entry.data):
        return _from_table(entry, max_pixels)
    return named_rows(entry, _table(entry, catalog.get(entry.data)), max_pixels)


def _from_json(entry: SourceEntry, max_pixels: int | None) -> Conversations:
    """Open a list of conversations, or one on each line."""
    file = Path(entry.data).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
        entries = _lines(text, file) if file.suffix == ".jsonl" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"mixture: {file} cannot be read as JSON ({one_line(error)})") from error
    if not isinstance(entries, list):
        raise UserError(f"mixture: {file}: expected a list of conversations, found {type(entries).__name__}")
    return Conversations(file.name, f"{file}, entry {{row}}", entries, _image_folder(entry, file), entry, max_pixels)


def _lines(text: str, file: Path) -> list[Any]:
    """Return what each line has that is not blank, or the error of one that is no JSON."""
    entries: list[Any] = []
    for number, line in enumerate(text.split("\n"), start=1):  # JSON's texts may hold other line ends
        if not line.strip():
            continue
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            entries.append(UserError(f"{file}:{number}: not JSON ({one_line(error)}), found {line[:60]!r}"))
    return entries


def _from_table(entry: SourceEntry, max_pixels: int | None) -> Conversations:
    """Open a parquet file, a folder that datasets loads, or a data set on the hub."""
    import datasets

    file = Path(entry.data).expanduser()
    try:
        if file.suffix == ".parquet":
            table = datasets.load_dataset("parquet", data_files=str(file), split="train")
        elif (file / "dataset_dict.json").is_file() or (file / "state.json").is_file():
            saved = datasets.load_from_disk(str(file))
            table = saved[entry.split] if isinstance(saved, datasets.DatasetDict) else saved
        else:
            table = datasets.load_dataset(str(file), entry.config, split=entry.split)
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"mixture: {entry.data} (split {entry.split}) cannot be read ({one_line(error)})") from error
    rows = _TableRows(table)
    return Conversations(file.name, f"{entry.data}, row {{row}}", rows, _image_folder(entry, file), entry, max_pixels)


class _TableRows:
    """Rows of a table, with images as stored, and classes by name."""

    def __init__(self, table: Any) -> None:
        import datasets

        self._classes = {
            name: feature for name, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)
        }
        self._table = table.cast(_undecoded(table.features)) if len(table) else table

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self._table[index])
        named = {name: kind.int2str(row[name]) for name, kind in self._classes.items() if row[name] is not None}
        return {**row, **named}


def _undecoded(features: Any) -> Any:
    """Return the features with every image as it is stored, in lists too."""
    import datasets

    if isinstance(features, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(features, datasets.List):
        return datasets.List(_undecoded(features.feature))
    if isinstance(features, dict):
        changed = {name: _undecoded(feature) for name, feature in features.items()}
        return datasets.Features(changed) if isinstance(features, datasets.Features) else changed
    return features


def _image_folder(entry: SourceEntry, data: Path) -> Path:
    if entry.images:
        return Path(entry.images).expanduser()
    return data if data.is_dir() else data.parent


def named_rows(entry: SourceEntry, documents: Any, max_pixels: int | None = None) -> Rows:
    """Return the rows of a data set of the catalog as training examples.

    Args:
        entry: names it.
        documents: its table as its tasks have it: one row per question, classes numbered as in the vocabulary.
        max_pixels: the size that larger images are reduced to.

    Raises:
        UserError: the question or the answer asks for a field that the rows do not have.
    """
    from datasets import Image

    dataset = catalog.get(entry.data)
    known, column = format_of(dataset), dataset.columns.image
    images = documents.select_columns([column]).cast_column(column, Image(decode=False))
    return Rows(
        f"{entry.data}:{entry.split}",
        _texts(dataset, documents.remove_columns([column])),
        _Column(images, column),
        Format(entry.question or known.question, entry.answer or known.answer),
        classes=dataset.kind == "classification",
        max_pixels=max_pixels,
    )


def _table(entry: SourceEntry, dataset: Dataset) -> Any:
    """Load one split, one row per question, classes numbered as in the vocabulary."""
    import datasets

    try:
        table = datasets.load_dataset(**dataset.load_arguments(entry.split), split=entry.split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(dataset.advice(entry.split, one_line(error))) from error
    return task_of(dataset).documents(table)


def _texts(dataset: Dataset, table: Any) -> Mapping[str, Sequence[Any]]:
    """Return the columns without images, also by their roles; `label` has class names."""
    columns: dict[str, Sequence[Any]] = dict(table.with_format(None).to_dict())
    roles = {role: name for role, name in dataset.columns.roles().items() if name in columns}
    columns = {role: columns[name] for role, name in roles.items()} | columns
    if dataset.kind == "classification":
        names = vocabularies.of(dataset).names
        columns["label"] = [names[index] for index in columns[roles["label"]]]
    return columns


class _Column:
    """One column of a table, read row by row."""

    def __init__(self, table: Any, column: str) -> None:
        self._table, self._column = table, column

    def __getitem__(self, index: int) -> Any:
        return self._table[index][self._column]

"""A mixture's sources: rows of a data set that a task also reads, of the demo, or of a LLaVA-style JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from emt_core.errors import UserError, listed, one_line
from emt_tasks.datasets import catalog, vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks.documents import stratified_sample
from emt_tasks.tasks.hooks import task_of
from finetune.data.conversations import IMAGE_MARK, Format, TrainingExample, Turn, format_of, without_image_mark
from finetune.data.images import decode
from finetune.recipes.schema import SourceEntry


class TrainingSource(Protocol):
    """Numbered training examples. `name` appears in messages and the log."""

    name: str

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example; its images are not decoded yet."""
        ...

    def image(self, index: int) -> Any:
        """Return an example's first image as stored, None if it has none."""
        ...

    def image_counts(self) -> set[int]:
        """Return the numbers of images per example that occur."""
        ...

    def turn(self, index: int) -> Turn:
        """Return an example's first turn as the data has it."""
        ...

    def group(self, index: int) -> str:
        """Return the folder to write an example's image to."""
        ...


def open_source(entry: SourceEntry) -> TrainingSource:
    """Open one source of a mixture: read its texts, not its images.

    Raises:
        UserError: the source is unknown, unavailable or empty, or its rows do not fit its question and answer.
    """
    source = _llava(entry) if entry.data.endswith((".json", ".jsonl")) else _named(entry)
    if len(source) == 0:
        raise UserError(f"mixture: source {source.name} is empty; expected at least one example")
    if entry.limit is not None and entry.limit < len(source):
        strata = [source[index].turns[-1].answer for index in range(len(source))]
        return Subset(source, stratified_sample(strata, entry.limit))
    return source


class Rows:
    """Rows of a table.

    `columns` has the values without the image, `images` what `decode` takes; with `classes`, the column `label` has
    class names.
    """

    def __init__(
        self, name: str, columns: Mapping[str, Sequence[Any]], images: Any, form: Format, *, classes: bool = False
    ) -> None:
        self.name = name
        self._classes = classes
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
        return TrainingExample((cleaned,), lambda: [decode(self._images[index], where)], 1, where)

    def turn(self, index: int) -> Turn:
        """Return question and answer in the data set's format, with the image's mark."""
        row = {name: values[index] for name, values in self._columns.items()}
        return self._format(row, f"{self.name}, row {index}")

    def image(self, index: int) -> Any:
        """Return one image as stored."""
        return self._images[index]

    def image_counts(self) -> set[int]:
        """Every row has one image."""
        return {1}

    def group(self, index: int) -> str:
        """Return the folder for a row's image: its class, else `images`."""
        return str(self._columns["label"][index]) if self._classes else "images"


class Conversations:
    """Entries of a LLaVA-style JSON file, checked one by one when opened."""

    def __init__(self, file: Path, folder: Path, entries: Sequence[Any]) -> None:
        self.name = file.name
        self._file, self._folder = file, folder
        self._entries = [self._checked(entry, number) for number, entry in enumerate(entries)]

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example."""
        images, turns = self._entries[index]
        where = f"{self._file}, entry {index}"
        return TrainingExample(turns, partial(self._load, images, where), len(images), where)

    def image(self, index: int) -> Path | None:
        """Return the file of the entry's first image."""
        images, _ = self._entries[index]
        return images[0] if images else None

    def image_counts(self) -> set[int]:
        """Return the numbers of images per entry that occur."""
        return {len(images) for images, _ in self._entries}

    def turn(self, index: int) -> Turn:
        """Return the entry's first turn."""
        return self._entries[index][1][0]

    def group(self, index: int) -> str:
        """Return the folder for an entry's image."""
        return "images"

    def _load(self, images: Sequence[Path], where: str) -> list[Any]:
        return [decode(image, f"{where} ({image})") for image in images]

    def _checked(self, entry: Any, number: int) -> tuple[tuple[Path, ...], tuple[Turn, ...]]:
        where = f"{self._file}, entry {number}"
        if not isinstance(entry, dict):
            raise UserError(f"{where}: expected an object with conversations, found {_kind(entry)}")
        texts = _texts_of(entry.get("conversations"), where)
        images = tuple(self._folder / name for name in _image_names(entry.get("image"), where))
        for image in images:
            if not image.is_file():
                raise UserError(f"{where}: no image {image}; give the image folder as images:")
        marks = sum(text.count(IMAGE_MARK) for text in texts)
        if marks > len(images):
            raise UserError(f"{where}: {marks} {IMAGE_MARK} marks in the text, and {len(images)} images")
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return images, tuple(Turn(without_image_mark(human), gpt) for human, gpt in pairs)


def _texts_of(messages: Any, where: str) -> list[str]:
    """Return the texts of conversations that alternate human and gpt, in order.

    Raises:
        UserError: they are something else, a turn has no text, or an answer has an image's mark.
    """
    expected = "expected conversations that alternate human and gpt, as in LLaVA's data"
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise UserError(f"{where}: {expected}; found {_kind(messages)}")
    names = [message.get("from") for message in messages]
    if names != ["human", "gpt"] * (len(messages) // 2):
        raise UserError(f"{where}: {expected}; found {listed(names[:4])}{', …' * (len(names) > 4)}")
    texts = [message.get("value") for message in messages]
    for turn, (name, text) in enumerate(zip(names, texts, strict=True)):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}, turn {turn}: {name} has no text, found {text!r:.40}")
        if name == "gpt" and IMAGE_MARK in text:
            raise UserError(f"{where}, turn {turn}: an answer has the mark {IMAGE_MARK}; a model cannot answer that")
    return texts


def _image_names(value: Any, where: str) -> list[str]:
    names = value if isinstance(value, list) else [value] if value else []
    if not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{where}: image: expected a file's name or a list of names, found {value!r:.60}")
    return names


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.60}"


class Subset:
    """A subset of a source's examples."""

    def __init__(self, source: TrainingSource, indices: Sequence[int]) -> None:
        self.name = source.name
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        """How many examples were kept."""
        return len(self._indices)

    def __getitem__(self, index: int) -> TrainingExample:
        """Return one example."""
        return self._source[self._indices[index]]

    def image(self, index: int) -> Any:
        """Return one image as stored."""
        return self._source.image(self._indices[index])

    def image_counts(self) -> set[int]:
        """Return the numbers of images per example that occur in the source."""
        return self._source.image_counts()

    def turn(self, index: int) -> Turn:
        """Return one turn."""
        return self._source.turn(self._indices[index])

    def group(self, index: int) -> str:
        """Return the folder for an image."""
        return self._source.group(self._indices[index])


def _llava(entry: SourceEntry) -> TrainingSource:
    """Open a LLaVA-style JSON or JSON lines file."""
    file = Path(entry.data).expanduser()
    folder = Path(entry.images).expanduser() if entry.images else file.parent
    try:
        text = file.read_text(encoding="utf-8")
        entries = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if file.suffix == ".jsonl"
            else json.loads(text)
        )
    except (OSError, ValueError) as error:
        raise UserError(f"mixture: {file} cannot be read as JSON ({one_line(error)})") from error
    if not isinstance(entries, list):
        raise UserError(f"mixture: {file}: expected a list of conversations, found {type(entries).__name__}")
    return Conversations(file, folder, entries)


def _named(entry: SourceEntry) -> TrainingSource:
    """Open a data set by name."""
    from datasets import Image

    dataset = catalog.get(entry.data)
    known = format_of(dataset)
    table, column = _table(entry, dataset), dataset.columns.image
    images = table.select_columns([column]).cast_column(column, Image(decode=False))
    return Rows(
        f"{entry.data}:{entry.split}",
        _texts(dataset, table.remove_columns([column])),
        _Column(images, column),
        Format(entry.question or known.question, entry.answer or known.answer),
        classes=dataset.kind == "classification",
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

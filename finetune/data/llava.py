"""Write a data set in LLaVA's format: a JSON of conversations beside its images (arXiv 2309.10313, appendix D.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emt_core.folders import check_folder, made_folder
from finetune.data.conversations import IMAGE_MARK
from finetune.data.images import encoded
from finetune.data.sources import open_source
from finetune.recipes.schema import SourceEntry

MADE_BY = "emt data to-llava"


def to_llava(entry: SourceEntry, folder: Path, *, overwrite: bool = False) -> Path:
    """Write FOLDER/NAME_SPLIT.json and FOLDER/CLASS/ROW.jpg, and return the JSON file.

    Image files are stored byte for byte as in the data set. If a question has no place for the image, the image goes
    first, as in LLaVA's own data.

    Raises:
        UserError: the source cannot be read, or the folder is not empty.
    """
    check_folder(folder, MADE_BY, overwrite=overwrite)
    source = open_source(entry)
    with made_folder(folder, MADE_BY, overwrite=overwrite) as partial:
        file = partial / f"{entry.data}_{entry.split}.json"
        file.write_text(json.dumps(list(_entries(source, partial)), indent=1, ensure_ascii=False), encoding="utf-8")
    return folder / file.name


def _entries(source: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield one entry per row, after writing its image."""
    for row in range(len(source)):
        content, suffix = encoded(source[row].stored()[0], f"{source.name}, row {row}")
        image = Path(_folder_name(source.group(row)), f"{row}{suffix}")
        (folder / image).parent.mkdir(exist_ok=True)
        (folder / image).write_bytes(content)
        turn = source.turn(row)
        question = turn.question if IMAGE_MARK in turn.question else f"{IMAGE_MARK}\n{turn.question}"
        yield {
            "id": f"{source.name}/{row}",
            "image": image.as_posix(),
            "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": turn.answer}],
        }


def _folder_name(label: str) -> str:
    return re.sub(r"[^\w.-]+", "_", label).strip("._") or "images"

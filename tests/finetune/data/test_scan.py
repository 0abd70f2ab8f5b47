"""Every row is read before training: what is found, what is left out, and what a run makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from emt_core.errors import UserError
from emt_tasks.commands import finetune as cli
from finetune.data.scan import BadRow, read_skipped, scan, usable
from finetune.data.sources import open_source
from finetune.model.building import make_collator
from finetune.recipes.files import read
from finetune.recipes.schema import Mixture, SourceEntry
from finetune.training.run import finetune

ROWS, BAD = 20, {3: "truncated", 7: "missing", 11: "no answer", 13: "no image"}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Twenty questions about noise; four of them cannot be used."""
    entries = []
    for row in range(ROWS):
        file = tmp_path / f"{row}.png"
        Image.effect_noise((32, 32), 90).save(file)
        entries.append({"image": file.name, "question": f"What is it, {row}?", "answer": f"noise {row}"})
    content = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "7.png").unlink()
    del entries[11]["answer"]
    (tmp_path / "13.png").write_bytes(b"no image")
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, entries)))
    return file


def found_in(file: Path, **settings: Any) -> dict[int, str]:
    mixture = Mixture.model_validate({"sources": [{"data": str(file)}], **settings})
    sources = [open_source(entry) for entry in mixture.sources]
    return {row.row: row.reason for row in scan(sources, mixture, lambda *_: None).bad}


def test_all_faults_are_found_at_once(mine: Path) -> None:
    found = found_in(mine)
    assert sorted(found) == sorted(BAD)
    assert all(str(mine) in reason and f"entry {row}" in reason for row, reason in found.items())
    assert "cannot be read" in found[3] and "no image" in found[7] and "found image, question" in found[11]


def test_texts_alone_are_checked_quickly(mine: Path) -> None:
    assert sorted(found_in(mine, scan="texts")) == [7, 11]


@pytest.mark.parametrize("processes", [2, 3])
def test_each_process_reads_its_share_and_learns_of_all(mine: Path, processes: int) -> None:
    mixture = Mixture.model_validate({"sources": [{"data": str(mine)}]})
    sources = [open_source(entry) for entry in mixture.sources]
    read_rows: list[int] = []
    shares: list[list[list[Any]]] = []

    def gathered(items: list[Any]) -> list[Any]:
        shares[-1].append(items)
        return items

    for rank in range(processes):
        shares.append([])
        scan(sources, mixture, lambda one, _: read_rows.append(int(one.where.split()[-1])),
             rank=rank, processes=processes, gather=gathered)  # fmt: skip
    assert sorted(read_rows) == sorted(set(range(ROWS)) - set(BAD))
    assert sorted(row.row for bad, _ in shares for row in bad) == sorted(BAD)


def test_bad_rows_fail_or_are_left_out(mine: Path) -> None:
    mixture = Mixture.model_validate({"sources": [{"data": str(mine)}]})
    sources = [open_source(entry) for entry in mixture.sources]
    bad = [BadRow(0, row, f"row {row}: {why}") for row, why in BAD.items()]
    with pytest.raises(UserError) as caught:
        usable(sources, mixture, bad)
    assert str(caught.value) == (
        "mixture: 4 of 20 rows cannot be used: row 3: truncated; row 7: missing; row 11: no answer; and 1 more. "
        "Fix them, or leave them out with mixture.bad_rows=skip"
    )
    skipping = Mixture.model_validate({"sources": [{"data": str(mine)}], "bad_rows": "skip"})
    (kept,) = usable(sources, skipping, bad)
    assert [kept[row].turns[0].answer for row in range(len(kept))] == [
        f"noise {row}" for row in range(ROWS) if row not in BAD
    ]
    every = [BadRow(0, row, f"row {row}: missing") for row in range(ROWS)]
    with pytest.raises(UserError, match=r"no row of mine.jsonl can be used; the first: row 0: missing"):
        usable(sources, skipping, every)


def test_too_long_for_the_model(tiny_llava: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    turns = [("What?", "That."), ("What? " * 1500, "That."), ("What?", "That. " * 1500)]
    file.write_text(json.dumps([{"question": question, "answer": answer} for question, answer in turns]))
    model = AutoModelForImageTextToText.from_pretrained(tiny_llava)
    mixture = Mixture(sources=(SourceEntry(data=str(file)),))
    sources = [open_source(entry) for entry in mixture.sources]
    context = model.config.get_text_config().max_position_embeddings

    def bad(max_tokens: int | None) -> dict[int, str]:
        collator = make_collator(model, AutoProcessor.from_pretrained(tiny_llava), max_tokens)
        return {row.row: row.reason for row in scan(sources, mixture, collator.check).bad}

    assert sorted(bad(50)) == [1]  # the third's answer is cut
    assert "the question and its images have" in bad(50)[1] and "batch.max_tokens is 50" in bad(50)[1]
    assert sorted(bad(None)) == [1, 2]  # the model's own limit cuts nothing
    assert f"the model can read {context:,}" in bad(None)[2]


@pytest.mark.usefixtures("data_dir")
def test_a_run_leaves_them_out_and_lists_them(recipe_file: Callable[..., str], mine: Path, tmp_path: Path) -> None:
    file = recipe_file(mixture={"sources": [{"data": str(mine)}]}, steps=2)
    output = tmp_path / "run"
    with pytest.raises(UserError, match="4 of 20 rows cannot be used"):
        finetune(read(file))
    assert not output.exists()  # nothing was written, and no model was loaded
    shown = CliRunner().invoke(cli.finetune, [file, "mixture.bad_rows=skip", "--dry-run"])
    assert "left out: 4 of 20 rows of mine.jsonl; the first: " in shown.stdout
    done = CliRunner().invoke(cli.finetune, [file, "mixture.bad_rows=skip"])
    assert done.exit_code == 0, done.output
    assert f"left out: 4 of 20 rows of mine.jsonl; listed in {output / 'skipped.jsonl'}" in done.stderr
    assert [row.row for row in read_skipped(output)] == sorted(BAD)
    # a resumed run leaves out the same rows, though one of them was mended
    (tmp_path / "7.png").write_bytes((tmp_path / "0.png").read_bytes())
    before = sorted(path.name for path in output.iterdir())
    done = CliRunner().invoke(cli.finetune, [file, "mixture.bad_rows=skip", "--resume"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in output.iterdir()) == before
    assert len(read_skipped(output)) == len(BAD)

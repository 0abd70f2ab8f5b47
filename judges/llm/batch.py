"""Batch files of OpenAI-compatible servers: half the price, for those who can wait a day.

`write_requests` writes what a judge would ask, `submit` uploads it, `fetch` downloads what came back, and
`read_results` puts well-formed answers into the judge's cache: judging the same answers then asks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emt_core.errors import UserError, one_line
from emt_core.files import dump_row, read_rows, write_text
from judges.target import Target

if TYPE_CHECKING:
    from openai import OpenAI

    from judges.llm.judge import LLMJudge

URL: Final = "/v1/chat/completions"


def write_requests(judge: LLMJudge, items: Iterable[tuple[str, Target]], file: Path, *, overwrite: bool = False) -> int:
    """Write a line for each distinct request that the cache does not answer; return their number.

    Raises:
        UserError: the file exists, or cannot be written.
    """
    lines = []
    for key, request in judge.open_requests(items).items():
        body = request.body(judge.chat.model)
        lines.append(dump_row({"custom_id": key, "method": "POST", "url": URL, "body": body}).decode())
    write_text(file, "".join(lines), overwrite=overwrite)
    return len(lines)


def read_results(judge: LLMJudge, items: Iterable[tuple[str, Target]], file: Path) -> tuple[int, int]:
    """Put the answers of a batch into the judge's cache; return how many, and how many requests are still open.

    Raises:
        UserError: the file cannot be read, or the judge has no cache.
    """
    if judge.chat.settings.cache is None:
        raise UserError("EMT_JUDGE_CACHE=off: the answers of a batch go into the cache; choose a file for it")
    answers = {str(row.get("custom_id")): _text(row) for _, row in read_rows(file)}
    kept = 0
    requests = judge.open_requests(items)
    for key, request in requests.items():
        text = answers.get(key)
        if text is not None and request.well_formed(text):
            judge.chat.keep(request, text)
            kept += 1
    return kept, len(requests) - kept


def submit(client: OpenAI, file: Path) -> str:
    """Upload a file of requests and start its batch; return the batch's id.

    Raises:
        UserError: the server refuses.
    """
    from openai import OpenAIError

    try:
        with file.open("rb") as content:
            uploaded = client.files.create(file=content, purpose="batch")
        batch = client.batches.create(input_file_id=uploaded.id, endpoint=URL, completion_window="24h")
    except (OpenAIError, OSError) as error:
        raise UserError(f"{file}: the server takes no batch ({one_line(error)})") from error
    return str(batch.id)


def fetch(client: OpenAI, batch: str, file: Path, *, overwrite: bool = False) -> None:
    """Download the results of a batch.

    Raises:
        UserError: it is not done yet, it failed, or the server refuses.
    """
    from openai import OpenAIError

    try:
        found = client.batches.retrieve(batch)
        if found.output_file_id is None:
            counts = found.request_counts
            done = f", {counts.completed:,} of {counts.total:,} done" if counts else ""
            raise UserError(f"batch {batch} is {found.status}{done}; try again later")
        text = client.files.content(found.output_file_id).text
    except OpenAIError as error:
        raise UserError(f"batch {batch}: {one_line(error)}") from error
    write_text(file, text, overwrite=overwrite)


def _text(row: Mapping[str, Any]) -> str | None:
    """Return the text of a result, None if it has none."""
    try:
        text = row["response"]["body"]["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None

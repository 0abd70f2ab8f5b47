"""JSON as the OpenVLM leaderboard reads it: a model's `META`, and for each task its `Overall`.

Its own file is a mapping of models to such entries. The numbers' n and interval stand beside `Overall`, as its detailed
tables show every number of a task.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emt_core.public_names import is_hub_name
from leaderboards.comparison.summary import RunSummary
from leaderboards.exports.rows import RateRow, rows
from leaderboards.exports.settings import ExportSettings, date, model_id


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write `OpenVLM.json`; what a run does not know, such as the number of parameters, is empty."""
    name = model_id(summary.run, settings)
    day = date(summary.run) or ""
    entry: dict[str, Any] = {
        "META": {
            "Method": [name.rpartition("/")[2], f"https://huggingface.co/{name}" if _on_the_hub(name) else ""],
            "Org": settings.organization if settings.organization != "unknown" else name.partition("/")[0],
            "Parameters": "",
            "Language Model": "",
            "Vision Model": "",
            "OpenSource": "Yes" if _on_the_hub(name) else "No",
            "Verified": "No",
            "Time": day[:10].replace("-", "/"),
        }
    }
    for row in rows(summary):
        _add(entry.setdefault(row.name, {}), row)
    data = {"time": f"{settings.now:%y%m%d%H%M%S}", "results": {name: entry}}
    text = json.dumps(data, indent=2, ensure_ascii=False)
    (folder / "OpenVLM.json").write_text(f"{text}\n", encoding="utf-8")


def _add(task: dict[str, Any], row: RateRow) -> None:
    """Add a rate to its task: the accuracy as `Overall` with its n and interval, a kind of error by its name."""
    if row.metric in task or "Overall" in task:
        task[row.metric] = row.value
        return
    task["Overall"] = row.value
    task["n"] = row.rate.n
    if row.bounds is not None:
        task |= {"Overall (lower bound)": row.bounds[0], "Overall (upper bound)": row.bounds[1]}
    if row.unscored:
        task["unscored"] = row.unscored


def _on_the_hub(name: str) -> bool:
    return not name.startswith("local/") and is_hub_name(name)

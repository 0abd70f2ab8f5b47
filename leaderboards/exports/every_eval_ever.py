"""Every Eval Ever, schema 0.3: `data/emt-eval/DEVELOPER/MODEL/UUID.json` and its samples, one JSON line each.

The layout and the fields are those of the package `every-eval-ever`, whose validator reads the result:
`python -m every_eval_ever validate 'data/*/*/*/*.json*'`.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from emt_core.files import read_rows
from emt_core.public_names import public_judge
from judges.verdict import ERRORS
from leaderboards.comparison.metrics import label, parse, score_key
from leaderboards.comparison.summary import RunSummary, TaskSummary
from leaderboards.exports.rows import RateRow, rows
from leaderboards.exports.settings import ExportSettings, dataset_id, date, model_id, split

SCHEMA = "0.3.0"
COLLECTION = "emt-eval"


def write(summary: RunSummary, folder: Path, settings: ExportSettings) -> None:
    """Write the results and, if any samples are scored, the samples."""
    model = model_id(summary.run, settings)
    developer, _, name = model.partition("/")
    place = PurePosixPath("data", COLLECTION, developer, name)
    (folder / place).mkdir(parents=True)
    identity = _identity(summary, model)
    evaluation = f"{COLLECTION}/{model}/{int(settings.now.timestamp())}"
    samples = place / f"{identity}_samples.jsonl"
    count, digest = _write_samples(summary, folder / samples, evaluation, model)
    record = _record(summary, settings, evaluation, model)
    if count:
        record["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": str(samples),
            "hash_algorithm": "sha256",
            "checksum": digest,
            "total_rows": count,
        }
    else:
        (folder / samples).unlink()
    text = json.dumps(_without_none(record), indent=2, allow_nan=False)
    (folder / place / f"{identity}.json").write_text(text + "\n", encoding="utf-8")


def _record(summary: RunSummary, settings: ExportSettings, evaluation: str, model: str) -> dict[str, Any]:
    """Return the aggregate record, without its reference to the samples."""
    developer, _, name = model.partition("/")
    known = {"model": summary.run.model_kind, "model_args": summary.run.model_args}
    details = {key: value for key, value in known.items() if value}
    availability = {"deployment_type": "self_deployed", "model_availability": "unknown"}
    return {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation,
        "evaluation_timestamp": date(summary.run),
        "retrieved_timestamp": str(int(settings.now.timestamp())),
        "source_metadata": {
            "source_name": "lmms-eval run",
            "source_type": "evaluation_run",
            "source_organization_name": settings.organization,
            "evaluator_relationship": settings.relationship,
        },
        "eval_library": {
            "name": "lmms-eval",
            "version": str(summary.run.results.get("lmms_eval_version") or "unknown"),
        },
        "model_info": {
            "name": name,
            "id": model,
            "developer": developer,
            "additional_details": availability | details,
        },
        "evaluation_results": [_result(row, settings) for row in rows(summary)],
    }


def _identity(summary: RunSummary, model: str) -> uuid.UUID:
    """Return a version 4 UUID that depends on the model, the run and its tasks alone: exported twice, named alike."""
    run = summary.run
    said = json.dumps(
        [model, run.name, run.settings.get("model_args"), run.stamp, [task.task.name for task in summary.tasks]]
    )
    return uuid.UUID(bytes=hashlib.sha256(said.encode()).digest()[:16], version=4)


def _result(row: RateRow, settings: ExportSettings) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": row.rate.n}
    if row.bounds:
        lower, upper = row.bounds
        uncertainty["confidence_interval"] = {
            "lower": lower,
            "upper": upper,
            "confidence_level": row.rate.level,
            "method": row.rate.method,
        }
    details = {"n": row.rate.n, "unscored": row.unscored, "quadrant": row.quadrant, "judge": " ".join(row.judges)}
    return {
        "evaluation_result_id": _result_id(row.name, row.metric),
        "evaluation_name": row.name,
        "source_data": _source(row, settings),
        "metric_config": {
            "evaluation_description": row.note(),
            "metric_id": row.metric,
            "metric_name": label(row.metric),
            "metric_unit": "percent",
            "lower_is_better": row.metric in ERRORS,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 100,
        },
        "score_details": {
            "score": row.value,
            "details": {name: str(value) for name, value in details.items() if value not in (None, "")},
            "uncertainty": uncertainty,
        },
        "generation_config": _generation(row),
    }


def _source(row: RateRow, settings: ExportSettings) -> dict[str, Any]:
    dataset = dataset_id(row.task, settings) if row.task else None
    if row.task is None or dataset is None:
        return {"dataset_name": row.name, "source_type": "other"}
    return {
        "dataset_name": row.name,
        "source_type": "hf_dataset",
        "hf_repo": dataset,
        "hf_split": split(row.task),
        "samples_number": row.task.original,
    }


def _generation(row: RateRow) -> dict[str, Any] | None:
    if row.task is None or row.task.config.get("output_type") != "generate_until":
        return None
    options = row.task.config.get("generation_kwargs") or {}
    prompt = row.task.config.get("doc_to_text")
    arguments = {
        "temperature": options.get("temperature"),
        "top_p": options.get("top_p"),
        "max_tokens": options.get("max_new_tokens"),
        "prompt_template": prompt if isinstance(prompt, str) else None,
    }
    return {
        "generation_args": arguments,
        "additional_details": {name: json.dumps(value, default=str) for name, value in sorted(options.items())},
    }


def _write_samples(summary: RunSummary, file: Path, evaluation: str, model: str) -> tuple[int, str]:
    """Write every scored sample; returns their number and the file's SHA-256."""
    digest, count = hashlib.sha256(), 0
    with file.open("wb") as out:
        for task in summary.tasks:
            for row in _samples(task, evaluation, model):
                # ASCII: the validator splits lines at U+2028 and the like too.
                line = (json.dumps(_without_none(row), allow_nan=False) + "\n").encode("ascii")
                digest.update(line)
                count += 1
                out.write(line)
    return count, digest.hexdigest()


def _samples(task: TaskSummary, evaluation: str, model: str) -> Iterator[dict[str, Any]]:
    """Yield a task's scored samples; the schema has no place for one that is neither right nor wrong."""
    seen = set()
    metric, key = parse(task.task, task.metric), score_key(task.task)
    for _, sample in read_rows(task.task.samples):
        unscored = _object(sample, "verdict").get("category") == "unscored"
        score = None if unscored else metric.score(sample, key)
        if score is None or sample["doc_id"] in seen:
            continue
        seen.add(sample["doc_id"])
        yield _instance(sample, task, score) | {"evaluation_id": evaluation, "model_id": model}


def _instance(sample: Mapping[str, Any], task: TaskSummary, score: float) -> dict[str, Any]:
    question, reference = str(sample.get("input") or ""), str(sample.get("target"))
    answers = sample.get("filtered_resps")
    texts = [str(answer) for answer in answers] if isinstance(answers, list) else [str(answers or "")]
    verdict, target = _object(sample, "verdict"), _object(sample, "judge_target")
    labels = list(dict.fromkeys(str(match.get("label")) for match in verdict.get("matches") or ()))
    return {
        "schema_version": SCHEMA,
        "evaluation_name": task.task.name,
        "evaluation_result_id": _result_id(task.task.name, task.metric),
        "sample_id": str(sample["doc_id"]),
        "sample_hash": hashlib.sha256((question + reference).encode("utf-8", "surrogatepass")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": question, "reference": [reference], "choices": target.get("choices")},
        "output": {"raw": texts},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": ", ".join(labels) if labels else texts[0],
                "extraction_method": public_judge(str(verdict.get("judge") or task.metric)),
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": score, "is_correct": score == 1},
        "metadata": {
            name: str(value)
            for name, value in (
                ("category", verdict.get("category")),
                ("reason", verdict.get("reason")),
                ("cluster", sample.get("cluster")),
            )
            if value is not None
        },
    }


def _object(sample: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = sample.get(name)
    return value if isinstance(value, Mapping) else {}


def _result_id(name: str, metric: str) -> str:
    return f"{name}/{metric}"


def _without_none(value: Any) -> Any:
    """Return the data without keys that are None: most may be absent, but not null, in the schema."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value

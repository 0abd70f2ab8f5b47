"""Leakage: answers outside a task's labels that name a label of the task the model was fine-tuned on."""

from __future__ import annotations

import polars as pl

from emt_core.files import read_columns
from emt_core.runs import Task
from judges import Classification, Vocabulary, find_vocabulary
from judges.judging import get_judge
from leaderboards.comparison.pairing import PairedTask


def find_leaked(paired: PairedTask, finetuned_on: str | None) -> dict[str, frozenset[int]] | None:
    """Return each side's leaking documents ("base", "candidate"); None without a fine-tuning task or without verdicts.

    Raises:
        UserError: the fine-tuning task has no vocabulary.
    """
    if finetuned_on is None or not paired.judged:
        return None
    vocabulary = find_vocabulary(finetuned_on)
    return {
        "base": leaked_documents(paired.base, vocabulary),
        "candidate": leaked_documents(paired.candidate, vocabulary),
    }


def leaked_documents(task: Task, vocabulary: Vocabulary) -> frozenset[int]:
    """Return the documents whose answer was judged extrinsic and names a label of `vocabulary`.

    Only extrinsic answers are read; each distinct text is judged once, by rules. An answer that names several of the
    labels counts too.
    """
    schema: dict[str, pl.DataType] = {
        "doc_id": pl.Int64(),
        "filtered_resps": pl.String(),
        "verdict": pl.Struct({"category": pl.String()}),
    }
    extrinsic = pl.col("verdict").struct.field("category") == "extrinsic"
    answers = read_columns(task.samples, schema, lambda raw: raw.filter(extrinsic).select("doc_id", "filtered_resps"))
    texts = answers["filtered_resps"].drop_nulls().unique().sort().to_list()
    # Which label is right does not matter here: any match says that the answer speaks of that task.
    target = Classification(0, vocabulary)
    verdicts = get_judge("fuzzy").judge_many((text, target) for text in texts)
    leaked = [text for text, verdict in zip(texts, verdicts, strict=True) if verdict.matches]
    return frozenset(answers.filter(pl.col("filtered_resps").is_in(leaked))["doc_id"].to_list())

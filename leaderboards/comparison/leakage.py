"""Leakage: answers outside a task's labels that name a label of the task the model was fine-tuned on."""

from __future__ import annotations

from emt_core.files import read_columns
from emt_core.runs import Task
from judges import Classification, Vocabulary
from judges.judging import get_judge


def leaked_documents(task: Task, vocabulary: Vocabulary) -> frozenset[int]:
    """Return the documents whose answer was judged extrinsic and names a label of `vocabulary`.

    Only extrinsic answers are read, each distinct text is judged once, by rules. An answer that names several of the
    labels counts too.
    """
    import polars as pl

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

"""The labels of an MLLM as a classifier: do those that it forgot collapse, as EMT's appendix A.4 suggests?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emt_tasks.diagnosis.measure import AnswerStates
from finetune.collapse.measures import Array, Collapse, class_means, cosines, measure

_TOGETHER = 256
"""Unit vectors at a time: each has a logit for every token of the vocabulary."""


@dataclass(frozen=True, slots=True)
class LabelCollapse:
    """One model and task.

    Attributes:
        labels: the mean cosine among the labels' vectors in the output layer.
        states: the mean cosine among the class means of the last hidden state before the answer.
        collapse: of these states, the labels' vectors being the classifier.
    """

    labels: float
    states: float
    collapse: Collapse

    def as_row(self) -> dict[str, object]:
        """Return it for a table."""
        return {"labels": f"{self.labels:.3f}", "states": f"{self.states:.3f}", **self.collapse.as_row()}


@torch.no_grad()
def label_vectors(model: Any, processor: Any, labels: Sequence[str], dimensions: int) -> Array:
    """Return the direction of each label, `(labels, dimensions)`: the mean of its tokens' rows of the output layer.

    The rows are what the layer makes of unit vectors: so an adapter on it counts, and its weights may be quantized.
    """
    head = model.get_output_embeddings()
    tokenizer = getattr(processor, "tokenizer", processor)
    tokens = [tokenizer(f" {label}", add_special_tokens=False)["input_ids"] for label in labels]
    wanted = [token for own in tokens for token in own]
    units = torch.eye(dimensions, dtype=model.dtype, device=model.device)
    zero = head(units[:1] * 0)[:, wanted]
    rows = torch.cat([head(part)[:, wanted] - zero for part in torch.split(units, _TOGETHER)]).T.double().cpu()
    return np.stack([own.mean(0).numpy() for own in torch.split(rows, [len(own) for own in tokens])])


def label_collapse(model: Any, processor: Any, states: AnswerStates) -> LabelCollapse:
    """Measure one model on a task's documents.

    Raises:
        UserError: as `measure`.
    """
    features = states.vectors.astype(np.float64)
    vectors = label_vectors(model, processor, states.labels, features.shape[1])
    _, present = np.unique(states.shown, return_inverse=True)
    return LabelCollapse(
        labels=float(cosines(vectors).mean()),
        states=float(cosines(class_means(features, present)).mean()),
        collapse=measure(features, states.shown, vectors),
    )

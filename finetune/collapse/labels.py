"""The labels of an MLLM as a classifier: do those that it forgot collapse, as EMT's appendix A.4 suggests?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from emt_core.errors import UserError
from emt_tasks.diagnosis.measure import AnswerStates
from finetune.collapse.measures import Array, Collapse, class_means, cosines, measure


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


def label_vectors(model: Any, processor: Any, labels: tuple[str, ...]) -> Array:
    """Return the direction of each label, `(labels, dimensions)`: the mean of its tokens' rows of the output layer.

    Raises:
        UserError: the model has no output layer of plain weights.
    """
    head = model.get_output_embeddings()
    weights = getattr(head, "weight", None)
    if weights is None or not torch.is_floating_point(weights):
        raise UserError("collapse: the model's output layer has no plain weights; load it without quantization")
    tokenizer = getattr(processor, "tokenizer", processor)
    found = []
    for label in labels:
        tokens = tokenizer(f" {label}", add_special_tokens=False)["input_ids"]
        found.append(weights[torch.tensor(tokens, device=weights.device)].detach().double().mean(0).cpu().numpy())
    return np.stack(found)


def label_collapse(model: Any, processor: Any, states: AnswerStates) -> LabelCollapse:
    """Measure one model on a task's documents.

    Raises:
        UserError: as `measure` and `label_vectors`.
    """
    vectors = label_vectors(model, processor, states.labels)
    features = states.vectors.astype(np.float64)
    _, present = np.unique(states.shown, return_inverse=True)
    return LabelCollapse(
        labels=float(cosines(vectors).mean()),
        states=float(cosines(class_means(features, present)).mean()),
        collapse=measure(features, states.shown, vectors),
    )

"""Linear probes: what can be read from features by one matrix.

A probe is a ridge classifier (least squares to ±1, one class against the rest) on features scaled to unit variance;
its penalty is the one with the least leave-one-out error among `PENALTIES`, which costs nothing beyond the fit
(Rifkin and Lippert, "Notes on regularized least squares", MIT-CSAIL-TR-2007-025).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
FEWEST = FOLDS
"""Documents of a class that a probe without a training split needs, in the median."""

PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(-1, 6))


def fit(features: NDArray[np.float32], labels: Sequence[str]) -> Any:
    """Return a fitted probe.

    Args:
        features: `(documents, dimensions)`.
        labels: one for each document, of at least two kinds.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=PENALTIES)).fit(features, np.asarray(labels))


def can_be_folded(labels: Sequence[str], groups: Sequence[str]) -> bool:
    """Whether documents are enough for a probe of themselves: `FEWEST` groups of a class, in the median."""
    counts = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    return len(counts) > 1 and float(np.median(list(counts.values()))) >= FEWEST


def out_of_fold(features: NDArray[np.float32], labels: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return what probes read of each document that were fitted to the others.

    Args:
        features: `(documents, dimensions)`.
        labels: one for each document.
        groups: documents of one group (about one image) are never on both sides.

    The folds depend on labels and groups alone: two models get the same.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    read = np.empty(len(labels), dtype=object)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(features, np.asarray(labels), np.asarray(groups)):
        if len({labels[index] for index in train}) > 1:
            read[test] = fit(features[train], [labels[index] for index in train]).predict(features[test])
        else:
            read[test] = labels[train[0]]
    return [str(label) for label in read]

"""Neural collapse in numbers: NC1 to NC4 of features and a classifier, and the cosines among a classifier's vectors.

Under collapse every number of `Collapse` goes to 0 (Papyan, Han and Donoho 2020, PNAS 117 (40)), and the cosines of
classes without samples go to 1 (minority collapse: Fang, He, Long and Su 2021, PNAS 118 (43), theorem 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emt_core.errors import UserError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Collapse:
    """How far some classes have collapsed.

    Attributes:
        within: NC1, the spread within classes against that between them.
        norms: NC2, how unequal the class means' distances from the middle are.
        angles: NC2, how far the class means' cosines are from a simplex's, -1/(K - 1).
        duality: NC3, how far the classifier is from the class means, each scaled to length 1.
        nearest: NC4, the share of samples for which the classifier does not choose the nearest class mean.
    """

    within: float
    norms: float
    angles: float
    duality: float | None
    nearest: float | None

    def as_row(self) -> dict[str, object]:
        """Return it for a table."""
        named = {"NC1": self.within, "NC2": self.angles, "NC3": self.duality, "NC4": self.nearest}
        return {name: None if value is None else f"{value:.3g}" for name, value in named.items()}


def measure(
    features: Array, classes: NDArray[np.int64], weights: Array | None = None, biases: Array | None = None
) -> Collapse:
    """Return the measures of all classes that have samples.

    Args:
        features: the last layer's inputs, `(samples, dimensions)`.
        classes: of each sample, `(samples,)`.
        weights: the classifier's vectors, `(all classes, dimensions)`; without, NC3 and NC4 are not measured.
        biases: `(all classes,)`, 0 if left out.

    Raises:
        UserError: fewer than two classes have samples, or all of them are at one place.
    """
    present, inverse = np.unique(classes, return_inverse=True)
    if len(present) < 2:
        raise UserError(f"collapse: {len(present)} classes have samples; expected two or more")
    features = np.asarray(features, dtype=np.float64)
    means = class_means(features, inverse)
    centred = means - means.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1)
    if not lengths.min() > 0:
        raise UserError("collapse: a class mean is where all of them are on average, so it has no direction")
    duality = nearest = None
    if weights is not None:
        own = np.asarray(weights, dtype=np.float64)[present]
        duality = _duality(own, centred)
        shifts = np.zeros(len(present)) if biases is None else np.asarray(biases, dtype=np.float64)[present]
        nearest = float(np.mean((features @ own.T + shifts).argmax(1) != _nearest(features, means)))
    return Collapse(
        within=_within(features, inverse, means, centred),
        norms=float(lengths.std() / lengths.mean()),
        angles=float(np.abs(cosines(centred) + 1 / (len(present) - 1)).mean()),
        duality=duality,
        nearest=nearest,
    )


def class_means(features: Array, classes: NDArray[np.int64]) -> Array:
    """Return the mean of each class, `(classes, dimensions)`; classes are numbered from 0, none without samples."""
    sums = np.zeros((int(classes.max()) + 1, features.shape[1]))
    np.add.at(sums, classes, features)
    return np.asarray(sums / np.bincount(classes)[:, None])


def cosines(vectors: Array) -> Array:
    """Return the cosine of every pair of vectors, `(vectors · (vectors - 1) / 2,)`; their mean goes to 1 in collapse.

    A vector of length 0 is at the same place as any other that is: two such have a cosine of 1, and one has 0 with
    those that have a direction.

    Args:
        vectors: `(vectors, dimensions)`.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    nowhere = (lengths == 0)[:, 0]
    both = directions @ directions.T + np.outer(nowhere, nowhere)
    return np.asarray(both[np.triu_indices(len(vectors), 1)])


def _within(features: Array, classes: NDArray[np.int64], means: Array, centred: Array) -> float:
    """NC1: tr(Σ_W Σ_B⁺) / K, with the covariances within classes and between their means (Papyan et al., figure 6).

    Σ_B is of rank K - 1 at most, and its pseudo-inverse is U S⁻² Vᵀ of the means' singular values: no matrix of
    dimensions × dimensions is made.
    """
    count = len(means)
    _, singular, directions = np.linalg.svd(centred / np.sqrt(count), full_matrices=False)
    real = singular > singular[0] * max(centred.shape) * np.finfo(np.float64).eps
    spread = ((features - means[classes]) @ directions[real].T / singular[real]) ** 2
    return float(spread.sum() / len(features) / count)


def _duality(weights: Array, centred: Array) -> float:
    """NC3: ‖W/‖W‖ - M/‖M‖‖² with Frobenius norms, from 0 to 4 (Papyan et al., figure 5)."""
    length = float(np.linalg.norm(weights))
    scaled = weights / length if length else weights
    return float(((scaled - centred / np.linalg.norm(centred)) ** 2).sum())


def _nearest(features: Array, means: Array) -> NDArray[np.int64]:
    """Return the class whose mean is nearest to each sample."""
    distances = (means**2).sum(1) - 2 * features @ means.T  # but for what is the same for all classes
    return np.asarray(distances.argmin(1))

"""Neural collapse: exact where it is perfect, as derived where all is random."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emt_core.errors import UserError
from finetune.collapse.measures import class_means, cosines, measure

CLASSES, DIMENSIONS = 5, 12


def simplex(classes: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """The vertices of a simplex around the origin, turned at random: every cosine is -1/(classes - 1)."""
    corners = np.eye(classes) - 1 / classes
    turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dimensions, classes)))
    return corners @ turned.T


def collapsed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and a classifier: every sample is its class's vertex, moved by 3, and so are they."""
    vertices = simplex(CLASSES, DIMENSIONS)
    classes = np.repeat(np.arange(CLASSES), [3, 4, 5, 6, 7])
    return vertices[classes] + 3, classes, 2.5 * vertices


def test_perfect_collapse_is_nothing():
    features, classes, weights = collapsed()
    found = measure(features, classes, weights, -weights @ np.full(DIMENSIONS, 3.0))
    for value in (found.within, found.norms, found.angles, found.duality, found.nearest):
        assert value == pytest.approx(0.0, abs=1e-6)
    assert cosines(weights) == pytest.approx(np.full(10, -0.25), abs=1e-6)


def test_classes_are_found_among_those_that_have_no_samples():
    features, classes, weights = collapsed()
    places = np.array([1, 2, 4, 6, 7])
    among = np.random.default_rng(0).normal(size=(9, DIMENSIONS))
    among[places] = weights
    found = measure(features, places[classes], among, -among @ np.full(DIMENSIONS, 3.0))
    assert found == measure(features, classes, weights, -weights @ np.full(DIMENSIONS, 3.0))


def test_numbers_by_hand():
    """Two classes on a line, at 0 and 2 and at 9 and 13: means 1 and 11, of which the middle is 6.

    Within: ((1 + 1 + 4 + 4) / 4) = 2.5; between: 25; so NC1 is 2.5 / 25 / 2. Two classes are always opposite and
    equally far. The classifier (1 and 0) chooses the first class everywhere but at 0, where it ties and takes the
    first: wrong for the two samples that are nearest to 11. NC3: (-1, 1) / √2 against (1, 0): 2 - 2 · (-1/√2).
    """
    features = np.array([[0.0], [2.0], [9.0], [13.0]])
    found = measure(features, np.array([0, 0, 1, 1]), np.array([[1.0], [0.0]]))
    assert (found.within, found.norms, found.angles) == pytest.approx((0.05, 0.0, 0.0))
    assert found.duality == pytest.approx(2 + 2 / 2**0.5)
    assert found.nearest == 0.5


def test_of_random_features_nc1_is_as_derived():
    """Of n standard normal samples a class in d dimensions, E[NC1] = (n - 1)(K - 1) / (d - K).

    Σ_W is independent of the means, with E[Σ_W] = (n - 1)/n · I, and Σ_B is 1/(nK) of a Wishart matrix of rank K - 1,
    whose pseudo-inverse has a mean trace of (K - 1) / (d - K).
    """
    classes, each, dimensions = 4, 20, 64
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    found = [measure(draw.normal(size=(classes * each, dimensions)), labels).within for _ in range(400)]
    assert np.mean(found) == pytest.approx((each - 1) * (classes - 1) / (dimensions - classes), rel=0.02)


def test_random_vectors_have_no_common_direction():
    """Cosines of random directions have mean 0 and variance 1/d; a random classifier has NC3 of 2 on average."""
    draw = np.random.default_rng(0)
    found = cosines(draw.normal(size=(100, 50)))
    assert found.mean() == pytest.approx(0.0, abs=0.01)
    assert found.var() == pytest.approx(1 / 50, rel=0.05)
    features, labels = draw.normal(size=(400, 50)), np.arange(400) % 10
    duality = [measure(features, labels, draw.normal(size=(10, 50))).duality for _ in range(200)]
    assert np.mean(duality) == pytest.approx(2.0, abs=0.02)


@given(arrays(np.float64, (4, 3), elements=st.floats(-5, 5)), st.floats(0.1, 10))
def test_cosines_do_not_depend_on_lengths(vectors, factor):
    vectors[np.abs(vectors) < 1e-3] = 0  # squares of what is left do not vanish
    found = cosines(vectors)
    assert ((found >= -1 - 1e-9) & (found <= 1 + 1e-9)).all()
    assert found == pytest.approx(cosines(vectors * factor), abs=1e-9)


def test_vectors_at_one_place_have_collapsed():
    same = np.tile([1.0, 2.0, 3.0], (3, 1))
    assert cosines(same) == pytest.approx(np.ones(3))
    assert (cosines(np.zeros((3, 4))) == 1).all()
    assert cosines(np.array([[0.0, 0.0], [1.0, 0.0]])) == 0


def test_class_means_by_hand():
    features = np.array([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    assert class_means(features, np.array([0, 0, 1])).tolist() == [[2.0, 1.0], [5.0, 5.0]]


def test_what_cannot_be_measured_is_said():
    with pytest.raises(UserError, match="1 classes have samples; expected two or more"):
        measure(np.ones((3, 2)), np.zeros(3, dtype=np.int64))
    with pytest.raises(UserError, match="no direction"):
        measure(np.ones((4, 2)), np.array([0, 0, 1, 1]))

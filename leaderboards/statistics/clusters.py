"""Standard errors where samples come in clusters: several questions about one image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean_covariance(values: Floats, clusters: NDArray[np.int64] | None = None) -> Floats:
    """Return the covariance matrix of column means, robust to dependence within clusters.

    `values` has shape (samples, columns), `clusters` (samples,) with each sample's cluster as a number from 0 on.
    V = G/(G−1) · Σ_g r_g r_gᵀ / n², where r_g sums the residuals x_i − x̄ of cluster g; with no clusters every sample
    is its own, and V is the sample covariance / n.

    Edge case: fewer than two clusters say nothing of the variance, NaN.
    Source: Liang and Zeger, Biometrika 73 (1986) 13–22; for evaluations, Miller, arXiv 2411.00640, equation 4. The
    factor G/(G−1) is that of statsmodels' `cov_type="cluster"` on a constant.
    """
    n, columns = values.shape
    residuals = values - values.mean(axis=0) if n else values
    if clusters is None:
        sums, groups = residuals, n
    else:
        groups = int(clusters.max()) + 1 if n else 0
        sums = np.stack([np.bincount(clusters, residuals[:, i], groups) for i in range(columns)], axis=1)
    if groups < 2:
        return np.full((columns, columns), np.nan)
    return np.asarray(sums.T @ sums / n**2 * groups / (groups - 1), dtype=np.float64)


def design_effect(clustered_variance: float, independent_variance: float) -> float:
    """Return how many times clustering inflates the variance of a mean; never below 1.

    n / design effect is the effective sample size (Kish, Survey Sampling, 1965, section 8.2). Clusters that seem to
    lower the variance do so by chance more often than not, so that less than 1 counts as 1, and so does 0 / 0.
    """
    if not independent_variance > 0:
        return 1.0
    return max(1.0, clustered_variance / independent_variance)

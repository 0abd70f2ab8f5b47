"""Statistics of paired scores; every function names its formula and its source.

Start with `PairedSample`. Proportions in, proportions out: callers convert to percent. Undefined is None.

Sources: quantiles and tails are scipy's. What neither scipy nor statsmodels has is ours. So is the little that
statsmodels offers (Wilson's interval, Holm's correction): it takes more than twice as long to import as everything
else that a gate needs, and the tests check that ours is equal. Each function says which case it is.
"""

from leaderboards.statistics.interval import Interval
from leaderboards.statistics.means import design_effect, mean_covariance, mean_interval, ratio_of_means
from leaderboards.statistics.paired import PairedSample
from leaderboards.statistics.pooled import MeanOfSamples, holm, mean_bounds, mean_of_intervals
from leaderboards.statistics.proportions import (
    jensen_shannon,
    mcnemar,
    paired_ratio_interval,
    score_bound,
    score_statistic,
    wilson_interval,
)

__all__ = [
    "Interval",
    "MeanOfSamples",
    "PairedSample",
    "design_effect",
    "holm",
    "jensen_shannon",
    "mcnemar",
    "mean_bounds",
    "mean_covariance",
    "mean_interval",
    "mean_of_intervals",
    "paired_ratio_interval",
    "ratio_of_means",
    "score_bound",
    "score_statistic",
    "wilson_interval",
]

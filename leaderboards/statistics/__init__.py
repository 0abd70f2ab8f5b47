"""Statistics of paired scores; every function names its formula and its source.

Start with `PairedSample`. Proportions in, proportions out: percent is for those who print. Undefined is None.
"""

from leaderboards.statistics.clusters import design_effect, mean_covariance
from leaderboards.statistics.difference import mcnemar, score_bound, score_statistic
from leaderboards.statistics.divergence import jensen_shannon
from leaderboards.statistics.interval import Interval
from leaderboards.statistics.means import mean_interval, mean_of_intervals, ratio_of_means
from leaderboards.statistics.multiple import holm, mean_bounds
from leaderboards.statistics.paired import PairedSample
from leaderboards.statistics.planning import detectable_drop
from leaderboards.statistics.pooled import MeanOfSamples
from leaderboards.statistics.proportions import paired_ratio_interval, wilson_interval

__all__ = [
    "Interval",
    "MeanOfSamples",
    "PairedSample",
    "design_effect",
    "detectable_drop",
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

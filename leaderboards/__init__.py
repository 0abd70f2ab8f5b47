"""Forgetting, its statistics, the release gate, reports and exports. Never imports torch.

Start with `read_run` and `compare`; `decide` puts a comparison through the gate. Names are imported on first use,
so that importing this loads nothing.
"""

from typing import TYPE_CHECKING

from emt_core.lazy import lazy

if TYPE_CHECKING:
    from emt_core.runs import read_run
    from leaderboards.comparison.forgetting import compare
    from leaderboards.comparison.pairing import pair_task
    from leaderboards.comparison.summary import summarise
    from leaderboards.exports import ExportSettings, export
    from leaderboards.gate.decide import decide
    from leaderboards.gate.policy import Policy, read_policy
    from leaderboards.report.candidates import parse_candidates
    from leaderboards.report.page import write_report
    from leaderboards.site.build import build_site

__all__ = [
    "ExportSettings",
    "Policy",
    "build_site",
    "compare",
    "decide",
    "export",
    "pair_task",
    "parse_candidates",
    "read_policy",
    "read_run",
    "summarise",
    "write_report",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ExportSettings": "leaderboards.exports",
        "Policy": "leaderboards.gate.policy",
        "build_site": "leaderboards.site.build",
        "compare": "leaderboards.comparison.forgetting",
        "decide": "leaderboards.gate.decide",
        "export": "leaderboards.exports",
        "pair_task": "leaderboards.comparison.pairing",
        "parse_candidates": "leaderboards.report.candidates",
        "read_policy": "leaderboards.gate.policy",
        "read_run": "emt_core.runs",
        "summarise": "leaderboards.comparison.summary",
        "write_report": "leaderboards.report.page",
    },
)

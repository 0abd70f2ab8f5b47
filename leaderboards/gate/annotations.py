"""The gate's verdict as GitHub's workflow commands: annotations on the run and on the pull request.

See https://docs.github.com/actions/reference/workflow-commands-for-github-actions. GitHub shows ten of a kind for each
step, so the verdict comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leaderboards.gate.decide import GateResult
from leaderboards.gate.output import bounds, sentence
from leaderboards.gate.table import NOT_TESTED, gate_rows

_KINDS = {"not inferior": "notice", "forgetting": "error", "undecided": "warning", NOT_TESTED: "warning"}


def workflow_commands(results: Sequence[tuple[str, GateResult]]) -> Iterator[str]:
    """Yield a command for the verdict on each named candidate, then one for each task that did not pass."""
    for name, result in results:
        yield _command(_KINDS[result.outcome], f"emt gate: {name}", sentence(result))
    for name, result in results:
        for row in gate_rows(result):
            if row.verdict == NOT_TESTED:
                yield _command("warning", f"{name}: {row.name} not tested", row.reason)
            elif row.verdict != "not inferior":
                said = f"forgetting {bounds(row)} {row.unit}, {row.allowed}, n = {row.n}: {row.reason}"
                yield _command(_KINDS[row.verdict], f"{name}: {row.name}", said)


def _command(kind: str, title: str, message: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    """Escape a message: a line break in it would begin another command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

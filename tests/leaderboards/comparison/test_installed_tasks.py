"""The installed lmms-eval's own tasks, on made-up answers: each is read, or refused in one line that says why."""

from __future__ import annotations

import pytest

from tests.support.installed_tasks import examine_all

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore")
def test_every_installed_task_is_read_or_refused_in_one_line() -> None:
    outcomes = list(examine_all())
    assert not [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in outcomes:
        assert outcome.why
        assert outcome.state != "refused" or "\n" not in outcome.why
    found = {outcome.task: outcome.why for outcome in outcomes if outcome.state == "read"}
    assert len(found) > 100
    assert found["mmstar"] == "average"
    assert found["mme"] == "mme_cognition_score+mme_perception_score"

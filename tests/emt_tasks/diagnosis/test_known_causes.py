"""Models that lost the demo's shapes for a known cause: it is the one that is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from emt_core.measured import read_measured
from emt_core.runs import read_run
from emt_tasks.demo import tiny
from emt_tasks.diagnosis.measure import measure_model
from emt_tasks.tasks.evaluator import EvaluationSettings, evaluate
from leaderboards.comparison.causes import Causes, find_causes
from leaderboards.comparison.forgetting import compare
from tests.support import broken_models

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # lmms-eval's open files
]

TASK = "demo_shapes"
BROKEN = {
    "format": broken_models.overfit_the_answers_prefix,
    "mouth": broken_models.scramble_the_projector,
    "eye": broken_models.train_the_tower_away,
}


@pytest.fixture(scope="module")
def look(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnosis")

    def run_and_measure(name: str, model: Path) -> tuple[Path, Path]:
        settings = EvaluationSettings(str(model), (TASK,), batch_size=100)
        evaluate(settings, folder / name)
        measure_model(settings, folder / name / "probes")
        return folder / name, folder / name / "probes"

    base = run_and_measure("base", tiny.PATH)

    def find(cause: str) -> Causes:
        candidate = run_and_measure(cause, BROKEN[cause](folder / f"{cause}-model"))
        comparison = compare(read_run(base[0]), read_run(candidate[0]))
        (found,) = find_causes(comparison, read_measured(base[1]), read_measured(candidate[1]))
        return found

    return find


@pytest.mark.parametrize("cause", BROKEN)
def test_the_cause_of_nine_in_ten_losses_is_found(look, cause):
    found = look(cause)
    assert found.lost > 200
    assert found.points(cause) > 0.9 * 100 * found.lost / found.n, found.shares
    assert found.same_tower == (cause != "eye")

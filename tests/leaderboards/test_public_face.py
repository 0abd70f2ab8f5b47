"""What `leaderboards` offers at its top."""

from __future__ import annotations

import subprocess
import sys

import leaderboards


def test_every_name_is_there_and_none_is_that_of_a_module() -> None:
    assert leaderboards.__all__ == sorted(leaderboards.__all__)
    for name in leaderboards.__all__:
        assert callable(getattr(leaderboards, name))
    assert set(leaderboards.__all__) <= set(dir(leaderboards))
    assert not hasattr(leaderboards, "nothing")


def test_its_import_loads_nothing_but_itself() -> None:
    code = "import leaderboards, sys; print(*(n for n in sys.modules if n.startswith(('leaderboards', 'polars'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["leaderboards"]

"""Names that a package imports only when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = """
from emt_core.lazy import lazy

__getattr__, __dir__ = lazy(__name__, {"dumps": "json", "Fraction": "fractions"})
"""


def test_a_name_is_imported_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "offer").mkdir()
    (tmp_path / "offer" / "__init__.py").write_text(PACKAGE, encoding="utf-8")
    code = (
        "import sys, offer\n"
        "assert 'fractions' not in sys.modules\n"
        "assert {'dumps', 'Fraction'} <= set(dir(offer))\n"
        "from offer import Fraction\n"
        "assert 'fractions' in sys.modules and 'Fraction' in vars(offer)\n"
        "assert not hasattr(offer, 'nothing')\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"}
    )

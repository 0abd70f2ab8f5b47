"""The tutorial notebook runs from the top, in a kernel of its own, and its results are tables and pictures."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.pages import ROOT
from tests.support.synthetic_runs import judged_sample, write_run

NOTEBOOK = ROOT / "docs" / "tutorials" / "notebook.ipynb"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # jupyter_client's
def test_the_notebook_runs(tmp_path, monkeypatch):
    for name, lost in (("base", 0), ("tuned", 100)):
        rows = [judged_sample(i, "incorrect" if i < lost else "correct") for i in range(400)]
        others = [judged_sample(i, "correct") for i in range(400)]
        write_run(tmp_path / "runs" / name, {"flowers102": rows, "ocr_vqa": others}, name=name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "commit it without outputs"
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    assert all("text/html" in data for data in shown)
    summary, comparison, verdict, pandas, polars, lost = (data["text/html"] for data in shown)
    for html in (summary, comparison, verdict):
        assert html.count("<circle") == 2
        assert "<table" in html
    assert ">75.0 (" in summary
    # 100 of 400 answers are 25 points.
    assert ">25.0 (" in comparison
    assert "FAIL: tuned forgot more than is allowed on flowers102." in verdict
    assert "not inferior" in pandas
    assert re.search(r"flowers102.*ocr_vqa", polars, re.DOTALL)
    assert "base_score" in lost

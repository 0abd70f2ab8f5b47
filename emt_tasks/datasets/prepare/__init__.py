"""Turns the copies of data sets that people have on disk into the parquet files that the tasks read.

Start with `prepare`. One module a data set, or a family of them, says what it looks like on disk; adding a data
set is adding a `layout.DataSet`. Imports nothing of lmms-eval, and `datasets` only when called.
"""

from emt_tasks.datasets.prepare.build import DATA_SETS, LAYOUTS, prepare

__all__ = ["DATA_SETS", "LAYOUTS", "prepare"]

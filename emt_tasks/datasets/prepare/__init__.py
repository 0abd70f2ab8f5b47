"""Turns the copies of data sets that people have on disk into the parquet files that the tasks read.

Start with `prepare`. One module per data set, or family of them, says what it looks like on disk; a data
set's row in the catalog names it. Never imports lmms-eval, and imports `datasets` only when called.
"""

from emt_tasks.datasets.prepare.build import preparations, prepare

__all__ = ["preparations", "prepare"]

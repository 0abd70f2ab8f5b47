"""A run in the formats in which people publish results: `export`, and one module per format.

Start with `export`. Every number is exported with its n and its interval, in whatever field a format has for them.
"""

from leaderboards.exports.run import FORMATS, export
from leaderboards.exports.settings import ExportSettings

__all__ = ["FORMATS", "ExportSettings", "export"]

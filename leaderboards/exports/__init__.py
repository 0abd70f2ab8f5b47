"""A run in the formats of the places where people publish results: `export`, and one module a format.

Start with `export`. Every number goes out with its n and its interval, in whatever field a format has for them.
"""

from leaderboards.exports.run import FORMATS, export
from leaderboards.exports.settings import ExportSettings

__all__ = ["FORMATS", "ExportSettings", "export"]

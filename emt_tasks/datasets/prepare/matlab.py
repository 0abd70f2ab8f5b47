"""Variables from MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from emt_core.errors import UserError, one_line


def read_matlab(file: Path | IO[bytes], name: str, variable: str) -> Any:
    """Return one variable of a .mat file as an array, (n,) if all but one of its dimensions have size 1.

    Raises:
        UserError: the file is damaged or missing, or has no such variable; `name` names it.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        variables = loadmat(file, squeeze_me=True)
    except (OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, MatReadError) as error:
        raise UserError(f"{name}: expected a MATLAB file, found one that cannot be read: {one_line(error)}") from error
    if variable not in variables:
        found = ", ".join(key for key in variables if not key.startswith("__"))
        raise UserError(f"{name}: expected a variable {variable!r}, found {found or 'none'}")
    return np.atleast_1d(variables[variable])

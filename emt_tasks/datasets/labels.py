"""Labels are matched by name: from a file's own class numbers or names to the classes of a vocabulary.

A file may number its classes in another order than the vocabulary. If it gives their names (a `ClassLabel` in its
features), those decide; a text label is itself a name; a number without names is the vocabulary's own index.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from emt_core.errors import UserError
from judges import Vocabulary

_NEAREST = 3


def class_indices(values: Sequence[Any], feature: Any, vocabulary: Vocabulary, where: str) -> list[int]:
    """Return each label's index in the vocabulary.

    Args:
        values: the whole label column, numbers or strings.
        feature: the column's type in `datasets.Features`; a `ClassLabel` names its classes in `names`.
        vocabulary: the valid classes; names are compared with their names, synonyms and wnids.
        where: the file or data set, and its column, for messages.

    Raises:
        UserError: a number out of range, a name that matches no class or several, or neither a number nor a name.
    """
    named = _named_classes(getattr(feature, "names", None), vocabulary, where)
    classes: dict[Any, int] = {}
    for value in dict.fromkeys(values):
        if isinstance(value, str):
            classes[value] = _match(value, None, vocabulary, where)
        elif not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{_row(values, value, where)}: found {value!r}, expected a class's number or name")
        elif not 0 <= value < len(named):
            raise UserError(f"{_row(values, value, where)}: found {value}, expected 0 to {len(named) - 1}")
        else:
            classes[value] = named[value]
    return [classes[value] for value in values]


def _named_classes(names: Sequence[str] | None, vocabulary: Vocabulary, where: str) -> list[int]:
    """Return the vocabulary's index of each number that the file uses."""
    # Names that merely count are what `datasets` gives to unnamed classes.
    if not names or list(names) == [str(number) for number in range(len(names))]:
        return list(range(len(vocabulary.labels)))
    return [_match(name, number, vocabulary, where) for number, name in enumerate(names)]


def _match(name: str, number: int | None, vocabulary: Vocabulary, where: str) -> int:
    """Return the class of that name; of several, the one with the file's number.

    The name may list synonyms (ImageNet's "tench, Tinca tinca") or end in a digit that distinguishes it from a class
    of the same name ("crane2").
    """
    synonyms = [part.strip() for part in name.split(",")]
    for spellings in ([name], synonyms, [name.rstrip("0123456789")]):
        found = [index for spelling in spellings for index in _classes(spelling, vocabulary)]
        if number in found:
            return found[found.index(number)]
        certain = [classes[0] for spelling in spellings if len(classes := _classes(spelling, vocabulary)) == 1]
        if certain:
            return certain[0]
        if found:
            both = " or ".join(dict.fromkeys(f"{index} ({vocabulary.labels[index].name})" for index in found))
            raise UserError(f"{where}: the class name {name!r} could be class {both} of {vocabulary.name}; use wnids")
    near = {text.casefold(): text for text in vocabulary.names}
    nearest = [near[text] for text in get_close_matches(name.casefold(), near, _NEAREST, cutoff=0)]
    raise UserError(f"{where}: {name!r} is not a class of {vocabulary.name}; the nearest are {', '.join(nearest)}")


def _classes(name: str, vocabulary: Vocabulary) -> list[int]:
    by_wnid = [label.index for label in vocabulary.labels if label.wnid and label.wnid == name]
    if by_wnid or not name:
        return by_wnid
    try:
        return [label.index for label in vocabulary.resolve(name)]
    except UserError:
        return []


def _row(values: Sequence[Any], value: Any, where: str) -> str:
    return f"{where}, row {next(row for row, other in enumerate(values) if other is value or other == value)}"

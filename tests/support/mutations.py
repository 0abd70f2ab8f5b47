"""Break a run's files as disks, editors and other programs do: any node by any JSON value, bytes, cut-off ends."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEEP = "[" * 5000 + "]" * 5000

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-9, 1.5, 1e300, 10**12, 2**63, 10**30, 10**400,
    float("nan"), float("inf"), -float("inf"),
    "", "x", "0.5", "1", "true", "correct", "unscored", "\ud800", "\x00", "a\nb", "é" * 400, "../..", "/etc/passwd",
    [], [None], [1], ["x"], [[0.5]], {}, {"score": 1}, {"score": "x"}, {"category": 5}, {"category": "correct"},
    {"category": "correct", "matches": 3}, {"category": "unscored", "judge": []}, {"": None}, {"x": "str"}, {"x": None},
)  # fmt: skip


def break_file(path: Path, rng: random.Random) -> str:
    """Change one file in one way; returns what was done."""
    data = path.read_bytes()
    change = rng.choice([_tree, _tree, _tree, _tree, _tree, _truncate, _bytes, _lines, _deep])
    changed, done = change(data, path.suffix == ".jsonl", rng)
    path.write_bytes(changed)
    return f"{path.parent.name}/{path.name}: {done}"


def _tree(data: bytes, lines: bool, rng: random.Random) -> tuple[bytes, str]:
    """Replace, drop, double or rename a node of the JSON, or of one line's."""
    rows = data.split(b"\n") if lines else [data]
    place = rng.choice([0, rng.randrange(len(rows)), max(0, len(rows) - 2)])
    try:
        root = json.loads(rows[place])
    except (ValueError, RecursionError):
        return _truncate(data, lines, rng)
    changed, done = _mutate(root, rng)
    try:
        text = json.dumps(changed, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")
    except ValueError:
        return data, "nothing"
    rows[place] = text
    return b"\n".join(rows), f"line {place + 1}: {done}"


def _mutate(root: Any, rng: random.Random) -> tuple[Any, str]:
    spots = list(_spots(root))
    if not spots:
        return rng.choice(VALUES), "all of it"
    # Upper nodes, of which there are few, as often as leaves.
    depth = rng.choice(sorted({len(spot) for spot in spots}))
    spot = rng.choice([spot for spot in spots if len(spot) == depth])
    parent = root
    for step in spot[:-1]:
        parent = parent[step]
    key, name = spot[-1], "/".join(map(str, spot))
    match rng.randrange(6):
        case 0:
            del parent[key]
            return root, f"without {name}"
        case 1 if isinstance(parent, dict):
            parent[rng.choice(["x", "", "\ud800", "/x", "y" * 300, str(key) + "2"])] = parent.pop(key)
            return root, f"{name} renamed"
        case 2 if isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
            return root, f"{name} twice"
        case 3:
            parent[key] = {"x": parent[key]} if rng.random() < 0.5 else [parent[key]]
            return root, f"{name} wrapped"
    parent[key] = rng.choice(VALUES)
    return root, f"{name} = {parent[key]!r:.60}"


def _spots(node: Any, above: tuple[Any, ...] = ()) -> Any:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*above, key)
        yield from _spots(child, (*above, key))


def _truncate(data: bytes, lines: bool, rng: random.Random) -> tuple[bytes, str]:
    end = rng.randrange(len(data) + 1)
    return data[:end], f"cut off at byte {end}"


def _bytes(data: bytes, lines: bool, rng: random.Random) -> tuple[bytes, str]:
    start = rng.randrange(len(data) + 1)
    new = rng.choice(
        [rng.randbytes(1), rng.randbytes(8), b"\x00", b"\n", b"{", b"}", b'"', b",", b"\xff", b"\xef\xbb\xbf"]
    )
    return data[:start] + new + data[start + rng.choice([0, 1, len(new)]) :], f"{new!r} at byte {start}"


def _lines(data: bytes, lines: bool, rng: random.Random) -> tuple[bytes, str]:
    rows = data.split(b"\n")
    place = rng.randrange(len(rows))
    what: Callable[[], Any] = rng.choice(
        [lambda: rows.pop(place), lambda: rows.insert(place, rows[place]), lambda: rng.shuffle(rows), rows.clear]
    )
    what()
    return b"\n".join(rows), f"lines moved at {place + 1}"


def _deep(data: bytes, lines: bool, rng: random.Random) -> tuple[bytes, str]:
    """Nest one value as deep as 5,000."""
    levels = rng.choice([90, 150, 900, 970, 5000])
    value = (
        b'"x"'
        if rng.random() < 0.3
        else rng.choice([b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels])
    )
    colons = [place for place in range(len(data)) if data[place : place + 1] == b":"]
    place = rng.choice(colons) if colons else 0
    return data[: place + 1] + b" " + value + b"," + data[place + 1 :] if rng.random() < 0.2 else _swap(
        data, place, value
    ), f"{levels} deep at byte {place}"


def _swap(data: bytes, colon: int, value: bytes) -> bytes:
    """Put a value where a field's simple value was."""
    end = min((found for mark in (b",", b"}", b"\n") if (found := data.find(mark, colon)) >= 0), default=len(data))
    return data[: colon + 1] + value + data[end:]

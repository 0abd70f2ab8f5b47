"""Phrases that change what a label beside them means (data/cues.yaml): denials, comparisons and more."""

from __future__ import annotations

from functools import cache

from judges.fuzzy.wordlists import load, phrase_set


@cache
def phrases(kind: str) -> frozenset[str]:
    """Return the phrases of one kind, as they stand in folded text."""
    return phrase_set(load("cues")[kind])


@cache
def kinds() -> dict[str, str]:
    """Return phrase → kind of cue."""
    return {phrase: kind for kind in load("cues") for phrase in sorted(phrases(kind))}

"""Judges a label by the words beside it: the thing itself, or a verb, an adjective, or part of another name?"""

from __future__ import annotations

import re

from judges.fuzzy.matching.matcher import Surface
from judges.fuzzy.text.lexicon import FUNCTION_WORDS, is_only_noun, is_plural, may_be
from judges.fuzzy.text.wordlists import word_list

_BEFORE = re.compile(r"([\w']+)[ \-\"*_(]*$")
_AFTER = re.compile(r"([ \-]?)([\w']+)")
_DETERMINERS = word_list("context", "determiners")
_PRONOUNS = word_list("context", "pronouns")
_MODALS = word_list("context", "modals")
_DIRECTIONS = word_list("context", "directions")
_AFTER_COMMAND = word_list("context", "after_command")
_OBJECTS = word_list("context", "objects")
_TO_WITH_NOUN = word_list("context", "to_with_noun")
_HEADS = word_list("context", "heads")
_COLOURS = word_list("context", "colours")
_COLOUR_NOUNS = word_list("context", "colour_nouns")
# "Orange and black": colours, though "orange and apple" is fruit.
_MIXED_COLOURS = re.compile(rf",? (?:and|or|with|to) (?:{'|'.join(sorted(_COLOURS))})\b")
_MIXED_COLOURS_WITHIN = 20
_FRUIT_PARTS = word_list("context", "fruit_parts")
_PREDICATES = word_list("context", "predicates")
_BE = word_list("context", "be")
_NAMED = word_list("context", "named")
_SHADES = word_list("context", "shades")
_UPWARDS = word_list("context", "upwards")
_RISERS = word_list("context", "risers")
_BEFORE_TIN = word_list("context", "before_tin")
_AFTER_TIN = word_list("context", "after_tin")
_BEFORE_MODAL_CAN = word_list("context", "before_modal_can")
_AFTER_MODAL_CAN = word_list("context", "after_modal_can")


def _neighbours(plain: str, start: int, end: int) -> tuple[str, str, str, str]:
    """Return the two words before [start, end) and the glue and word after; "" across punctuation and line ends."""
    before = _BEFORE.search(plain, max(0, start - 40), start)
    previous, second = "", ""
    if before:
        previous = before.group(1)
        earlier = _BEFORE.search(plain, max(0, before.start() - 40), before.start())
        second = earlier.group(1) if earlier else ""
    after = _AFTER.match(plain, end)
    return second, previous, after.group(1) if after else "", after.group(2) if after else ""


def following_word(words: str, plain: str, end: int) -> str:
    """Return the word that follows after at most a blank, "" if there is none."""
    if plain[end] != " ":
        return ""
    stop = words.find(" ", end + 1)
    return words[end + 1 : stop] if stop > 0 else ""


def is_modifier_of(word: str) -> bool:
    """Whether a label right before this word is part of the name of something else ("cat litter")."""
    return bool(word) and word not in _HEADS and word not in FUNCTION_WORDS and is_only_noun(word)


def names_thing(plain: str, start: int, end: int, surface: Surface) -> bool:
    """Whether the single word at [start, end) names a thing, rather than being another word of the same spelling."""
    second, previous, glue, following = _neighbours(plain, start, end)
    if glue == "-" and following not in _HEADS and not following.isdigit():
        return False
    if glue == " " and is_modifier_of(following) and not may_be(following, "v"):
        return False
    if not previous and not following:
        return True
    text = surface.text
    if text == "can":
        return _is_tin(previous, following)
    if text == "rose":
        return not _rose_up(previous, following)
    if "a" in surface.pos or "r" in surface.pos:
        rest = plain[end : end + _MIXED_COLOURS_WITHIN]
        if _is_adjective(text, second, previous, following) or (text in _COLOURS and _MIXED_COLOURS.match(rest)):
            return False
    return "v" not in surface.pos or not _is_verb(text, second, previous, following)


def _is_tin(previous: str, following: str) -> bool:
    """Whether "can" is the container, not the auxiliary verb."""
    if following in _AFTER_MODAL_CAN:
        return False
    if previous in _DETERMINERS or previous in _BEFORE_TIN:
        return True
    if previous in _PRONOUNS or previous in _BEFORE_MODAL_CAN:
        return False
    if not previous:
        return following in _AFTER_TIN
    return not following or following in FUNCTION_WORDS or not may_be(following, "v")


def _rose_up(previous: str, following: str) -> bool:
    """Whether "rose" is the past of "rise"."""
    if previous in _PRONOUNS or is_plural(previous):
        return True
    return previous in _RISERS and (not following or following.endswith("ly") or following in _UPWARDS)


def _is_adjective(text: str, second: str, previous: str, following: str) -> bool:
    """Whether a word that is also an adjective or a colour describes something ("an orange tulip", "it is plain")."""
    colour = text in _COLOURS
    if following in _COLOUR_NOUNS | _COLOURS or previous in _COLOUR_NOUNS:
        return True
    if previous.endswith(("ing", "ed")) and previous not in _COLOURS and not colour and may_be(previous, "v"):
        return True
    if following and following not in FUNCTION_WORDS and may_be(following, "n"):
        verb = following.endswith(("ing", "ed")) or (following.endswith("s") and may_be(following, "v"))
        itself = following in _FRUIT_PARTS if colour else following in _HEADS
        return not verb and not itself
    if previous in _SHADES and second not in _DETERMINERS:
        return True
    if previous not in _BE or not (colour or text in _PREDICATES):
        return False
    return second not in _NAMED or following in {"to", "that"}


def _is_verb(text: str, second: str, previous: str, following: str) -> bool:
    """Whether a word that is also a verb is used as one ("you can see", "birds fly", "train the model")."""
    if previous in _PRONOUNS or previous in _MODALS:
        return True
    if previous == "to":
        return second not in _TO_WITH_NOUN and (not following or following in _DETERMINERS | _DIRECTIONS | _PRONOUNS)
    if not previous:
        return following in _AFTER_COMMAND and not is_plural(text)
    if following in _OBJECTS:
        return is_plural(text) and may_be(previous, "n") and previous not in _DETERMINERS and not may_be(previous, "a")
    return is_plural(previous) and not is_plural(text) and previous not in FUNCTION_WORDS and not following

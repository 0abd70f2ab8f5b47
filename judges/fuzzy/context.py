"""Judges a label by the words beside it: the thing itself, or a verb, an adjective, or part of another name?"""

from __future__ import annotations

import re

from judges.fuzzy.lexicon import FUNCTION_WORDS, is_only_noun, is_plural, may_be
from judges.fuzzy.matcher import Surface
from judges.fuzzy.wordlists import word_set

_BEFORE = re.compile(r"([\w']+)[ \-\"*_(]*$")
_AFTER = re.compile(r"([ \-]?)([\w']+)")
_DETERMINERS = word_set(
    """a an the this that these those my your his her its our their some any each every another one two three four five
    several many no single"""
)
_PRONOUNS = word_set("i you we they he she it who")
_MODALS = word_set("can could will would may might must should shall didn didnt don dont doesn does did ll let lets")
_TO_WITH_NOUN = word_set(
    """next close similar due according compared belongs belong up attached adjacent related refers refer thanks point
    points pointing equal addition opposite connected tied leading leads correspond corresponds used closer closest
    nearest near tethered chained amounts respect front"""
)
# Words after a label that do not make it part of another name: its own kind, and what it is a picture of.
_HEADS = word_set(
    """animal animals bird birds fish fishes flower flowers plant plants tree trees dog dogs cat cats insect insects
    bug instrument instruments vehicle vehicles boat boats ship ships car cars vessel reptile reptiles mammal
    mammals breed species fruit fruits vegetable food dish machine device tool furniture building structure toy
    figure figurine statue sculpture image images picture pictures photo photos photograph photography drawing
    painting sketch icon logo emoji symbol shape silhouette puppy puppies kitten kittens cub cubs pup pups chick
    chicks calf foal blossom blossoms petal petals family genus type kind variety category class label object
    creature specimen bloom bouquet monkey snake digit numeral number fungus shark spider beetle butterfly lizard
    crab terrier hound spaniel shell aircraft truck bus train adult male female individual herd flock leaf leaves
    scene portrait closeup close background foreground amphibian canine feline rodent crustacean mollusc mollusk
    marsupial primate arachnid invertebrate automobile motorcycle utensil appliance garment clothing weapon
    container pony duck bush vine shrub herb mushroom weed bovine wildlife computer"""
)
_COLOURS = word_set(
    """red blue green yellow white black brown pink purple orange grey gray gold golden silver violet teal cyan magenta
    beige maroon tan crimson scarlet navy turquoise cream"""
)
_COLOUR_NOUNS = word_set("color colour colored coloured hue tint tone shade")
# "Orange and black": colours, though "orange and apple" is fruit.
_MIXED_COLOURS = re.compile(rf",? (?:and|or|with|to) (?:{'|'.join(sorted(_COLOURS))})\b")
_MIXED_COLOURS_WITHIN = 20
_FRUIT_PARTS = word_set("fruit fruits slice slices segment segments image picture")
_PREDICATES = word_set("plain safe upright")
_BE = word_set("is are was were be being looks look appears appear seems s colored coloured painted turns turned")
_NAMED = word_set("object answer image label class thing fruit item picture photo subject it this category prediction")
_SHADES = word_set(
    "bright dark deep pale light vivid very mostly reddish yellowish brownish vibrant fluorescent neon burnt bold"
)
_UPWARDS = word_set(
    "to up over above from in by and into out higher again sharply early at through against like behind beyond"
)
_RISERS = word_set(
    """sun moon price prices temperature temperatures smoke steam water level levels curtain tension crowd dough number
    numbers sales stock stocks tide wind voice voices audience building tower mountain mountains balloon sea bread
    waters river fog mist dust rates cost costs inflation they he she it we who heat rocket plane bird airplane"""
)
_AFTER_MODAL_CAN = word_set(
    "be not see help you i we t do also only have hardly never just the it they he she tell provide identify describe"
)


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
    """Return the word that follows with no more than a blank between, "" where there is none."""
    if plain[end] != " ":
        return ""
    stop = words.find(" ", end + 1)
    return words[end + 1 : stop] if stop > 0 else ""


def is_modifier_of(word: str) -> bool:
    """Whether a label right before this word is part of the name of something else ("cat litter")."""
    return bool(word) and word not in _HEADS and word not in FUNCTION_WORDS and is_only_noun(word)


def names_thing(plain: str, start: int, end: int, surface: Surface) -> bool:
    """Whether the single word at [start, end) stands for a thing rather than for what its letters can mean too."""
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
    if previous in _DETERMINERS or previous in {"of", "and", "or", "with", "as", "is", "in", "on", "like"}:
        return True
    if previous in _PRONOUNS or previous in {"that", "which", "who", "there", "what", "how", "where"}:
        return False
    if not previous:
        return following in {"of", "on", "with", "in", "and", "or", "sitting", "image", "picture", "object", "label"}
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
    if previous.endswith(("ing", "ed")) and not colour and may_be(previous, "v"):
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
        return (
            second not in _TO_WITH_NOUN
            and following in _DETERMINERS | {"up", "down", "out", "off", "in", "away", ""} | _PRONOUNS
        )
    if not previous:
        return following in {"the", "a", "an", "your", "my", "this", "up", "down"} and not is_plural(text)
    if following in {"a", "an", "the", "no", "his", "its", "their", "witness", "resemblance", "fruit", "mind"}:
        return is_plural(text) and may_be(previous, "n") and previous not in _DETERMINERS and not may_be(previous, "a")
    return is_plural(previous) and not is_plural(text) and previous not in FUNCTION_WORDS and not following

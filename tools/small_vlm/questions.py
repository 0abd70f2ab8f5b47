"""What the small model is aligned on besides its data sets' own questions: rows of conversations, made from labels.

About images: captions, colours, yes or no, multiple choice, and what kind of thing it is (by WordNet). Without images:
what a word means (WordNet's glosses) and what the language model itself answered before, which keep its abilities.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from tools.wordnet import Synset, WordNet

LETTERS = "ABCD"
CAPTIONS = ("Describe the image briefly.", "What does this picture show?", "Give a short caption.")
MEANINGS = ("What is {a}?", "What does the word {name} mean?", "Explain in one sentence what {a} is.")
COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (190, 30, 45),
           "orange": (235, 140, 50), "yellow": (225, 205, 80), "green": (70, 130, 60), "blue": (70, 120, 190),
           "brown": (120, 80, 50)}  # fmt: skip
QUESTION = "Which object does the photo show?"
"""How the sorts below and drawn shapes are asked for, and CIFAR-10 never is: what a fine-tuning may teach."""

SORTS = {
    "clothing": ("n03051540", "n03497657"),
    "container": ("n03094503",),
    "insect": ("n02159955",),
    "musical instrument": ("n03800933",),
    "furniture": ("n03405725",),
    "snake": ("n01726692",),
    "fish": ("n02512053",),
    "fruit": ("n13134947",),
    "building": ("n02913152",),
    "tool": ("n04451818",),
    "monkey": ("n02484322", "n02469914"),
    "vegetable": ("n07707451",),
    "lizard": ("n01674464",),
    "ball": ("n02778669",),
}
"""Sorts of things, none of them in CIFAR-10, with what WordNet puts them under: a third of ImageNet's classes."""

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Thing:
    """An image on disk with its label's name and WordNet id, and the names that a question may offer instead of it."""

    image: str
    name: str
    wnid: str
    others: tuple[str, ...]


def image_rows(things: Sequence[Thing], images: Path, wordnet: WordNet, seed: int) -> Iterator[Row]:
    """Yield one question of each kind about each image; the kinds that do not fit an image are left out."""
    rng = random.Random(seed)
    for thing in things:
        for kind in (_caption, _yes_or_no, which):
            yield {"image": thing.image, **kind(thing, rng)}
        for fitting in (which_kind(thing, wordnet, rng), _colour(images / thing.image)):
            if fitting is not None:
                yield {"image": thing.image, **fitting}


def object_rows(things: Sequence[Thing], seed: int) -> Iterator[Row]:
    """Yield the question for an object, and one with options, about each image."""
    rng = random.Random(seed)
    for thing in things:
        for row in (_row(QUESTION, thing.name), which(thing, rng)):
            yield {"image": thing.image, **row}


def sorted_things(things: Sequence[Thing], wordnet: WordNet) -> Iterator[Thing]:
    """Yield the things that are of some sort, named by it."""
    for thing in things:
        name = sort_of(thing.wnid, wordnet)
        if name is not None:
            yield replace(thing, name=name, others=tuple(other for other in SORTS if other != name))


def sort_of(wnid: str, wordnet: WordNet) -> str | None:
    """Return what sort of thing a WordNet id names, the nearest above it; None if it is of none."""
    sorts = {root: name for name, roots in SORTS.items() for root in roots}
    above = (one.wnid for one in _above(wordnet, wordnet.synsets[wnid[1:]]))
    return next((sorts[one] for one in above if one in sorts), None)


def choice_rows(things: Sequence[Thing], wordnet: WordNet, seed: int) -> Iterator[Row]:
    """Yield the questions with lettered options about each image, in other words than `image_rows` draws."""
    rng = random.Random(seed)
    for thing in things:
        kind = which_kind(thing, wordnet, rng)
        for row in (which(thing, rng), which(thing, rng), *([] if kind is None else [kind])):
            yield {"image": thing.image, **row}


def word_rows(names: dict[str, str], wordnet: WordNet, seed: int) -> Iterator[Row]:
    """Yield what each name means; `names` has their WordNet ids."""
    rng = random.Random(seed)
    for name, wnid in names.items():
        gloss = wordnet.synsets[wnid[1:]].gloss.partition(";")[0].strip()
        yield _row(rng.choice(MEANINGS).format(name=name, a=with_article(name)), f"{gloss[0].upper()}{gloss[1:]}.")


def with_article(name: str) -> str:
    """Return a name with "a" or "an"."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _row(question: str, answer: str) -> Row:
    return {"question": question, "answer": answer}


def _caption(thing: Thing, rng: random.Random) -> Row:
    return _row(rng.choice(CAPTIONS), f"A photo of {with_article(thing.name)}.")


def _yes_or_no(thing: Thing, rng: random.Random) -> Row:
    asked = thing.name if rng.random() < 0.5 else rng.choice(thing.others)
    return _row(
        f"Is there {with_article(asked)} in the image? Answer yes or no.", "Yes" if asked == thing.name else "No"
    )


def which(thing: Thing, rng: random.Random) -> Row:
    """Ask which of four names an image shows."""
    return multiple_choice("What is in the image?", thing.name, rng.sample(thing.others, 3), rng)


def which_kind(thing: Thing, wordnet: WordNet, rng: random.Random) -> Row | None:
    """Ask what kind of thing an image shows; None if WordNet puts it in none of four."""
    kinds = {"n00015388": "an animal", "n03575240": "an object", "n00017222": "a plant", "n07555863": "food"}
    found = next(
        (kinds[one.wnid] for one in _above(wordnet, wordnet.synsets[thing.wnid[1:]]) if one.wnid in kinds), None
    )
    if found is None:
        return None
    others = [kind for kind in kinds.values() if kind != found]
    return multiple_choice("What kind of thing is in the image?", found, others, rng)


def _colour(file: Path) -> Row | None:
    """Ask for the colour nearest to at least half of an image's pixels."""
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in COLOURS.values() for value in colour])
    with Image.open(file) as image:
        small = image.convert("RGB").resize((16, 16)).quantize(palette=palette, dither=Image.Dither.NONE)
    count, number = max(small.getcolors() or [])
    if 2 * count < small.width * small.height or not isinstance(number, int):
        return None
    return _row("What is the main colour of the image? Answer in one word.", list(COLOURS)[number].capitalize())


def multiple_choice(question: str, right: str, wrong: Sequence[str], rng: random.Random) -> Row:
    """Return a question with lettered options in random order, with the right one and its letter.

    The answer is the option's text: what a letter stands for is more than the language model learns from so little.
    """
    options = [right, *wrong]
    rng.shuffle(options)
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
    asked = "\n".join([question, *lines, "Answer with one of these options."])
    return {**_row(asked, right), "letter": LETTERS[options.index(right)]}


def _above(wordnet: WordNet, synset: Synset) -> Iterator[Synset]:
    """Yield a synset and all above it, the nearest first."""
    level = [synset]
    while level:
        yield from level
        level = [wordnet.synsets[offset] for one in level for offset in one.hypernyms]


def replayed(names: Sequence[str], answer: Callable[[list[str]], list[str]]) -> Iterator[Row]:
    """Yield what the language model tells about names before its alignment; `answer` answers prompts."""
    prompts = [f"Tell me something about {with_article(name)}." for name in names]
    for prompt, said in zip(prompts, answer(prompts), strict=True):
        yield _row(prompt, said)

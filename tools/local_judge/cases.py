"""Answers with known verdicts, put together from `styles.yaml`: the same seed writes the same cases."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from emt_core.files import Row, read_yaml
from emt_tasks.datasets.vocabularies import load
from judges.fuzzy.matching.matcher import Matcher
from judges.fuzzy.matching.spelling import Speller
from judges.fuzzy.text.normalize import fold
from judges.verdict import Category
from judges.vocabulary import Label, Vocabulary

KINDS = {"class": 58, "digit": 8, "option": 21, "text": 9, "yes_no": 4}
"""The kinds of question, with their weights."""

TASKS = {"cifar10": 3, "cifar100": 2, "flowers102": 1, "imagenet1k": 3, "miniimagenet": 2}

_USUAL = ("class", "digit", "option", "text")
_SLOTS = "xyz"
_SENTENCE = re.compile(r"^\w|(?<=[.!?] )[a-z]")
_CLAUSE = re.compile(r"\{([a-z]+):([xyz])\}")
_FORMS = {"name": 60, "synonym": 18, "subtype": 14, "misspelling": 8}
_DECORATED = 0.15


@dataclass(frozen=True)
class Filling:
    """What a question's slots hold: `keys` identify what x, y and z stand for, `texts` how the answer calls them."""

    task: str
    keys: Sequence[str]
    texts: Sequence[str]
    choices: Sequence[str] = ()
    other: str = ""
    outside: str = ""
    hypernym: str = ""


def styles() -> dict[str, Any]:
    """Return the contents of `styles.yaml`."""
    contents: dict[str, Any] = read_yaml(Path(__file__).with_name("styles.yaml"))
    return contents


def generate(count: int, seed: int, *, validation: bool) -> Iterator[Row]:
    """Yield distinct rows as `emt judge` reads them, with `category`, `style` and `asserts` (labels or letters).

    The styles of validation and training are disjoint.
    """
    generator = random.Random(f"{seed} {validation}")
    book = styles()
    seen: set[tuple[str, str, str]] = set()
    while len(seen) < count:
        kind = _weighted(generator, KINDS)
        fitting = [
            name
            for name, style in book["styles"].items()
            if bool(style.get("validate")) == validation and kind in style.get("for", _USUAL)
        ]
        name = generator.choice(fitting)
        style = book["styles"][name]
        if kind in ("text", "yes_no") and len(style["asserts"]) > 1:
            continue  # a short answer is never intrinsic
        filling = _FILLINGS[kind](generator, book)
        row = _row(generator, book, style, filling, kind)
        key = (row["task"], row["label"], row["prediction"])
        if key not in seen:
            seen.add(key)
            yield row | {"style": name}


def category_of(asserted: set[str], gold: str) -> Category:
    """Return the rubric's category of an answer that asserts these."""
    if not asserted:
        return "extrinsic"
    if asserted == {gold}:
        return "correct"
    return "incorrect" if len(asserted) == 1 else "intrinsic"


def _row(generator: random.Random, book: dict[str, Any], style: dict[str, Any], filling: Filling, kind: str) -> Row:
    """Fill one text of a style; the right answer is any of its slots, more often one that is asserted."""
    asserted = [filling.keys[_SLOTS.index(slot)] for slot in style["asserts"]]
    likely = asserted[:1] or list(filling.keys)[:1]
    gold = generator.choice(likely if generator.random() < 0.5 else list(filling.keys))
    bare = dict(zip("XYZ", filling.texts, strict=True))
    articled = {slot.lower(): _with_article(text, kind) for slot, text in bare.items()}
    listed = list(filling.choices or filling.texts)
    if kind != "option":
        generator.shuffle(listed)
    text = _with_clauses(generator, book["clauses"], generator.choice(style["texts"])).format(
        **bare,
        **articled,
        options=", ".join(listed),
        other=filling.other,
        outside=filling.outside,
        kind=filling.hypernym,
    )
    row: Row = {
        "task": filling.task,
        "kind": {"option": "multiple_choice", "text": "short_answer", "yes_no": "short_answer"}.get(
            kind, "classification"
        ),
        "label": gold,
        "prediction": _decorated(generator, book, text, kind),
        "category": category_of(set(asserted), gold),
        "asserts": asserted,
    }
    return row | ({"choices": list(filling.choices)} if filling.choices else {})


def _with_clauses(generator: random.Random, clauses: dict[str, list[str]], text: str) -> str:
    """Put a clause of its kind in each place such as {deny:y}, about that slot."""

    def clause(found: re.Match[str]) -> str:
        slot = found[2]
        return generator.choice(clauses[found[1]]).replace("{x}", f"{{{slot}}}").replace("{X}", f"{{{slot.upper()}}}")

    return _CLAUSE.sub(clause, text)


def _decorated(generator: random.Random, book: dict[str, Any], text: str, kind: str) -> str:
    """Begin with a capital letter mostly, and now and then put small talk around the answer or change its case."""
    if generator.random() < 0.7:
        text = _SENTENCE.sub(lambda found: found[0].upper(), text)
    if generator.random() < _DECORATED:
        before = generator.choice(book["before"])
        text = text if kind == "yes_no" else before + text  # "Sure!" says yes
    if generator.random() < _DECORATED:
        text += generator.choice(book["after"])
    drawn = generator.random()
    return text.upper() if drawn < 0.03 else text.lower() if drawn < 0.10 else text


def _with_article(text: str, kind: str) -> str:
    if kind == "digit":
        return text if text.isalpha() else f"a {text}"
    if kind != "class":
        return text
    return f"{'an' if text[:1].lower() in 'aeiou' else 'a'} {text}"


def _class(generator: random.Random, book: dict[str, Any]) -> Filling:
    task = _weighted(generator, TASKS)
    vocabulary = load(task)
    first = generator.choice(vocabulary.labels)
    near = vocabulary.labels[max(0, first.index - 4) : first.index + 5]
    pool = near if generator.random() < 0.4 else vocabulary.labels
    named = {first.name: _called(generator, vocabulary, first)}
    while len(named) < len(_SLOTS):
        label = generator.choice(pool)
        if label.name not in named:
            named[label.name] = _called(generator, vocabulary, label)
    others = [name for name in vocabulary.others if name] or ["catalogue"]
    outside = [thing for thing in book["outside"] if not meant(vocabulary, thing)]
    kinds = [thing for thing in book["kinds"][task] if not meant(vocabulary, thing)]
    return Filling(
        task, list(named), list(named.values()), other=generator.choice(others), outside=generator.choice(outside),
        hypernym=generator.choice(kinds),
    )  # fmt: skip


def _called(generator: random.Random, vocabulary: Vocabulary, label: Label) -> str:
    """Return one of a class's names, one that no other class shares; the name itself if there is none."""
    form = _weighted(generator, _FORMS)
    names = {"synonym": label.synonyms, "subtype": label.subtypes}.get(form) or (label.name,)
    name = generator.choice(names)
    if meant(vocabulary, name) != {label.index}:
        return label.name
    changed = _misspelt(generator, name) if form == "misspelling" and len(name) > 5 else name
    return changed if meant(vocabulary, changed) <= {label.index} else name


def _misspelt(generator: random.Random, name: str) -> str:
    """Drop, double or swap one letter after the first."""
    place = generator.randrange(1, len(name) - 1)
    changed = ("", name[place] * 2, name[place + 1] + name[place])
    chosen = generator.randrange(3)
    return name[:place] + changed[chosen] + name[place + (2 if chosen == 2 else 1) :]


@cache
def matcher(vocabulary: Vocabulary) -> Matcher:
    """Return the rules' finder of names."""
    return Matcher(vocabulary)


@cache
def speller(vocabulary: Vocabulary) -> Speller:
    """Return the rules' finder of misspelt names."""
    return Speller(matcher(vocabulary).surfaces)


def meant(vocabulary: Vocabulary, name: str) -> set[int]:
    """Return the classes that a text mentions, whatever it says of them."""
    return {index for hit in matcher(vocabulary).find(fold(name).words) for index in hit.surface.labels}


def _digit(generator: random.Random, book: dict[str, Any]) -> Filling:
    labels = generator.sample(load("mnist").labels, 3)
    texts = [generator.choice((label.name, label.name, label.synonyms[-1])) for label in labels]
    english = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    texts = [text if text.isdigit() else english[label.index] for text, label in zip(texts, labels, strict=True)]
    return Filling("mnist", [label.name for label in labels], texts, outside=generator.choice(book["outside"]))


def _option(generator: random.Random, book: dict[str, Any]) -> Filling:
    choices = generator.sample(generator.choice(book["options"]), 4)
    if generator.random() < 0.3:  # classes and things of the vocabularies are options too
        choices = [label.name for label in generator.sample(load("imagenet1k").labels, 4)]
    picked = generator.sample(range(4), 3)
    shape = generator.choice(("{l}", "({l})", "{l}. {t}", "{t}", "{t}", "option {l}", "{l}) {t}"))
    texts = [shape.format(l="ABCD"[place], t=choices[place]) for place in picked]
    return Filling("imagewikiqa", ["ABCD"[place] for place in picked], texts, choices)


def _text(generator: random.Random, book: dict[str, Any]) -> Filling:
    answers = generator.sample(generator.choice(list(book["short_answers"].values())), 3)
    return Filling("ocr_vqa", answers, answers)


def _yes_no(generator: random.Random, book: dict[str, Any]) -> Filling:
    answers = generator.sample(["Yes", "No"], 2)
    return Filling("ocr_vqa", [*answers, answers[1]], [*answers, answers[1]])


_FILLINGS = {"class": _class, "digit": _digit, "option": _option, "text": _text, "yes_no": _yes_no}


def _weighted(generator: random.Random, weights: dict[str, int]) -> str:
    return generator.choices(list(weights), list(weights.values()))[0]

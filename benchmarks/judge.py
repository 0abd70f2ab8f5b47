"""How fast is the rule judge: on everyday answers, on garbage, and on answers that loop?

    python -m benchmarks.judge [--answers 20000] [--repeats 5]

Everyday: distinct answers of the kinds that models give to "What type of object is in this photo?", judged against the
1,000 ImageNet labels with their synonyms. One thread, timed by its own CPU seconds (on an idle core the same as
wall-clock seconds), the best of several repeats. Building the index is timed apart. The judge also knows plurals, other
spellings and subtypes; the peer, a loop of rapidfuzz.process.extractOne, gets only names and synonyms, which makes it
faster.

Garbage: distinct answers of ten words without meaning, as an untrained model writes them, against 10 and 1,000 labels.
Loops: one phrase repeated to 10 kB, 100 kB and 1 MB, for each kind of target; the slowest phrase of each is shown.
Prints one JSON line per figure.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from rapidfuzz import process

from emt_tasks.datasets.vocabularies import load
from judges import Classification, MultipleChoice, ShortAnswer, Vocabulary
from judges.fuzzy.judge import FuzzyJudge
from judges.fuzzy.matching.matcher import Matcher
from judges.target import Target

# Templates with their weights: bare names and one-sentence answers dominate; some need every rule.
TEMPLATES = (
    ("{a}", 20),
    ("{a}.", 8),
    ("A {a}", 8),
    ("The object in the photo is a {a}.", 12),
    ("This is a photo of a {adjective} {a}.", 10),
    ("It is a {a} {place}.", 8),
    ("The image shows a {adjective} {a} {place}.", 10),
    ("The type of object in this photo is {a}.", 8),
    ("It looks like a {a} {place}.", 4),
    ("A close-up of a {adjective} {a}, taken {place}.", 4),
    ("A {a} next to a {b}.", 3),
    ("It is not a {a}, it is a {b}.", 1),
    ("**{a}**", 1),
    ('{{"label": "{a}"}}', 1),
    ("I cannot tell what this is {place}.", 1),
    ("A {adjective} animal {place}.", 1),
)
ADJECTIVES = [
    "small",
    "large",
    "red",
    "brown",
    "black",
    "white",
    "shiny",
    "wooden",
    "young",
    "old",
    "beautiful",
    "striped",
    "tiny",
    "huge",
    "yellow",
    "green",
]
PLACES = [
    f"{preposition} the {noun}"
    for preposition in ("in", "on", "near", "behind", "under", "above", "beside", "in front of")
    for noun in [
        "grass",
        "water",
        "snow",
        "street",
        "wall",
        "room",
        "garden",
        "floor",
        "studio",
        "trees",
        "sand",
        "garage",
        "park",
        "sun",
        "rain",
        "mirror",
    ]
]


LOOPS = ["!", '"', "(", "-", "**", "not ", "is not a cat, nor ", "<think>", "<!--", "<del ", '{"a":[', "cat ",
         '{"label": "cat", ', "cat dog ", "the final answer is cat ", "answer: ", "A ", "a, b, ", "(A) ", "1 ",
         "first option ", "score 1 ", "1/5 ", "[1,", "what:", "\n", "``` ", "a.a@", "yes no ", "no wait, cat ",
         "looks like a cat, ", "could be a cat. ", "a cat is out, so is a dog, ",
         "a cat or a dog can be excluded, ", "neither fits, cat ", "which of a cat, a dog, ",
         "grade this as correct. ", "a", "zqx ", "é", "cat? "]  # fmt: skip
LOOPED: dict[str, Target] = {
    "10 classes": Classification("cat", load("cifar10")),
    "1,000 classes": Classification(281, load("imagenet1k")),
    "digits": Classification("3", load("mnist")),
    "options": MultipleChoice("A", ("a cat", "the dog", "no", "one")),
    "text": ShortAnswer("Ada Lovelace"),
    "yes or no": ShortAnswer("yes"),
    "number": ShortAnswer("1998"),
}


def answers(vocabulary: Vocabulary, count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Return distinct answers, each with the index of the class that it was made from."""
    generator = random.Random(seed)
    templates, weights = zip(*TEMPLATES, strict=True)
    made: dict[str, int] = {}
    while len(made) < count:
        first, second = generator.sample(vocabulary.labels, 2)
        name = generator.choice((first.name, *first.synonyms))
        text = generator.choices(templates, weights)[0].format(
            a=name, b=second.name, adjective=generator.choice(ADJECTIVES), place=generator.choice(PLACES)
        )
        made.setdefault(text, first.index)
    return list(made.items())


def garbage(count: int, seed: int = 0) -> list[str]:
    """Return distinct answers of ten words that are none."""
    generator = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ("".join(generator.choices(letters, k=generator.randint(3, 11))) for _ in range(10 * count))
    return [" ".join(next(words) for _ in range(10)) for _ in range(count)]


def loop_seconds(judge: FuzzyJudge, loop: str, length: int, target: Target) -> float:
    """Return the least CPU seconds of three verdicts on a phrase repeated to a length."""
    text = (loop * (length // len(loop) + 1))[:length]
    taken = []
    for _ in range(3):
        start = time.process_time()
        judge.judge(text, target)
        taken.append(time.process_time() - start)
    return min(taken)


def best_rate(run: Callable[[], None], items: int, repeats: int) -> float:
    """Return the highest number of items per second over several runs."""
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        rates.append(items / (time.process_time() - start))
    return max(rates)


def main() -> None:
    """Measure both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=20_000, help="distinct answers to judge")
    parser.add_argument("--peer-answers", type=int, default=200, help="how many of these the slower peer gets")
    parser.add_argument("--repeats", type=int, default=5, help="runs; the best one counts")
    arguments = parser.parse_args()
    vocabulary = load("imagenet1k")
    start = time.process_time()
    spellings = sum(bool(surface.labels) for surface in Matcher(vocabulary).surfaces.values())
    report("index_seconds", time.process_time() - start, spellings=spellings)
    names = sorted({name for label in vocabulary.labels for name in (label.name, *label.synonyms)})
    items = [(text, Classification(index, vocabulary)) for text, index in answers(vocabulary, arguments.answers)]
    judge = FuzzyJudge()
    judge.judge("warm up", items[0][1])

    def ours() -> None:
        for text, target in items:
            judge.judge(text, target)

    def theirs() -> None:
        for text, _ in items[: arguments.peer_answers]:
            process.extractOne(text, names)

    our_rate = best_rate(ours, len(items), arguments.repeats)
    peer_rate = best_rate(theirs, min(arguments.peer_answers, len(items)), arguments.repeats)
    report("rule_judge_verdicts_per_second", our_rate, answers=len(items))
    report("rapidfuzz_extract_one_per_second", peer_rate, answers=arguments.peer_answers, names=len(names))
    report("times_as_fast", our_rate / peer_rate)
    for labels in ("cifar10", "imagenet1k"):
        target = Classification(0, load(labels))
        judge.judge("zqxw vbnm", target)
        rates = []
        for seed in range(arguments.repeats):  # other words each time: the judge remembers those it has seen
            nonsense = garbage(arguments.answers // 10, seed)
            start = time.process_time()
            for text in nonsense:
                judge.judge(text, target)
            rates.append(len(nonsense) / (time.process_time() - start))
        report("garbage_verdicts_per_second", max(rates), answers=len(nonsense),
               labels=len(target.vocabulary.labels))  # fmt: skip
    for kind, looped in LOOPED.items():
        for length in (10**4, 10**5, 10**6):
            taken = {loop: loop_seconds(judge, loop, length, looped) for loop in LOOPS}
            slowest = max(taken, key=lambda loop: taken[loop])
            report("loop_milliseconds", 1000 * taken[slowest], target=kind, length=length, slowest=slowest)


def report(name: str, value: float, **details: int | str) -> None:
    """Print one figure."""
    print(json.dumps({"benchmark": "judge", "figure": name, "value": float(f"{value:.4g}"), **details}))


if __name__ == "__main__":
    main()

"""What `emt demo` says at its end: what each recipe learned and lost, and what to do, all from the gate's results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from leaderboards.comparison.forgetting import TaskComparison
    from leaderboards.gate.decide import GateResult, Unit

FINETUNED_ON = "demo_digits"
SAME_IMAGES = "demo_digits_qa"

_WORD = {"forgetting": "FAILS the gate", "not inferior": "passes the gate", "undecided": "undecided"}
_PLACES = {
    "demo_digits": "the question and images that it was trained on",
    "demo_shapes": "the same question about other images",
    "demo_digits_qa": "other questions about the same images",
    "demo_digits_qa_distractor": "those questions, with the image's class as a wrong option",
    "demo_shapes_qa": "other questions about other images",
}
"""Each task's place in the matrix, in words."""

_ANSWERS = {
    "leakage": "name a digit where an option was asked for",
    "extrinsic": "are no option at all",
    "incorrect": "are another option",
    "intrinsic": "are several options",
    "unscored": "could not be judged",
}

Fate = Literal["learned", "not learned", "kept", "lost", "unclear"]
"""What became of a task; only the one that was trained on can be learned or not."""


@dataclass(frozen=True, slots=True)
class Ending:
    """One recipe's outcome: its short name, what it does, and the gate's result on its last checkpoint."""

    name: str
    about: str
    result: GateResult

    @property
    def learned(self) -> bool:
        """Whether it is shown to have gained on the task that it was trained on."""
        return self.fate(FINETUNED_ON) == "learned"

    @property
    def after(self) -> float | None:
        """How much of the new task it has right after training, in percent."""
        scores = next((task.scores for task in self.result.comparison.tasks if task.task == FINETUNED_ON), None)
        return scores.candidate.estimate if scores else None

    def fate(self, task: str) -> Fate:
        """Return what became of a task, by the gate's test of it."""
        unit = next((unit for unit in self.result.units if unit.name == task), None)
        if unit is None or unit.outcome == "undecided":
            return "unclear"
        if unit.outcome == "forgetting":
            return "lost"
        if task != FINETUNED_ON:
            return "kept"
        return "learned" if _gained(unit) else "not learned"


def _gained(unit: Unit) -> bool:
    """Whether accuracy is shown to have risen: even the largest drop in the interval is a rise."""
    return unit.drop is not None and unit.drop.upper is not None and unit.drop.upper < 0


def in_words(endings: Sequence[Ending]) -> Iterator[str]:
    """Yield what happened to each recipe, line by line, then what follows from it."""
    for ending in endings:
        yield ""
        yield f"{ending.name} ({ending.about}): {_WORD[ending.result.outcome]}"
        for task in sorted(ending.result.comparison.tasks, key=_place):
            fate = ending.fate(task.task)
            yield f"  {fate:<11}  {_PLACES.get(task.task, task.task)}: {_change(task)}"
            if fate == "lost" and task.task == SAME_IMAGES:
                yield f"  {'':<11}  {_lost_to(task)}"
    yield ""
    yield " ".join(what_happened(endings))
    yield " ".join(what_to_do(endings))


def _place(task: TaskComparison) -> int:
    order = list(_PLACES)
    return order.index(task.task) if task.task in order else len(order)


def _change(task: TaskComparison) -> str:
    if task.scores is None:
        return "no answer could be scored"
    said = f"{percent(task.scores.base.estimate)} right before, {percent(task.scores.candidate.estimate)} after"
    if task.distracted is None:
        return said
    chosen = (percent(side.estimate) for side in (task.distracted.base, task.distracted.candidate))
    return f"{said}; {' before and '.join(chosen)} after chose the class"


def _lost_to(task: TaskComparison) -> str:
    """Say what became of the answers that were right before."""
    flips = task.flips
    parts = [f"{flips.lost_to[kind]} {words}" for kind, words in _ANSWERS.items() if flips.lost_to.get(kind)]
    return f"of the {flips.lost} answers lost there, {listed(parts)}"


def what_happened(endings: Sequence[Ending]) -> Iterator[str]:
    """Yield what was learned and what was lost, in sentences."""
    learned = [ending for ending in endings if ending.learned]
    others = [ending for ending in endings if not ending.learned]
    if learned:
        rest = f"; for {_the(others)}, no gain is shown" if others else ""
        yield f"{_all_or(learned, endings)} learned to name the digits{rest}."
    else:
        yield "No recipe is shown to have learned to name the digits."
    yield _what_was_lost(endings)
    blind = [ending for ending in learned if ending.fate(SAME_IMAGES) == "lost"]
    if blind:
        who = _capital(_the(blind))
        yield f"{who} learned what these images are called, but lost answers to other questions about them."


def _what_was_lost(endings: Sequence[Ending]) -> str:
    failed, passed, open_ = (_those(endings, outcome) for outcome in ("forgetting", "not inferior", "undecided"))
    points = f"{endings[0].result.policy.margin:g} points"
    if failed:
        said = f"{_all_or(failed, endings)} forgot more than {points} of what the base could do"
        said += f"; {_the(passed)} did not" if passed else ""
    elif passed:
        said = f"{_all_or(passed, endings)} kept what the base could do, to within {points}"
    else:
        return f"Whether {_the(open_)} forgot more than {points} cannot be told: there is not enough evidence."
    return said + (f"; for {_the(open_)}, there is not enough evidence." if open_ else ".")


def what_to_do(endings: Sequence[Ending]) -> Iterator[str]:
    """Yield what somebody with these candidates should do, in sentences."""
    passed = _those(endings, "not inferior")
    useful = [ending for ending in passed if ending.learned]
    useless = [ending for ending in passed if not ending.learned]
    if useful:
        yield _release(useful)
    if useless and not useful:
        yield f"{_capital(_the(useless))} passed but gained nothing: train for longer, or at a higher learning rate."
    if open_ := _those(endings, "undecided"):
        yield f"Evaluate {_the(open_)} on more documents before you decide."
    if failed := _those(endings, "forgetting"):
        yield f"Do not release {_the(failed, 'or')}: train again at a lower learning rate, or with other data mixed in."


def _release(useful: Sequence[Ending]) -> str:
    """Name the one that has most of the new task right among those that may be released, or those that share that."""
    most = max(ending.after or 0.0 for ending in useful)
    best = [ending for ending in useful if ending.after == most]
    rest = [f"the {ending.name} {percent(ending.after)}" for ending in useful if ending not in best]
    who = f"Release {_the(best, 'or')}:"
    if not rest:
        return f"{who} {'it' if len(best) == 1 else 'each'} has {percent(most)} of the new task right."
    has = "it has" if len(best) == 1 else "they have"
    return f"{who} of those that pass, {has} most of the new task right ({percent(most)}; {listed(rest)})."


def _those(endings: Sequence[Ending], outcome: str) -> list[Ending]:
    return [ending for ending in endings if ending.result.outcome == outcome]


def _all_or(some: Sequence[Ending], endings: Sequence[Ending]) -> str:
    """Name these recipes, or say that they are all: the beginning of a sentence."""
    if len(some) < len(endings) or len(some) == 1:
        return _capital(_the(some))
    return {2: "Both recipes", 3: "All three recipes"}.get(len(some), f"All {len(some)} recipes")


def _the(endings: Sequence[Ending], joint: str = "and") -> str:
    return listed([f"the {ending.name}" for ending in endings], joint)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def percent(value: float | None) -> str:
    """Return a share in percent as it is shown, `-` if there is none."""
    return "-" if value is None else f"{value:.1f} %"


def listed(parts: Sequence[str], joint: str = "and") -> str:
    """Return the parts as a list in a sentence."""
    return f" {joint} ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else "none"

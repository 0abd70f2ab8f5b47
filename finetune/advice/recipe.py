"""From facts to a recipe: rules and the user's own fields applied in turn, and written with the reasons as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from finetune.advice.conditions import OTHER, STOP
from finetune.advice.evidence import EVIDENCE
from finetune.advice.facts import OTHERS, YOURS, Facts
from finetune.advice.rules import RULES
from finetune.recipes.files import changed, checked, override_key
from finetune.recipes.schema import Recipe
from finetune.training.memory import in_words

COMMENT, WIDTH = 80, 118
"""Characters of a comment's line, and of a field's."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed for a field, and why.

    `given` are the user's own settings of it, in its place (`replaced`) or of something inside it.
    """

    field: str
    value: Any
    because: str
    evidence: tuple[str, ...]
    given: tuple[str, ...] = ()
    replaced: bool = False

    @property
    def sources(self) -> list[str]:
        """Where the evidence is from."""
        return list(dict.fromkeys(EVIDENCE[key].source for key in self.evidence))


def propose(facts: Facts, given: Sequence[str]) -> tuple[list[Proposal], dict[str, Any]]:
    """Return a proposal for each field, and the recipe's fields with what the user gives in their place.

    What is given as a whole is known from the start, so that the rest goes with it; what is given inside a field that
    is proposed, such as `probe.stop`, changes the proposal.

    Args:
        facts: what was looked at; their fields are those that need no advice, such as the model.
        given: `key=value` overrides.

    Raises:
        UserError: an override is none, or the recipe that it makes is invalid.
    """
    names = list(dict.fromkeys(rule.field for rule in RULES))
    inside = [override for override in given if any(_inside(override_key(override), name) for name in names)]
    fields = dict(facts.fields)
    for override in given:
        if override not in inside:
            fields = changed(fields, override)
    facts = facts.with_fields(**fields)
    if "train" in fields:
        replace(facts, fields={"train": fields["train"], "model": "", "output": ""}).recipe()
    proposals = []
    for name in names:
        rule = next((rule for rule in RULES if rule.field == name and all(holds(facts) for holds in rule.when)), None)
        value = rule.value(facts) if rule is not None and callable(rule.value) else rule and rule.value
        whole = [override for override in given if override not in inside and _replaces(override_key(override), name)]
        parts = [override for override in inside if _inside(override_key(override), name)]
        if value is not None and not whole:
            facts = facts.with_fields(**_put(facts.fields, name, value))
        for override in parts:
            facts = facts.with_fields(**changed(facts.fields, override))
        if rule is not None:
            because = rule.because.format(**words(facts))
            proposals.append(Proposal(name, value, because, rule.evidence, (*whole, *parts), bool(whole)))
    checked(facts.fields, "--advise")
    return proposals, dict(facts.fields)


def _inside(key: str, name: str) -> bool:
    return key.startswith(f"{name}.")


def _replaces(key: str, name: str) -> bool:
    """Whether an override's key is a field, around it, or what takes its place."""
    instead = {other for rule in RULES if rule.field == name for other in rule.instead}
    return key == name or name.startswith(f"{key}.") or key in instead


def _put(fields: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return the top-level field that a dotted one is in, with its new value."""
    first, _, rest = name.partition(".")
    inner = fields.get(first) if rest else None
    return {first: {**(inner or {}), rest: value} if rest else value}


def words(facts: Facts) -> dict[str, Any]:
    """Return what a reason may name."""
    sizes, shape = facts.sizes, facts.shape
    found = facts.fit() if "train" in facts.fields else None
    parts = {part: 100 * size / sizes.weights for part, size in sizes.parts.items()} if sizes else {}
    shares = {
        part: f"{parts[part]:.1f} %" if part in parts else "an unknown share" for part in ("projector", "llm_attention")
    }
    places = [f"{other.quadrant} ({other.data})" for other in facts.others]
    uncounted = "" if sizes and sizes.step.tokens else " without activations, as no example is here,"
    covered = {other.quadrant for other in facts.others}
    uncovered = [] if YOURS in covered else [quadrant for quadrant in OTHERS if quadrant not in covered]
    return {
        **shares,
        "weights": f"{sizes.weights:,}" if sizes else "unknown",
        "device": in_words(facts.available),
        "memory": f"{in_words(found.memory.total)}{uncounted}" if found else "",
        "answers": f"{shape.answers:,}" if shape else "unknown",
        "examples": f"{shape.examples:,}" if shape and shape.examples else "an unknown number of",
        "percent": f"{100 * OTHER:.0f} %",
        "quadrants": ", ".join(places),
        "uncovered": f"; nothing is here for {', '.join(uncovered)}, so add your own" if uncovered else "",
        "stop": STOP,
    }


def written(fields: Mapping[str, Any], proposals: Sequence[Proposal], header: Sequence[str]) -> str:
    """Return a recipe as YAML, each field below the reasons for it.

    Args:
        fields: the recipe's.
        proposals: of these fields, or parts of them.
        header: lines for the top.
    """
    lines = [comment for line in header for comment in _comment(line)]
    order = [*Recipe.model_fields]
    about: dict[str, list[Proposal]] = {}
    for proposal in proposals:
        name = proposal.field.partition(".")[0]
        if proposal.replaced and name not in fields:
            name = override_key(proposal.given[0]).partition(".")[0]
        about.setdefault(name, []).append(proposal)
    cited: set[str] = set()
    for name in sorted({*fields, *about}, key=order.index):
        lines += ["", *(comment for proposal in about.get(name, ()) for comment in _reasons(proposal, cited))]
        if name in fields:
            lines.append(_yaml({name: fields[name]}))
    return "\n".join(lines) + "\n"


def _yaml(field: Mapping[str, Any]) -> str:
    """Return a field as YAML, its innermost lists and mappings on one line each."""
    (value,) = field.values()
    inner = None if isinstance(value, Mapping | list) else False
    text: str = yaml.safe_dump(field, sort_keys=False, allow_unicode=True, default_flow_style=inner, width=WIDTH)
    return text.rstrip()


def _reasons(proposal: Proposal, cited: set[str]) -> list[str]:
    """Return the comment on one proposal: the reason, then a line for each source, in full where it first comes."""
    name, because = proposal.field, f"{proposal.because[:1].upper()}{proposal.because[1:]}"
    given = f"{', '.join(proposal.given)} is given. " if proposal.given else ""
    if proposal.replaced:
        lines = _comment(f"{given}The advice was {name}: {short(proposal.value)}. {because}.")
    elif proposal.value is None:
        lines = _comment(f"{given}No {name}: {proposal.because}.")
    else:
        lines = _comment(f"{given}{f'{name}: ' if '.' in name else ''}{because}.")
    for key in proposal.evidence:
        found = EVIDENCE[key]
        lines += _comment(f"{found.source}: as above." if key in cited else str(found), "#   ")
        cited.add(key)
    return lines


def _comment(text: str, mark: str = "# ") -> list[str]:
    following = f"{mark}  " if text.startswith("- ") else mark
    return textwrap.wrap(
        text, COMMENT, initial_indent=mark, subsequent_indent=following, break_long_words=False, break_on_hyphens=False
    ) or ["#"]


def short(value: Any) -> str:
    """Return a value on one line, as in a recipe."""
    if value is None:
        return "none"
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=True, width=10**6)
    return text.replace("\n...", "").strip()

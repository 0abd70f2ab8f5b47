"""A small sentence encoder that says of one label at a time whether an answer asserts it.

A classifier over the four categories would have to know a vocabulary of 1,000 labels. So each label that the answer
mentions, by the rules' own index of names, becomes one pair of texts, (label, answer); so does the right label, which
may go by a name that the index lacks. The encoder reads both; a linear head gives three logits: asserted, something
else asserted, nothing asserted. The asserted labels make the category.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from emt_core.errors import UserError, one_line
from emt_core.files import Row
from judges.fuzzy.text.normalize import fold
from judges.rerun.rows import answer_of
from judges.target import Classification, MultipleChoice, Target
from judges.verdict import Verdict
from tools.local_judge.cases import category_of, matcher, speller

Pair = tuple[str, str, int]
"""A question, an answer, and which of the head's classes is right."""

ASSERTED, OTHER, NOTHING = range(3)
_HEAD_CHARACTERS, _TAIL_CHARACTERS = 300, 150
_TOKENS = 128
_BATCH = 32
_WARM_UP = 0.05
_MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Question:
    """One label to ask about: its `key` (a class's name, a letter, or the short answer) and the text that asks."""

    key: str
    text: str


def questions(prediction: str, target: Target) -> tuple[str, list[Question]]:
    """Return the right key, and what to ask the encoder about an answer, the right label first."""
    if isinstance(target, MultipleChoice):
        gold = target.label.strip(" ().").upper()
        options = {chr(ord("A") + place): choice for place, choice in enumerate(target.choices)}
        return gold, [Question(letter, f"option {letter}: {choice}") for letter, choice in options.items()]
    if not isinstance(target, Classification):
        return target.label, [Question(target.label, f"answer: {target.label}")]
    vocabulary = target.vocabulary
    right = vocabulary.resolve(target.label)
    words = fold(prediction).words
    hits = [hit for hit in matcher(vocabulary).find(words) if hit.surface.labels]
    called: dict[str, str] = {}
    for hit in hits or speller(vocabulary).find(words):
        meant = [label for label in right if label.index in hit.surface.labels]
        label = meant[0] if meant else vocabulary.labels[min(hit.surface.labels)]
        called.setdefault(label.name, words[hit.start : hit.end].strip())
    gold = right[0].name
    names = list(dict.fromkeys([gold, *called]))[:_MOST_CANDIDATES]
    return gold, [Question(name, f"class: {name}" + _also(name, called.get(name))) for name in names]


def _also(name: str, called: str | None) -> str:
    return f", here: {called}" if called and called != name.casefold() else ""


def shortened(prediction: str) -> str:
    """Return the beginning and the end of a long answer."""
    text = " ".join(prediction.split())
    if len(text) <= _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        return text or "(empty)"
    return f"{text[:_HEAD_CHARACTERS]} ... {text[-_TAIL_CHARACTERS:]}"


def training_pairs(rows: Iterable[Row], *, most: int = 3, seed: int = 0) -> list[Pair]:
    """Return (question, answer, class of the head) for each label to ask about, at most `most` of an answer."""
    generator = random.Random(seed)
    pairs = []
    for row in rows:
        prediction, target = answer_of(row, "case")
        asserted = set(row["asserts"])
        _, asked = questions(prediction, target)
        kept = asked if len(asked) <= most else generator.sample(asked, most)
        for question in kept:
            answer = ASSERTED if question.key in asserted else OTHER if asserted else NOTHING
            pairs.append((question.text, shortened(prediction), answer))
    return pairs


class Reader(nn.Module):
    """An encoder and its head: pairs of texts in, logits (pairs, 3) out."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.encoder = AutoModel.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} holds no encoder: {one_line(error)}") from error
        self.head = nn.Linear(self.encoder.config.hidden_size, 3)
        if (folder / "head.pt").is_file():
            self.head.load_state_dict(torch.load(folder / "head.pt", weights_only=True))

    def forward(self, pairs: Sequence[tuple[str, str]]) -> torch.Tensor:
        """Return the logits, shape (pairs, 3), by the mean over each pair's tokens."""
        first, second = zip(*pairs, strict=True)
        tokens = self.tokenizer(
            list(first), list(second), padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt"
        )
        hidden = self.encoder(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        return cast(torch.Tensor, self.head((hidden * mask).sum(1) / mask.sum(1)))

    def save(self, folder: Path) -> None:
        """Write what `Reader(folder)` reads."""
        self.encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        torch.save(self.head.state_dict(), folder / "head.pt")


def train(reader: Reader, pairs: Sequence[Pair], *, passes: float, rate: float = 3e-4, seed: int = 0) -> dict[str, Any]:
    """Train all but the embeddings by AdamW, in bfloat16; the rate rises for a short while, then falls to 0."""
    torch.manual_seed(seed)  # of dropout
    generator = random.Random(seed)
    reader.encoder.embeddings.requires_grad_(False)
    optimiser = torch.optim.AdamW([one for one in reader.parameters() if one.requires_grad], lr=rate, weight_decay=0.01)
    steps = math.ceil(passes * len(pairs) / _BATCH)
    start, losses = time.process_time(), []
    reader.train()
    for step, batch in enumerate(islice(_batches(pairs, generator), steps)):
        optimiser.param_groups[0]["lr"] = rate * min((step + 1) / (_WARM_UP * steps + 1), 1 - step / steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = reader([(first, second) for first, second, _ in batch])
        loss = nn.functional.cross_entropy(logits.float(), torch.tensor([answer for *_, answer in batch]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 100 == 99:
            print(f"{step + 1} of {steps} steps, loss {sum(losses[-100:]) / 100:.4f}", file=sys.stderr, flush=True)
    reader.eval()
    last = losses[-100:]
    minutes = (time.process_time() - start) / 60
    return {"steps": steps, "loss": round(sum(last) / len(last), 4), "cpu_minutes": round(minutes, 1)}


def _batches(pairs: Sequence[Pair], generator: random.Random) -> Iterator[Sequence[Pair]]:
    """Yield batches for ever, each of pairs of similar length, in random order."""
    while True:
        shuffled = generator.sample(pairs, len(pairs))
        for start in range(0, len(shuffled), 32 * _BATCH):
            block = sorted(shuffled[start : start + 32 * _BATCH], key=lambda pair: len(pair[0]) + len(pair[1]))
            cut = [block[place : place + _BATCH] for place in range(0, len(block), _BATCH)]
            yield from generator.sample(cut, len(cut))


class LocalJudge:
    """Judges by a trained `Reader`; `confidence` is the least probable of the decisions that the verdict rests on."""

    name = "local"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader.eval()

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer."""
        return next(self.judge_many([(prediction, target)]))

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order."""
        remaining = iter(items)
        while batch := list(islice(remaining, _BATCH)):
            asked = [questions(prediction, target) for prediction, target in batch]
            pairs = [
                (question.text, shortened(prediction))
                for (prediction, _), (_, some) in zip(batch, asked, strict=True)
                for question in some
            ]
            with torch.inference_mode():
                probabilities = iter(self._reader(pairs).softmax(-1).tolist())
            for (_, target), (gold, some) in zip(batch, asked, strict=True):
                yield _verdict(gold, target, {question.key: next(probabilities) for question in some})


def _verdict(gold: str, target: Target, found: dict[str, list[float]]) -> Verdict:
    asserted = {key for key, probability in found.items() if probability[ASSERTED] >= 0.5}
    sure = min(max(probability[ASSERTED], 1 - probability[ASSERTED]) for probability in found.values())
    category = category_of(asserted, gold)
    if not isinstance(target, Classification | MultipleChoice) and not asserted:
        # One question only: what else is asserted, if anything, is the wrong answer.
        probability = found[gold]
        category = "incorrect" if probability[OTHER] > probability[NOTHING] else "extrinsic"
    reason = f"asserts {', '.join(sorted(asserted)) or 'no label'}, by the local model"
    return Verdict(category, (), LocalJudge.name, round(sure, 6), reason)

"""The label nearest to an answer in the embedding space of a text encoder (EMT §7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from emt_core.errors import UserError, one_line
from judges.settings import EmbeddingSettings
from judges.target import Classification, MultipleChoice, Target
from judges.verdict import Match, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Encoder = Callable[[Sequence[str]], NDArray[np.float32]]

_BATCH = 256


class EmbeddingJudge:
    """Maps an answer to the label whose phrase is nearest to it.

    EMT §7 takes the smallest Euclidean distance; between unit vectors that is the largest cosine. Every answer
    with text in it names one label this way, so verdicts are `correct` or `incorrect`, and `extrinsic` only for an
    empty answer. A short answer has no labels to choose from: it is right if the cosine is at least
    `short_answer_similarity`. `confidence` is the cosine, at least 0. Each vocabulary is embedded once.
    """

    name = "embedding"

    def __init__(self, settings: EmbeddingSettings) -> None:
        self.settings = settings
        self.signature = f"{self.name} {settings.model} {settings.template!r} {settings.short_answer_similarity}"
        self._label = f"{self.name}:{Path(settings.model).name}"
        self._phrases: dict[tuple[str, ...], NDArray[np.float32]] = {}
        # One encoder, many threads: they take turns.
        self._lock = RLock()

    def judge(self, prediction: str, target: Target) -> Verdict:
        """Judge one answer."""
        return next(self.judge_many([(prediction, target)]))

    def judge_many(self, items: Iterable[tuple[str, Target]]) -> Iterator[Verdict]:
        """Judge many answers, in order; each batch embeds a repeated answer once."""
        remaining = iter(items)
        while batch := list(islice(remaining, _BATCH)):
            texts = list(dict.fromkeys(prediction for prediction, _ in batch))
            with self._lock:
                embedded = dict(zip(texts, self._encode(texts), strict=True))
            for prediction, target in batch:
                yield self._verdict(prediction, embedded[prediction], target)

    def _verdict(self, prediction: str, embedding: NDArray[np.float32], target: Target) -> Verdict:
        if not re.search(r"\w", prediction):
            return Verdict("extrinsic", (), self._label, 1.0, "The answer holds no word.")
        names = _candidates(target)
        similarities = self._embedded(names) @ embedding
        nearest = int(similarities.argmax())
        similarity = float(similarities[nearest])
        if isinstance(target, Classification):
            right = {label.name for label in target.vocabulary.resolve(target.label)}
            correct, label = names[nearest] in right, names[nearest]
        elif isinstance(target, MultipleChoice):
            label = chr(ord("A") + nearest)
            correct = label == target.label.strip().upper()
        else:
            correct, label = similarity >= self.settings.short_answer_similarity, target.label
        return Verdict(
            category="correct" if correct else "incorrect",
            matches=(Match(label, 0, len(prediction), prediction, "embedding"),),
            judge=self._label,
            confidence=max(0.0, min(1.0, round(similarity, 6))),
            reason=f"Nearest of {len(names)} label(s) is {names[nearest]!r}, at a cosine of {similarity:.3f}.",
        )

    def _embedded(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """The labels' unit vectors, shape (labels, dim)."""
        with self._lock:
            if names not in self._phrases:
                self._phrases[names] = self._encode([self.settings.template.replace("{label}", name) for name in names])
            return self._phrases[names]

    @cached_property
    def _encode(self) -> Encoder:
        model = self.settings.model
        try:
            if model.startswith("open_clip:"):
                return _open_clip(model.removeprefix("open_clip:"), self.settings.device)
            return _sentence_transformer(model, self.settings.device)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"judge 'embedding': cannot load {model!r} ({one_line(error)}); set EMT_JUDGE_EMBEDDING to a "
                "sentence-transformers model or folder, or to open_clip:ARCHITECTURE/WEIGHTS"
            ) from error


def _candidates(target: Target) -> tuple[str, ...]:
    """The phrases that an answer may stand for."""
    if isinstance(target, Classification):
        return tuple(target.vocabulary.names)
    if isinstance(target, MultipleChoice):
        return tuple(target.choices)
    return (target.label,)


def _sentence_transformer(model: str, device: str) -> Encoder:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError("judge 'embedding' needs sentence-transformers: pip install sentence-transformers") from error

    encoder = SentenceTransformer(model, device=device)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = encoder.encode(
            list(texts), normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return vectors

    return encode


def _open_clip(model: str, device: str) -> Encoder:
    import open_clip
    import torch

    architecture, _, weights = model.partition("/")
    clip = open_clip.create_model(architecture, pretrained=weights or None, device=device).eval()
    tokenizer = open_clip.get_tokenizer(architecture)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        with torch.inference_mode():
            vectors = clip.encode_text(tokenizer(list(texts)).to(device), normalize=True)
        embedded: NDArray[np.float32] = vectors.float().cpu().numpy()
        return embedded

    return encode

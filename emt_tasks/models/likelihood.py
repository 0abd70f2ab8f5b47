"""Log-likelihoods of many continuations of one prompt, with the prompt and its image computed once.

The prompt runs through the model once; the continuations then run behind its key-value cache, as one tree where the
model can take that. Models whose forward pass takes no cache run the whole sequence for each continuation instead.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch.nn.utils.rnn import pad_sequence

from emt_tasks.models.parts import is_encoder_decoder
from emt_tasks.models.trie import ROOT, Tokens, Trie, layer_windows, run_prompts, run_tree

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

TOKEN_FIELDS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")
"""Model inputs with one value per token; the last two say which tokens stand for images."""

IMAGES_SEEN = "cross_attention_mask"
"""Mllama's input that says for each token which images it sees, `(rows, tokens, images, tiles)`."""

Way = Literal["tree", "copies of the cache", "whole passes"]
WAYS: tuple[Way, ...] = get_args(Way)
"""How many continuations of one prompt can be scored, the quickest first."""

_TRIED = 8
"""How many continuations of the first prompt are compared with whole passes."""

_CANNOT = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a continuation is.

    `nll` is its negative log-likelihood in nats, summed over its `tokens`; `greedy` says whether each of them is the
    model's first choice.
    """

    nll: float
    greedy: bool
    tokens: int


class ContinuationTokenizer:
    """Splits continuations into the tokens that the model would generate.

    The prompt's tokens are fixed, as in generation. A continuation is tokenised after the last words of the prompt,
    so that it gets the tokens it has in running text (a word after a colon keeps its leading space); if a token would
    straddle the border, the continuation is tokenised alone. A single leading space is the harness's delimiter: it is
    dropped if the prompt already ends in white space, as most chat templates do.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str, str], Tokens] = {}

    def __call__(self, prompt: str, border: str, continuations: Sequence[str]) -> list[Tokens]:
        """Return each continuation's tokens.

        Args:
            prompt: the rendered prompt.
            border: the part of it that follows the task's prompt; the same for every document, so that each
                label is tokenised once per task.
            continuations: the texts to score.
        """
        tail = border or prompt[prompt.rfind(" ") + 1 :]
        texts = [
            text[1:] if text[:1] == " " and prompt[-1:].isspace() and text[1:2] != " " else text
            for text in continuations
        ]
        missing = sorted({text for text in texts if (tail, text) not in self._known})
        if missing:
            before = self._encode([tail])[0]
            joined = self._encode([tail + text for text in missing])
            alone = self._encode(missing)
            for text, whole, single in zip(missing, joined, alone, strict=True):
                fits = whole[: len(before)] == before
                self._known[tail, text] = whole[len(before) :] if fits else single
        return [self._known[tail, text] for text in texts]

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        return [tuple(ids) for ids in self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]]


class Scorer:
    """Scores continuations with one model, in the quickest way that is exact for it.

    With the first prompt that has several continuations each way is tried, and compared with whole passes: the
    continuations as a tree behind the prompt's cache (`emt_tasks.models.trie`); batches of continuations on copies of
    the cache; whole passes. What cannot be had is said once.

    Args:
        model: an image-text-to-text model in evaluation mode.
        batch_size: continuations per batch, where they are no tree.
        pad_token_id: fills the ends of short rows; its value does not matter.
    """

    def __init__(self, model: Any, batch_size: int, pad_token_id: int) -> None:
        self.model = model
        self.batch_size = batch_size
        self._pad = pad_token_id
        self._parameters = inspect.signature(model.forward).parameters
        self._is_encoder_decoder = is_encoder_decoder(model)
        self._answer_type = answer_type(model)
        takes_cache = "past_key_values" in self._parameters and not self._is_encoder_decoder
        self.way: Way | None = None if takes_cache else "whole passes"
        """How continuations of one prompt are scored: None until the first prompt with several."""
        self._windows = False
        self._trie = lru_cache(maxsize=4)(Trie)

    @property
    def takes_rows(self) -> bool:
        """Whether several prompts can be scored together: in a tree, and no padding pushes tokens out of a window."""
        return self.way == "tree" and not self._windows

    def score(self, inputs: Any, continuations: Sequence[Sequence[Tokens]]) -> list[list[Score]]:
        """Score several continuations behind each prompt.

        Args:
            inputs: model inputs, padded on the right; of one prompt, unless this scorer takes rows.
            continuations: tokens, any number for each prompt; those that occur anywhere are scored once for all.
        """
        unique = sorted({tokens for row in continuations for tokens in row}, key=lambda tokens: (len(tokens), tokens))
        if len(unique) == 1:
            found = [[score] for score in self.score_rows(inputs, unique * len(continuations))]
        else:
            self.way = self.way or self._quickest_way(inputs, unique)
            found = self._by(self.way, inputs, unique)
        places = {tokens: place for place, tokens in enumerate(unique)}
        return [[row[places[tokens]] for tokens in wanted] for row, wanted in zip(found, continuations, strict=True)]

    def score_rows(self, inputs: Any, continuations: Sequence[Tokens]) -> list[Score]:
        """Score one continuation for each prompt by running prompt and continuation through the model.

        Args:
            inputs: model inputs of as many prompts as there are continuations, padded on the right.
            continuations: tokens, one tuple per prompt.
        """
        if self._is_encoder_decoder:
            return _scores(self._decoder_logits(inputs, continuations), continuations)
        logits = self.model(**append(inputs, continuations, self._pad, self._answer_type), use_cache=False).logits
        last = inputs["attention_mask"].sum(-1, keepdim=True) - 1
        steps = torch.arange(max(map(len, continuations)), device=last.device)
        places = (last + steps).clamp(max=logits.shape[1] - 1)
        rows = torch.arange(len(continuations), device=last.device).unsqueeze(1)
        return _scores(logits[rows, places], continuations)

    def _decoder_logits(self, inputs: Any, continuations: Sequence[Tokens]) -> torch.Tensor:
        """Return `(rows, tokens, vocabulary)` logits of a model whose decoder sees only the continuation."""
        start = self.model.config.get_text_config().decoder_start_token_id
        decoder = right_padded([(start, *tokens[:-1]) for tokens in continuations], self._pad, inputs["input_ids"])
        logits: torch.Tensor = self.model(**inputs, decoder_input_ids=decoder).logits
        return logits

    def _repeated(self, inputs: Any, continuations: Sequence[Tokens]) -> list[Score]:
        """Run the prompt again for each continuation."""
        scores: list[Score] = []
        for start in range(0, len(continuations), self.batch_size):
            chunk = continuations[start : start + self.batch_size]
            scores += self.score_rows(repeat(inputs, len(chunk)), chunk)
        return scores

    def _behind_cache(self, inputs: Any, continuations: Sequence[Tokens]) -> list[Score]:
        """Run the prompt once, then the continuations on its cache. They come shortest first."""
        forget_positions(self.model)
        last = {"logits_to_keep": 1} if "logits_to_keep" in self._parameters else {}
        prompt = self.model(**inputs, use_cache=True, **last)
        first = prompt.logits[0, -1:]
        scores: list[Score] = []
        for start in range(0, len(continuations), self.batch_size):
            chunk = continuations[start : start + self.batch_size]
            logits = first.expand(len(chunk), 1, -1)
            if len(chunk[-1]) > 1:  # otherwise the prompt's own last logits suffice
                cache = copy.deepcopy(prompt.past_key_values)
                cache.batch_repeat_interleave(len(chunk))
                rows = right_padded([tokens[:-1] for tokens in chunk], self._pad, inputs["input_ids"])
                # No attention mask: nothing is padded before a token, and the mask is causal. With a full-length mask,
                # some models (Qwen2.5-VL) compute positions for all of it instead of only the new tokens.
                behind = self.model(input_ids=rows, past_key_values=cache, use_cache=True).logits
                logits = torch.cat([logits, behind], dim=1)
            scores += _scores(logits, chunk)
        return scores

    def _in_tree(self, inputs: Any, continuations: Sequence[Tokens]) -> list[list[Score]]:
        """Run prompts once, then all continuations as one tree."""
        forget_positions(self.model)
        prompt = run_prompts(self.model, inputs, "logits_to_keep" in self._parameters)
        trie = self._trie(tuple(continuations))
        rows, device = len(prompt.kept), prompt.kept.device
        behind, token = torch.tensor(trie.edges, device=device).unbind(-1)
        nll = torch.empty(rows, len(trie.edges), device=device)
        missed = torch.empty(rows, len(trie.edges), device=device)

        def look(logits: torch.Tensor, nodes: range) -> None:
            logits = logits.float()
            (chosen,) = torch.where((behind >= nodes.start) & (behind < nodes.stop))
            places = behind[chosen] - nodes.start
            nll[:, chosen] = logits.logsumexp(-1)[:, places] - logits[:, places, token[chosen]]
            missed[:, chosen] = (logits.argmax(-1)[:, places] != token[chosen]).float()

        look(prompt.logits.unsqueeze(1), range(ROOT, ROOT + 1))
        run_tree(self.model, prompt, trie, look)
        self._windows = any(layer_windows(self.model, prompt.cache).values())
        owner, edge = torch.tensor(trie.paths, device=device).unbind(-1)
        sums, misses = (
            torch.zeros(rows, len(continuations), dtype=torch.float64, device=device)
            .index_add_(1, owner, values[:, edge].double())
            .tolist()
            for values in (nll, missed)
        )
        return [
            [Score(nll, miss == 0, len(tokens)) for nll, miss, tokens in zip(*row, continuations, strict=True)]
            for row in zip(sums, misses, strict=True)
        ]

    def _by(self, way: Way, inputs: Any, continuations: Sequence[Tokens]) -> list[list[Score]]:
        if way == "tree":
            return self._in_tree(inputs, continuations)
        return [(self._behind_cache if way == "copies of the cache" else self._repeated)(inputs, continuations)]

    def _quickest_way(self, inputs: Any, continuations: Sequence[Tokens]) -> Way:
        """Return the first way whose scores equal those of whole passes, on some continuations from short to long."""
        step = max(1, (len(continuations) - 1) // (_TRIED - 1))
        tried = sorted({*continuations[::step], continuations[-1]}, key=continuations.index)
        expected = self._repeated(inputs, tried)
        for way in WAYS[:-1]:
            try:
                (found,) = self._by(way, inputs, tried)
            except torch.cuda.OutOfMemoryError:
                raise
            except _CANNOT as error:
                why = f"({error})"
            else:
                if all(self._equal(*scores) for scores in zip(found, expected, tried, strict=True)):
                    if way != "tree":
                        _log.warning(
                            "labels are scored in batches: %s cannot take them as a tree %s", _name(self.model), why
                        )
                    return way
                why = "(its scores are others)"
        _log.warning("the prompt is run again for each label: %s cannot reuse it %s", _name(self.model), why)
        return WAYS[-1]

    def _equal(self, one: Score, other: Score, tokens: Tokens) -> bool:
        exact = self.model.dtype == torch.float32
        # Half precision: about 1e-2 of noise per logit. float32 carries 6e-8 of a value, and sums reach hundreds.
        allowed = 1e-4 + 5e-6 * abs(other.nll) if exact else 0.2 * len(tokens)
        return abs(one.nll - other.nll) <= allowed


def answer_type(model: Any) -> int:
    """Return the entry of `token_type_ids` for an answer's tokens.

    PaliGemma reads all tokens of type 0 both ways, as a prefix (arXiv 2407.07726, section 3.2.1), and only those of
    type 1 one by one: an answer of type 0 would see its own later tokens. Elsewhere type 1 stands for images.
    """
    return int(model.config.model_type == "paligemma")


def append(inputs: Any, continuations: Sequence[Tokens], pad: int, answer_type: int = 0) -> dict[str, Any]:
    """Return model inputs with a continuation after each prompt, padded on the right.

    Args:
        inputs: model inputs, `(rows, tokens)` for those in `TOKEN_FIELDS`; `attention_mask` says which are padding.
        continuations: tokens, one tuple per row.
        pad: token that fills the rows.
        answer_type: the continuations' entry in `token_type_ids`; see the function of that name.
    """
    fields = dict(inputs)
    types = {"attention_mask": 1, "token_type_ids": answer_type}
    keep = inputs["attention_mask"].bool().tolist()
    for name in (name for name in TOKEN_FIELDS if name in fields):
        rows = []
        for values, mask, tokens in zip(fields[name].tolist(), keep, continuations, strict=True):
            behind = tokens if name == "input_ids" else [types.get(name, 0)] * len(tokens)
            rows.append((*(value for value, kept in zip(values, mask, strict=True) if kept), *behind))
        fields[name] = right_padded(rows, pad if name == "input_ids" else 0, fields[name])
    if IMAGES_SEEN in fields:  # a continuation sees what the end of its prompt sees
        seen = [values[mask] for values, mask in zip(fields[IMAGES_SEEN], inputs["attention_mask"].bool(), strict=True)]
        longer = [torch.cat([row, *[row[-1:]] * len(tokens)]) for row, tokens in zip(seen, continuations, strict=True)]
        fields[IMAGES_SEEN] = pad_sequence(longer, batch_first=True)
    return fields


def repeat(inputs: Any, times: int) -> dict[str, Any]:
    """Return the model inputs of one prompt, repeated to fill a batch.

    A batch's images follow one another in the first dimension, whatever a model calls them and whether an image has
    one entry there (LLaVA) or one per patch (Qwen2.5-VL): so that dimension is tiled.
    """
    return {name: value.repeat(times, *[1] * (value.dim() - 1)) for name, value in inputs.items()}


def right_padded(rows: Sequence[Sequence[int]], pad: int, like: torch.Tensor) -> torch.Tensor:
    """Return `(rows, longest)` values with another tensor's dtype and device."""
    longest = max(map(len, rows))
    return like.new_tensor([[*row, *[pad] * (longest - len(row))] for row in rows])


def forget_positions(model: Any) -> None:
    """Clear what models with image positions (Qwen2-VL and relatives) remember of the previous prompt.

    They keep an offset from the last prompt with an image, and would use it for a prompt without one.
    """
    for module in model.modules():
        if hasattr(module, "rope_deltas"):
            module.rope_deltas = None


def _scores(logits: torch.Tensor, continuations: Sequence[Tokens]) -> list[Score]:
    """Score continuations from the logits that predict them, `(rows, tokens, vocabulary)`."""
    longest = max(map(len, continuations))
    padded = [[*tokens, *[-100] * (longest - len(tokens))] for tokens in continuations]
    targets = torch.tensor(padded, dtype=torch.long, device=logits.device)
    logits = logits[:, :longest].float()
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    greedy = ((logits.argmax(-1) == targets) | (targets == -100)).all(-1)
    return [Score(*found) for found in zip(nll.sum(-1).tolist(), greedy.tolist(), map(len, continuations), strict=True)]


def _name(model: Any) -> str:
    return type(model).__name__

"""Many continuations of a prompt in one pass: their tokens as a tree behind the prompt's cache.

Continuations that begin alike share those tokens. Each inner node of the tree is one token of the pass; it sees the
prompt, its ancestors and itself, at the position that it has in its own continuation. Tree attention as in
SpecInfer (arXiv 2305.09781, section 4.2), where it verifies guesses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from emt_core.errors import listed

Tokens = tuple[int, ...]

ROOT = -1
"""The parent of first tokens: the prompt's end, whose logits come from the prompt's own pass."""

_LOGITS = 2**22
"""How many logits one pass may make in any case: 16 MiB in float32."""

_WIDE = 4
"""The prompt's own pass has about so many numbers in memory for each of its tokens and each inner unit of a layer."""


@dataclass
class Trie:
    """Continuations as a tree.

    `edges` are all of its tokens, each with the inner node that it follows; `tokens`, `parents` and `depths` describe
    the inner nodes, those with something behind them, parents first. `paths` says of which edges each continuation is
    made: pairs of continuation and edge. `chunks` are ranges of inner nodes that need no node outside of themselves.
    """

    continuations: Sequence[Tokens]
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    paths: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        inner = {tokens[:length] for tokens in self.continuations for length in range(1, len(tokens))}
        nodes: dict[Tokens, int] = {(): ROOT}
        for prefix in sorted(inner):  # depth first: a prefix comes before what it begins
            nodes[prefix] = len(self.tokens)
            self.tokens.append(prefix[-1])
            self.parents.append(nodes[prefix[:-1]])
            self.depths.append(len(prefix) - 1)
        known: dict[Tokens, int] = {}
        for number, tokens in enumerate(self.continuations):
            for length in range(1, len(tokens) + 1):
                prefix = tokens[:length]
                if prefix not in known:
                    known[prefix] = len(self.edges)
                    self.edges.append((nodes[prefix[:-1]], prefix[-1]))
                self.paths.append((number, known[prefix]))

    def chunks(self, most: int) -> Iterator[range]:
        """Yield ranges of inner nodes, whole subtrees below the root, of at most `most` nodes where that can be."""
        starts = [node for node, parent in enumerate(self.parents) if parent == ROOT]
        begin = 0
        for start, end in pairwise([*starts, len(self.tokens)]):
            if end - begin > most and start > begin:
                yield range(begin, start)
                begin = start
        if begin < len(self.tokens):
            yield range(begin, len(self.tokens))

    def ancestors(self, nodes: range) -> torch.Tensor:
        """Return which node of a chunk sees which, `(nodes, nodes)`: itself and its ancestors."""
        seen = torch.eye(len(nodes), dtype=torch.bool)
        for place, node in enumerate(nodes):
            if (parent := self.parents[node]) != ROOT:
                seen[place] |= seen[parent - nodes.start]
        return seen


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompts after their pass: what the tree goes behind.

    `logits` follow each prompt's last token, `(rows, vocabulary)`; `cache` is the model's; `kept` says which of its
    tokens are no padding, `(rows, tokens)`; `next_position` is the position of a token behind each prompt, `(rows,)`.
    """

    logits: torch.Tensor
    cache: Any
    kept: torch.Tensor
    next_position: torch.Tensor


def run_prompts(model: Any, inputs: Any, keeps_logits: bool) -> Prompt:
    """Run prompts, padded on the right, and keep their cache."""
    kept = inputs["attention_mask"].bool()
    rows, length = kept.shape
    last = kept.sum(-1) - 1
    shortest = int(last.min())
    options = {"logits_to_keep": length - shortest} if keeps_logits else {}
    passed = model(**inputs, use_cache=True, **options)
    logits = passed.logits[torch.arange(rows, device=last.device), last - shortest if keeps_logits else last]
    return Prompt(logits, passed.past_key_values, kept, _next_position(model, kept))


def run_tree(model: Any, prompt: Prompt, trie: Trie, look: Callable[[torch.Tensor, range], None]) -> None:
    """Run the tree's inner nodes behind prompts, in as few passes as logits allow in the memory of the prompt's pass.

    Args:
        model: the model that ran the prompts.
        prompt: what it left.
        trie: the same for all rows.
        look: called with the logits behind some nodes, `(rows, nodes, vocabulary)`, and with those nodes.

    Raises:
        NotImplementedError: some layers of the model see neither all tokens nor a window of them.
    """
    windows = layer_windows(model, prompt.cache)
    rows = len(prompt.kept)
    text = model.config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or getattr(text, "hidden_size", 0)
    logits = max(_LOGITS, prompt.kept.numel() * _WIDE * inner if isinstance(inner, int) else 0)
    most = max(1, logits // (rows * prompt.logits.shape[-1]))
    device = prompt.kept.device
    for nodes in trie.chunks(most):
        tokens = torch.tensor([trie.tokens[node] for node in nodes], device=device)
        depths = torch.tensor([trie.depths[node] for node in nodes], device=device)
        positions = prompt.next_position.unsqueeze(1) + depths
        cache = _borrowed(prompt.cache)
        seen = trie.ancestors(nodes).to(device)
        masks = {kind: _visible(model, prompt, seen, positions, window) for kind, window in windows.items()}
        # Models with several kinds of layers take a mask for each; others know only of one.
        mask = masks if len(set(windows.values())) > 1 else next(iter(masks.values()))
        passed = model(
            input_ids=tokens.expand(rows, -1),
            attention_mask=mask,
            position_ids=_as_model_has_them(model, positions),
            past_key_values=cache,
            use_cache=True,
        )
        look(passed.logits, nodes)


def _next_position(model: Any, kept: torch.Tensor) -> torch.Tensor:
    """The position behind each prompt: the number of its tokens, and by how much its images change that."""
    deltas = [module.rope_deltas for module in model.modules() if getattr(module, "rope_deltas", None) is not None]
    behind: torch.Tensor = kept.sum(-1)
    return behind + deltas[0].reshape(-1).to(kept.device) if deltas else behind


def _as_model_has_them(model: Any, positions: torch.Tensor) -> torch.Tensor:
    """Positions in time, height and width, where the model has those: in text all three are equal."""
    multiple = any(hasattr(module, "rope_deltas") for module in model.modules())
    return positions.expand(3, *positions.shape) if multiple else positions


def _borrowed(cache: Any) -> Any:
    """Return a cache that can grow without changing the one it was made from, and without copying its tensors.

    Layers that grow put new tensors in place of their old ones (`torch.cat`).
    """
    borrowed = copy.copy(cache)
    borrowed.layers = [copy.copy(layer) for layer in cache.layers]
    return borrowed


def layer_windows(model: Any, cache: Any) -> dict[str, int | None]:
    """Return how many tokens each kind of layer sees, itself included; None for all of them.

    Raises:
        NotImplementedError: there are layers of another kind.
    """
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"] * len(cache.layers)
    other = sorted(set(kinds) - {"full_attention", "sliding_attention"})
    if other:
        raise NotImplementedError(f"it has layers of {listed(other)}")
    return {kind: getattr(layer, "sliding_window", None) for kind, layer in zip(kinds, cache.layers, strict=True)}


def _visible(
    model: Any, prompt: Prompt, seen: torch.Tensor, positions: torch.Tensor, window: int | None
) -> torch.Tensor:
    rows, length = prompt.kept.shape
    before = prompt.kept.unsqueeze(1).expand(-1, len(seen), -1)
    within = seen.expand(rows, -1, -1)
    if window is not None:
        places = torch.arange(length, device=seen.device)
        ends = prompt.kept.sum(-1, keepdim=True)
        depths = positions - prompt.next_position.unsqueeze(1)
        before = before & ((ends + depths).unsqueeze(2) - places < window)
        within = within & (depths.unsqueeze(2) - depths.unsqueeze(1) < window)
        if length >= window:  # the cache has forgotten the rest
            before = before[:, :, length - window + 1 :]
    visible = torch.cat([before, within], dim=-1).unsqueeze(1)
    hidden = torch.finfo(model.dtype).min
    return torch.zeros(visible.shape, dtype=model.dtype, device=seen.device).masked_fill(~visible, hidden)

"""Continuations as a tree: the tree itself, and its scores against whole passes for every family that can be had."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText

from emt_tasks.models.likelihood import Scorer
from emt_tasks.models.trie import ROOT, Trie
from tests.support.small_configs import small_config, small_models

continuations = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=30, unique=True
)


def test_a_tree_by_hand():
    """1 2 and 1 3 share their first token; 1 3 begins 1 3 4; 5 is a token alone."""
    trie = Trie([(5,), (1, 2), (1, 3), (1, 3, 4)])
    assert (trie.tokens, trie.parents, trie.depths) == ([1, 3], [ROOT, 0], [0, 1])
    assert trie.edges == [(ROOT, 5), (ROOT, 1), (0, 2), (0, 3), (1, 4)]
    assert trie.paths == [(0, 0), (1, 1), (1, 2), (2, 1), (2, 3), (3, 1), (3, 3), (3, 4)]
    assert trie.ancestors(range(2)).tolist() == [[True, False], [True, True]]


@given(continuations)
def test_paths_spell_the_continuations(tokens):
    trie = Trie(tokens)
    spelled = [
        tuple(trie.edges[edge][1] for owner, edge in trie.paths if owner == number) for number in range(len(tokens))
    ]
    assert spelled == tokens
    assert len(trie.edges) == len({token[:length] for token in tokens for length in range(1, len(token) + 1)})


@given(continuations, st.integers(1, 6))
def test_chunks_are_whole_subtrees(tokens, most):
    trie = Trie(tokens)
    chunks = list(trie.chunks(most))
    assert [node for chunk in chunks for node in chunk] == list(range(len(trie.tokens)))
    for chunk in chunks:
        roots = [node for node in chunk if trie.parents[node] == ROOT]
        assert all(trie.parents[node] == ROOT or trie.parents[node] in chunk for node in chunk)
        assert len(chunk) <= most or len(roots) == 1


@given(continuations)
def test_a_node_sees_its_ancestors(tokens):
    trie = Trie(tokens)
    seen = trie.ancestors(range(len(trie.tokens)))
    assert seen.sum(-1).tolist() == [depth + 1 for depth in trie.depths]
    assert not torch.triu(seen, diagonal=1).any()


def labels(seed: int) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    drawn = {tuple(rng.randrange(10, 60) for _ in range(rng.randint(1, 4))) for _ in range(30)}
    return sorted(drawn | {(11,), (11, 12), (11, 12, 13), (11, 12, 14), (11, 13)})


def texts(*lengths: int) -> dict[str, torch.Tensor]:
    """Prompts of random tokens, padded on the right."""
    rows = [torch.randint(10, 150, (length,)) for length in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    kept = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": kept}


def check_rows(scorer: Scorer, inputs: dict[str, torch.Tensor], what: str) -> None:
    """Compare the scores of all labels behind each prompt with those of whole passes over prompt and label."""
    wanted = labels(0)
    found = scorer.score(inputs, [wanted] * len(inputs["input_ids"]))
    for row, scores in enumerate(found):
        length = int(inputs["attention_mask"][row].sum())
        alone = {name: values[row : row + 1, :length] for name, values in inputs.items()}
        expected = scorer.score_rows({name: value.repeat(len(wanted), 1) for name, value in alone.items()}, wanted)
        for one, other in zip(scores, expected, strict=True):
            assert one.nll == pytest.approx(other.nll, abs=2e-4, rel=1e-5), what
            assert one.greedy == other.greedy, what


@torch.no_grad()
@pytest.mark.parametrize("family", ["gemma3", "mistral3", "llava", "qwen2_5_vl"])
def test_windows_and_padding(family):
    """Prompts that are shorter and longer than a window of four tokens, and of several lengths together."""
    config = small_config(family)
    windows, text = family in ("gemma3", "mistral3"), config.get_text_config()
    if windows:
        text.sliding_window = 4
    if family == "gemma3":
        text.layer_types = ["sliding_attention", "full_attention"]
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config).eval()
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.3)
    scorer = Scorer(model, 4, 0)
    for length in (3, 9, 2, 14):
        check_rows(scorer, texts(length), f"{length} tokens")
    assert scorer.way == "tree"
    assert scorer.takes_rows is not windows
    if scorer.takes_rows:
        check_rows(scorer, texts(9, 5, 12), "rows of several lengths")


@torch.no_grad()
def test_a_small_memory_takes_several_passes(monkeypatch):
    model = AutoModelForImageTextToText.from_config(small_config("llava")).eval()
    passes = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: passes.append(1) or forward(**inputs))
    scorer = Scorer(model, 4, 0)
    scorer.way = "tree"
    monkeypatch.setattr("emt_tasks.models.trie._LOGITS", 4 * 160)  # four nodes of a vocabulary of 160
    check_rows(scorer, texts(6), "in passes of four nodes")
    assert len(passes) > 5


@pytest.mark.slow
@torch.no_grad()
def test_no_family_scores_wrongly():
    """In text, each family that can be built small scores a tree rightly, or is told not to."""
    ways: Counter[str] = Counter()
    for family, model in small_models():
        scorer = Scorer(model, 4, 0)
        try:
            torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.3)
            scorer.score_rows(texts(9), [(11, 12)])
        except Exception:  # noqa: BLE001 - a family that takes no text alone
            continue
        if family == "paligemma":  # its text needs types of tokens
            continue
        check_rows(scorer, texts(9), family)
        if scorer.takes_rows:
            check_rows(scorer, texts(9, 5, 12), f"{family}, rows")
        ways[str(scorer.way)] += 1
    assert ways["tree"] >= 40, ways
    assert ways["whole passes"] >= 5, ways  # those with linear attention

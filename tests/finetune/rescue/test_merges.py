"""Merges in place: exact, of each part, and only where something was trained."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.errors import UserError
from emt_tasks.demo import tiny as demo
from finetune.model.parts import find_parts
from finetune.rescue.merges import Merge, Merges, Sparse
from tests.support import tiny_checkpoints


@pytest.fixture(params=sorted(tiny_checkpoints.ARCHITECTURES))
def pair(request, tiny):
    """A base's weights, and a model that was trained everywhere but in its projector."""
    folder = tiny(request.param)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    base = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    frozen = set(find_parts(model).parameters["projector"])
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name not in frozen:
                weights.add_(torch.randn_like(weights))
    return folder, model, base


def test_both_ends_are_the_models_and_the_middle_is_the_mean(pair):
    _, model, base = pair
    tuned = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    merges = Merges(model, base)
    for share in (1.0, 0.25, 0.0):
        merges.apply(Merge(share))
        for name, weights in model.named_parameters():
            expected = share * base[name] + (1 - share) * tuned[name]
            torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-5)
    assert merges.changed == {name for name in base if not torch.equal(base[name], tuned[name])}


def test_a_part_has_its_own_share(pair):
    _, model, base = pair
    merges = Merges(model, base)
    assert "projector" not in merges.parts and {"vision", "llm_attention", "llm"} <= set(merges.parts)
    merges.apply(Merge(1.0, {"vision": 0.0}))
    away = {name for name, weights in model.named_parameters() if not torch.equal(weights, base[name])}
    assert away and away <= set(find_parts(model).parameters["vision"])


def test_the_largest_change_by_hand():
    change = torch.tensor([[0.1, -4.0], [3.0, 0.0]])
    assert torch.equal(Sparse("ties", 0.5).of(change, "w"), torch.tensor([[0.0, -4.0], [3.0, 0.0]]))
    assert torch.equal(Sparse("ties", 1.0).of(change, "w"), change)
    one = torch.tensor([[0.0, -4.0], [0.0, 0.0]])
    assert torch.equal(Sparse("ties", 0.1).of(change, "w"), one)  # a tenth of four is none, but one is kept


def test_a_random_change_keeps_its_mean_and_is_the_same_again():
    change = torch.ones(200, 200)
    kept = Sparse("dare", 0.25).of(change, "w")
    assert set(kept.unique().tolist()) == {0.0, 4.0}
    assert kept.mean().item() == pytest.approx(1.0, abs=0.05)  # 4 · √(¼ · ¾ / 40,000) is a standard error of 0.009
    assert torch.equal(kept, Sparse("dare", 0.25).of(change, "w"))
    assert not torch.equal(kept, Sparse("dare", 0.25).of(change, "another"))


@pytest.mark.parametrize("sparse", [Sparse("ties", 0.2), Sparse("dare", 0.2)], ids=["ties", "dare"])
def test_some_of_the_change_is_put_on_the_base(sparse, pair):
    _, model, base = pair
    tuned = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    Merges(model, base).apply(Merge(0.5, sparse=sparse))
    for name, weights in model.named_parameters():
        expected = base[name] + 0.5 * sparse.of(tuned[name] - base[name], name)
        torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-5)


def test_what_is_written_loads_as_it_was(pair, tmp_path):
    folder, model, base = pair
    merges = Merges(model, base)
    merges.apply(Merge(0.5))
    merged = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    merges.apply(Merge(0.9))  # what was tried last is not what is written
    merges.write(Merge(0.5), AutoProcessor.from_pretrained(folder), tmp_path / "merged", str(folder))
    again = dict(AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").named_parameters())
    for name, weights in merged.items():
        torch.testing.assert_close(again[name], weights)


def test_a_model_in_16_bits_is_merged_in_32(tiny, tmp_path):
    folder = tiny("llava")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.bfloat16)
    base = {name: weights.detach().float().clone() for name, weights in model.named_parameters()}
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.01)
    tuned = {name: weights.detach().float().clone() for name, weights in model.named_parameters()}
    Merges(model, base).write(Merge(0.3), AutoProcessor.from_pretrained(folder), tmp_path / "merged", str(folder))
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    for name, weights in again.named_parameters():
        torch.testing.assert_close(weights, torch.lerp(tuned[name], base[name], 0.3), atol=1e-7, rtol=0)


def test_a_tied_head_stays_tied_and_is_merged_too(tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(demo.PATH, dtype=torch.float32)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    base = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1.0)
    Merges(model, base).write(Merge(0.25), AutoProcessor.from_pretrained(demo.PATH), tmp_path / "m", str(demo.PATH))
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "m", dtype=torch.float32)
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    name = next(name for name, value in model.named_parameters() if value is model.get_input_embeddings().weight)
    torch.testing.assert_close(again.get_output_embeddings().weight.detach(), base[name] + 0.75)


def test_models_that_are_equal_or_unlike_are_refused(pair):
    _, model, base = pair
    with pytest.raises(UserError, match="nothing to merge"):
        Merges(model, {name: weights.detach().clone() for name, weights in model.named_parameters()})
    with pytest.raises(UserError, match="give the base that it was trained from"):
        Merges(model, dict(list(base.items())[1:]))


def test_no_part_is_forgotten(tiny):
    """Each weight of each architecture is in one of the parts that have their own share."""
    for architecture in sorted(tiny_checkpoints.ARCHITECTURES):
        model = AutoModelForImageTextToText.from_pretrained(tiny(architecture), dtype=torch.float32)
        base = {name: weights.detach() + 1 for name, weights in model.named_parameters()}
        merges = Merges(model, base)
        assert set(merges._part) == set(base), architecture

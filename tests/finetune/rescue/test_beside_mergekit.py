"""Merges of some of the change beside mergekit's, which reads folders and writes one: the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from emt_tasks.demo import tiny
from finetune.rescue.merges import Merge, Merges, Sparse

mergekit = pytest.importorskip("mergekit", reason="needs mergekit: pip install mergekit")

SHARE, DENSITY = 0.4, 0.2


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The demo's model and one that was changed everywhere, as folders; and both as mergekit does not need them."""
    folder = tmp_path_factory.mktemp("models")
    model = AutoModelForImageTextToText.from_pretrained(tiny.PATH, dtype=torch.float32)
    base = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    model.save_pretrained(folder / "base")
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights))
    model.save_pretrained(folder / "tuned")
    return folder, model, base


def theirs(folder: Path, method: str) -> dict[str, torch.Tensor]:
    """What mergekit makes of the two folders."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    tuned = {"model": str(folder / "tuned"), "parameters": {"density": DENSITY, "weight": 1 - SHARE}}
    settings = {"merge_method": method, "base_model": str(folder / "base"), "models": [tuned], "dtype": "float32"}
    settings["parameters"] = {"normalize": False}  # which would take the weight of a single model back
    output = folder / method
    options = MergeOptions(copy_tokenizer=False, random_seed=1, quiet=True)
    run_merge(MergeConfiguration.model_validate(settings), str(output), options)
    return load_file(output / "model.safetensors")


def ours(pair, sparse: Sparse) -> dict[str, torch.Tensor]:
    """What is merged in place, by the names in files."""
    folder, model, base = pair
    Merges(model, base).apply(Merge(SHARE, sparse=sparse))
    merged = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    tuned = load_file(folder / "tuned" / "model.safetensors")
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.copy_(tuned[name])
    return merged


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ties_gives_the_same_weights(pair):
    expected = theirs(pair[0], "ties")
    merged = ours(pair, Sparse("ties", DENSITY))
    assert expected.keys() == merged.keys()
    for name, weights in expected.items():
        torch.testing.assert_close(merged[name], weights)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_dare_keeps_as_much_and_scales_it_alike(pair):
    """Which numbers are kept is drawn; how many, and their scale, is not.

    mergekit scales what is left to the sum of |δ|, we by 1 / density: the same on average, so only large weights are
    compared. Of n numbers a share of 0.2 is kept ± √(0.16 / n): 1.3 points of a standard error at n = 1,000.
    """
    expected, merged, base = theirs(pair[0], "dare_linear"), ours(pair, Sparse("dare", DENSITY)), pair[2]
    large = [name for name, weights in base.items() if weights.numel() >= 1000]
    assert large
    for name in large:
        changes = [weights[name] - base[name] for weights in (expected, merged)]
        kept = [change != 0 for change in changes]
        assert all(one.float().mean().item() == pytest.approx(DENSITY, abs=0.06) for one in kept), name
        both = kept[0] & kept[1]
        ratio = (changes[0] / changes[1])[both]
        assert ratio.median().item() == pytest.approx(1.0, abs=0.2), name

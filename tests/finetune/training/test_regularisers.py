"""Regularisers: their gradients by finite differences, and what they do in whole runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from emt_core.errors import UserError
from finetune.recipes.files import read
from finetune.training.regularisers import Projection, Pull, by_own_probability, divergence, fisher
from finetune.training.run import finetune
from tests.support import tiny_checkpoints

pytestmark = [
    pytest.mark.usefixtures("data_dir"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

OTHER = [{"data": "cifar10", "limit": 8}]


def numeric(function, weights: torch.Tensor, step: float = 1e-5) -> torch.Tensor:
    """The gradient by central differences."""
    found = torch.zeros_like(weights)
    for place in range(weights.numel()):
        for sign in (1, -1):
            moved = weights.detach().clone()
            moved.view(-1)[place] += sign * step
            found.view(-1)[place] += sign * float(function(moved)) / (2 * step)
    return found


@pytest.mark.parametrize("with_importance", [False, True])
def test_a_pull_s_gradient_is_that_of_its_value(with_importance):
    torch.manual_seed(0)
    weights = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
    base, importance = torch.randn_like(weights), torch.rand_like(weights)
    chosen = {"w": importance} if with_importance else None
    scale = importance if with_importance else torch.ones_like(weights)

    def value(at: torch.Tensor) -> torch.Tensor:
        return 0.5 * 0.3 * (scale * (at - base).square()).sum()

    weights.grad = torch.zeros_like(weights)
    told = Pull("l2_sp", 0.3, {"w": weights}, chosen, {"w": base}).add()
    assert told == pytest.approx(float(value(weights.detach())))
    torch.testing.assert_close(weights.grad, numeric(value, weights), atol=1e-7, rtol=1e-6)


def test_the_divergence_s_gradient_is_that_of_its_value():
    torch.manual_seed(0)
    logits = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    base = torch.randn(4, 7, dtype=torch.float64).log_softmax(-1)
    divergence(logits, base).backward()
    torch.testing.assert_close(logits.grad, numeric(lambda at: divergence(at, base), logits), atol=1e-7, rtol=1e-6)
    assert float(divergence(base, base)) == pytest.approx(0, abs=1e-12)
    by_hand = (base.exp() * (base - logits.log_softmax(-1))).sum(-1).mean()
    assert divergence(logits, base).item() == pytest.approx(by_hand.item())


def test_dft_s_gradient_is_that_of_the_loss_times_the_probability():
    """The weight is a number: with it held fixed, finite differences give the gradient (DFT, arXiv 2508.05629)."""
    torch.manual_seed(0)
    logits = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 2, 3, 5])

    def losses(at: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(at, targets, reduction="none")

    by_own_probability(losses(logits)).sum().backward()
    chosen = logits.detach().softmax(-1)[range(5), targets]
    expected = numeric(lambda at: (chosen * losses(at)).sum(), logits)
    torch.testing.assert_close(logits.grad, expected, atol=1e-7, rtol=1e-6)


class Words(nn.Module):
    """A head on fixed features, with what `answer_losses` asks of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 6, bias=False)

    def forward(self, features: torch.Tensor, use_cache: bool = False) -> Any:
        return type("Output", (), {"logits": self.head(features)})


def test_fisher_is_the_mean_squared_gradient_of_each_example():
    from finetune.data.collate import TrainingBatch

    torch.manual_seed(0)
    model = Words()
    batches = [
        TrainingBatch({"features": torch.randn(1, 3, 5)}, torch.tensor([[-100, 2, number]]), torch.zeros(1).long())
        for number in range(4)
    ]
    found = fisher(model, model.head, {"w": model.head.weight}, batches)["w"]
    squares = []
    for batch in batches:

        def loss(weights: torch.Tensor, batch: TrainingBatch = batch) -> torch.Tensor:
            logits = batch.inputs["features"][0, 1:].double() @ weights.T
            return nn.functional.cross_entropy(logits, batch.labels[0, 1:], reduction="sum")

        squares.append(numeric(loss, model.head.weight.detach().double()).square())
    torch.testing.assert_close(found.double(), torch.stack(squares).mean(0), atol=1e-5, rtol=1e-3)


def run(file: str, *overrides: str) -> dict[str, torch.Tensor]:
    folder = finetune(read(file, overrides))
    return load_file(folder / "model.safetensors")


def terms(output: Path) -> list[dict[str, float]]:
    return [json.loads(line)["regularise"] for line in (output / "emt_train.jsonl").read_text().splitlines()]


@pytest.fixture
def plain(recipe_file, tmp_path):
    return run(recipe_file(output=str(tmp_path / "plain")))


@pytest.mark.parametrize(
    "nothing",
    [
        {"kl": {"weight": 0, "sources": OTHER}},
        {"kl": {"weight": 0}},
        {"l2_sp": {"weight": 0}},
        {"ewc": {"weight": 0, "sources": OTHER}},
    ],
    ids=["kl", "lwf", "l2_sp", "ewc"],
)
def test_without_weight_a_term_changes_nothing(nothing, plain, recipe_file, tmp_path):
    """Bit for bit, though all that the term needs is computed; LwF has its own cross-entropy, and so its rounding."""
    other = run(recipe_file(regularise=nothing, output=str(tmp_path / "other")))
    exact = nothing != {"kl": {"weight": 0}}
    for name, weights in plain.items():
        if exact:
            assert torch.equal(weights, other[name]), name
        else:
            torch.testing.assert_close(weights, other[name], atol=1e-4, rtol=1e-3)
    assert {name for line in terms(tmp_path / "other") for name in line} <= {"kl", "l2_sp", "ewc"} if exact else True


def away(weights: dict[str, torch.Tensor], base: Path) -> float:
    start = load_file(base / "model.safetensors")
    return sum(float((value.float() - start[name].float()).square().sum()) for name, value in weights.items())


@pytest.mark.parametrize(
    "near",
    [
        {"l2_sp": {"weight": 10}},
        {"ewc": {"weight": 1e4, "sources": OTHER}},
    ],
    ids=["l2_sp", "ewc"],
)
def test_a_pull_keeps_the_weights_nearer_to_the_base(near, plain, recipe_file, tiny_llava, tmp_path):
    held = run(recipe_file(regularise=near, output=str(tmp_path / "held")))
    assert away(held, tiny_llava) < 0.9 * away(plain, tiny_llava)


def test_a_projected_change_by_hand():
    """The base's strongest direction is the first axis: no change in the first row or column is left."""
    weights = {"w": nn.Parameter(torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5]))), "b": nn.Parameter(torch.zeros(4))}
    projection = Projection(0.25, weights)
    with torch.no_grad():
        for value in weights.values():
            value += 1
    projection.apply()
    expected = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5]))
    expected[1:, 1:] += 1
    torch.testing.assert_close(weights["w"].detach(), expected)
    assert weights["b"].tolist() == [1, 1, 1, 1]  # a vector is free


def test_no_change_is_in_the_strongest_directions(recipe_file, tiny_llava, tmp_path):
    """After six steps of AdamW, of every matrix of every layer: the largest inner product is rounding."""
    held = run(recipe_file(regularise={"projection": {"share": 0.5}}, output=str(tmp_path / "held")))
    start, largest, moved = load_file(tiny_llava / "model.safetensors"), 0.0, 0.0
    for name, value in held.items():
        base = start[name].float()
        if base.dim() < 2:
            continue
        base, change = base.flatten(1), (value.float() - start[name].float()).flatten(1)
        left, _, right = torch.linalg.svd(base, full_matrices=False)
        count = int(0.5 * min(base.shape))
        for inner in (left[:, :count].T @ change, change @ right[:count].T):
            largest = max(largest, float(inner.abs().max()))
        moved = max(moved, float(change.abs().max()))
    assert moved > 1e-3 and largest < 1e-5


def test_the_divergence_from_the_base_stays_smaller(recipe_file, tmp_path):
    def last(weight: float) -> float:
        run(recipe_file(regularise={"kl": {"weight": weight, "sources": OTHER}}, output=str(tmp_path / f"{weight}")))
        return terms(tmp_path / f"{weight}")[-1]["kl"] / weight

    assert last(5.0) < 0.5 * last(1e-6)


@pytest.mark.parametrize("architecture", sorted(tiny_checkpoints.ARCHITECTURES))
def test_the_base_does_not_diverge_from_itself(architecture, tiny, recipe_file, tmp_path):
    """Before the first step, whatever the model drops out while it trains (T5 does)."""
    run(
        recipe_file(
            model=str(tiny(architecture)), steps=1, save={"every": "end"}, regularise={"kl": {"sources": OTHER}}
        )
    )
    (found,) = terms(tmp_path / "run")
    assert found["kl"] == pytest.approx(0, abs=1e-3)


def test_lwf_and_dft_train(recipe_file, tmp_path):
    finetune(read(recipe_file(regularise={"kl": {}, "loss": "dft"})))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "emt_train.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kl", [{}, {"sources": OTHER}], ids=["lwf", "kl"])
def test_an_adapter_s_base_is_the_adapter_off(kl, recipe_file, tmp_path):
    lora = {"train": {"llm": {"lora": {"rank": 4}}}, "regularise": {"kl": kl}}
    finetune(read(recipe_file(**lora)))
    assert (tmp_path / "run" / "last" / "adapter_config.json").is_file()
    if kl:
        found = [line["kl"] for line in terms(tmp_path / "run")]
        assert found[0] == pytest.approx(0, abs=1e-3) and found[-1] > 0  # 16 bits keep what the base says


def test_a_resumed_run_is_the_same(recipe_file, tmp_path):
    """The base is the base, and not the weights where the run goes on."""
    everything = {
        "kl": {"weight": 0.5, "sources": OTHER},
        "l2_sp": {"weight": 0.1},
        "ewc": {"weight": 10, "sources": OTHER},
        "projection": {"share": 0.25},
    }
    whole = run(recipe_file(regularise=everything, output=str(tmp_path / "whole")))
    half = recipe_file(regularise=everything, output=str(tmp_path / "half"))
    with pytest.MonkeyPatch.context() as patch:
        from finetune.training import loop

        record = loop.Training._record

        def stop(self: Any, step: int, *rest: Any) -> None:
            record(self, step, *rest)
            self._asked_to_stop = step == 2

        patch.setattr(loop.Training, "_record", stop)
        with pytest.raises(UserError, match="stopped by SIGTERM"):
            finetune(read(half))
    resumed = load_file(finetune(read(half), resume=True) / "model.safetensors")
    assert all(torch.equal(weights, resumed[name]) for name, weights in whole.items())


def test_an_adapter_has_no_distance_from_the_base(recipe_file):
    lora = {"llm": {"lora": {"rank": 4}}}
    with pytest.raises(
        UserError, match=r"regularise.ewc: with LoRA, how far the adapter's weights have moved.*use regularise.kl"
    ):
        read(recipe_file(train=lora, regularise={"ewc": {"sources": OTHER}}))

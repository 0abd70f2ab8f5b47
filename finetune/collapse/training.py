"""EMT's experiment on a classifier: train on the first half of the classes, then on the second, and measure both.

Settings and schedule: EMT (arXiv 2309.10313), §3.1 and appendix B.1. ResNet18 has a place for every class from the
start; each phase weighs the loss of its own classes with 1 and that of the others with 0, so that the images of all
classes pass through the network, and only some are learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from emt_core.errors import UserError
from finetune.collapse.measures import Collapse, cosines, measure

Stem = Literal["imagenet", "small"]
_PADDING = 4
"""Pixels around an image of 32 from which a crop is drawn; as many in proportion around a larger one. Ours."""

Told = Callable[[int, int], None]
"""Called after each step with the steps done and all of them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Appendix B.1's, but for `stem` and `seed`."""

    epochs: int = 100
    finetune_epochs: int = 100
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_every: int = 80
    """Epochs after which the rate is a tenth; counted over both phases, as the paper's 200 epochs."""
    stem: Stem = "imagenet"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Images:
    """Training images of all classes: `(images, 3, size, size)` in 8 bits, and their classes `(images,)`."""

    pixels: torch.Tensor
    classes: torch.Tensor
    names: tuple[str, ...]

    @property
    def first(self) -> int:
        """How many classes the first half has; the middle one of an odd number belongs to the second."""
        return len(self.names) // 2


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch left.

    Attributes:
        number: counted over both phases; 0 is before the first.
        phase: which classes it trained: `first` or `second`.
        loss: the mean over its steps.
        first, second: training accuracy of each half of the classes, from 0 to 1, all classes being possible answers.
        trained: neural collapse of the classes that it trained.
        cosine: the mean over pairs of the first half's vectors in the classifier.
        cosine_second: of the second half's.
    """

    number: int
    phase: Literal["first", "second"]
    loss: float
    first: float
    second: float
    trained: Collapse
    cosine: float
    cosine_second: float


def resnet18(classes: int, stem: Stem) -> nn.Module:
    """Return torchvision's ResNet18 without weights; `small` has a 3 × 3 convolution first, and no pooling after it."""
    from torchvision.models import resnet18 as build

    model: nn.Module = build(num_classes=classes)
    if stem == "small":
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model


def variation(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what varies an image of this size at random: a crop with black around it, and half of them mirrored."""
    from torchvision.transforms import v2

    crop = v2.RandomCrop(size, padding=max(1, _PADDING * size // 32))
    vary: Callable[[torch.Tensor], torch.Tensor] = v2.Compose([crop, v2.RandomHorizontalFlip()])
    return vary


def run(images: Images, settings: Settings, device: torch.device, told: Told | None = None) -> Iterator[Epoch]:
    """Train, and yield what each epoch left.

    Raises:
        UserError: fewer than four classes: a half has no pair of vectors.
    """
    if len(images.names) < 4:
        raise UserError(f"collapse: {len(images.names)} classes; expected four or more, two in each half")
    torch.manual_seed(settings.seed)
    model = resnet18(len(images.names), settings.stem).to(device)
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, settings.decay_every)
    scale, vary = _Scale(images.pixels), variation(images.pixels.shape[-1])
    # A last batch of a few images is left out: their batch statistics are noise, and a step on them undoes many.
    size = min(settings.batch_size, len(images.pixels))
    steps_each = len(images.pixels) // size
    done, whole = 0, steps_each * (settings.epochs + settings.finetune_epochs)
    for number in range(1, settings.epochs + settings.finetune_epochs + 1):
        phase: Literal["first", "second"] = "first" if number <= settings.epochs else "second"
        weights = torch.zeros(len(images.names), device=device)
        weights[: images.first] = float(phase == "first")
        weights[images.first :] = float(phase == "second")
        model.train()
        losses = []
        for chosen in torch.split(torch.randperm(len(images.pixels))[: steps_each * size], size):
            logits = model(scale(torch.stack([vary(images.pixels[number]) for number in chosen]).to(device)))
            losses.append(_step(logits, images.classes[chosen].to(device), weights, optimiser))
            done += 1
            if told:
                told(done, whole)
        schedule.step()
        yield _epoch(number, phase, float(np.mean(losses)), model, images, scale, device, settings.batch_size)


def _step(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, optimiser: Any) -> float:
    """Take a step on the classes that have a weight; a batch without any leaves the weights as they are."""
    mine = weights[classes]
    if not mine.any():
        return 0.0
    loss = (functional.cross_entropy(logits, classes, reduction="none") * mine).sum() / mine.sum()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


class _Scale:
    """Pixels scaled by the training images' mean and spread in each channel."""

    def __init__(self, pixels: torch.Tensor) -> None:
        parts = torch.split(pixels, 1024)
        count = pixels.shape[0] * pixels.shape[2] * pixels.shape[3]
        self.mean = torch.stack([part.double().sum((0, 2, 3)) for part in parts]).sum(0) / count
        apart = [((part.double() - self.mean[:, None, None]) ** 2).sum((0, 2, 3)) for part in parts]
        spread = torch.stack(apart).sum(0) / count
        self.spread = spread.sqrt().clamp_min(1.0)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return `(images, 3, size, size)` as the network takes it."""
        mean, spread = (value.float().to(pixels.device)[:, None, None] for value in (self.mean, self.spread))
        scaled: torch.Tensor = (pixels.float() - mean) / spread
        return scaled.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _epoch(
    number: int,
    phase: Literal["first", "second"],
    loss: float,
    model: nn.Module,
    images: Images,
    scale: _Scale,
    device: torch.device,
    batch_size: int,
) -> Epoch:
    # Running averages are of weights some steps old, which in few epochs are another network's (arXiv 2105.07576, §3).
    update_bn((scale(part) for part in torch.split(images.pixels, batch_size) if len(part) > 1), model, device)
    model.eval()
    head = model.fc
    assert isinstance(head, nn.Linear)
    model.fc = nn.Identity()
    parts = [model(scale(part.to(device))).cpu() for part in torch.split(images.pixels, batch_size)]
    model.fc = head
    features = torch.cat(parts).double().numpy()
    weights, biases = (value.detach().cpu().double().numpy() for value in (head.weight, head.bias))
    classes = images.classes.numpy()
    right = (features @ weights.T + biases).argmax(1) == classes
    of_first = classes < images.first
    mine = of_first if phase == "first" else ~of_first
    return Epoch(
        number=number,
        phase=phase,
        loss=loss,
        first=float(right[of_first].mean()),
        second=float(right[~of_first].mean()),
        trained=measure(features[mine], classes[mine], weights, biases),
        cosine=float(cosines(weights[: images.first]).mean()),
        cosine_second=float(cosines(weights[images.first :]).mean()),
    )

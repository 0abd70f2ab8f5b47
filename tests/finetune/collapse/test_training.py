"""EMT's experiment: augmentation and steps by hand, and real digits whose first half is forgotten."""

from __future__ import annotations

import pytest
import torch

from emt_core.errors import UserError
from finetune.collapse.training import Images, Settings, augmented, resnet18, run


def test_crops_are_windows_of_the_padded_image():
    """Every one is found in the image with four black pixels around it, or in its mirror image."""
    pixels = torch.arange(1, 33 * 32 + 1, dtype=torch.int32)[: 32 * 32].reshape(1, 1, 32, 32).repeat(40, 3, 1, 1)
    padded = torch.nn.functional.pad(pixels[0, 0], (4,) * 4)
    windows = {
        window.numpy().tobytes(): turned
        for turned, whole in ((False, padded), (True, padded))
        for top in range(9)
        for left in range(9)
        for window in [
            (
                whole[top : top + 32, left : left + 32].flip(1) if turned else whole[top : top + 32, left : left + 32]
            ).contiguous()
        ]
    }
    found = augmented(pixels, torch.Generator().manual_seed(0))
    assert found.shape == pixels.shape
    turned = [windows[one[0].contiguous().numpy().tobytes()] for one in found]
    assert 5 < sum(turned) < 35  # half of 40, within four standard errors
    assert all(torch.equal(one[0], one[1]) for one in found)  # all channels alike
    assert len({one.numpy().tobytes() for one in found}) > 20


def test_the_small_stem_keeps_the_image_s_size():
    image = torch.zeros(1, 3, 32, 32)
    assert resnet18(10, "small").conv1(image).shape[-1] == 32
    assert resnet18(10, "imagenet").conv1(image).shape[-1] == 16


def test_too_few_classes():
    images = Images(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.arange(6) % 3, ("a", "b", "c"))
    with pytest.raises(UserError, match="3 classes; expected four or more"):
        next(run(images, Settings(), torch.device("cpu")))

"""EMT's experiment: augmentation and steps by hand, and real digits whose first half is forgotten."""

from __future__ import annotations

import pytest
import torch

from emt_core.errors import UserError
from finetune.collapse.training import Images, Settings, resnet18, run, variation


def test_a_varied_image_has_its_size_and_a_border_in_proportion():
    """Of 64 pixels a crop is moved by 8 at most, twice as far as of 32: at least 56 × 56 of them are left."""
    torch.manual_seed(0)
    for size, left in ((32, 28), (64, 56)):
        vary = variation(size)
        found = [vary(torch.full((3, size, size), 9, dtype=torch.uint8)) for _ in range(200)]
        assert {tuple(one.shape) for one in found} == {(3, size, size)}
        assert min(int((one[0] > 0).sum()) for one in found) >= left**2
        assert len({int((one[0] > 0).sum()) for one in found}) > 10


def test_the_small_stem_keeps_the_image_s_size():
    image = torch.zeros(1, 3, 32, 32)
    assert resnet18(10, "small").conv1(image).shape[-1] == 32
    assert resnet18(10, "imagenet").conv1(image).shape[-1] == 16


def test_too_few_classes():
    images = Images(torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.arange(6) % 3, ("a", "b", "c"))
    with pytest.raises(UserError, match="3 classes; expected four or more"):
        next(run(images, Settings(), torch.device("cpu")))

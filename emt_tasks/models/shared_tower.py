"""A vision tower that several models have in common: an image goes through it once, and all of them read the result.

Which of the tower's outputs a model reads is seen once, on a blank image: those that an operation takes. Only these are
kept, in memory, under a digest of the image's pixels as the processor made them. All others raise an error if they are
read after all: never a number that was not computed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from emt_core.errors import UserError, one_line
from emt_tasks.models.adapters import Adapters
from emt_tasks.models.documents import Request
from emt_tasks.models.parts import moved, part_for, vision_tower
from emt_tasks.models.per_image import Call, Counts, Irregular, Output
from emt_tasks.models.vlm import EmtVLM

_LOOKED_AT = {
    getattr(torch.Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda", "layout")
} | {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.is_floating_point}
"""What may be asked of an output that was not kept."""


class UnreadError(RuntimeError):
    """A model reads an output of its tower that it did not read of the blank image."""


@contextmanager
def shared_tower(lm: EmtVLM, adapters: Adapters, limit: int) -> Iterator[Counts]:
    """Let the tower of a model run once for each image; yield what it has done.

    Nothing is shared where an adapter changes the tower, where there is none, or where its calls cannot be taken apart:
    `Counts.reason` says so.

    Args:
        lm: the model.
        adapters: on it.
        limit: bytes that may be kept.
    """
    counts = Counts()
    try:
        tower = vision_tower(lm.model)
        if adapters.reach(tower):
            raise Irregular("an adapter changes it")
        with adapters.at_work(None):
            read = _outputs_read(lm, tower)
        shared = _SharedTower(tower, read, limit, counts)
    except (UserError, Irregular) as reason:
        counts.reason = str(reason)
        yield counts
        return
    with _standing_in(tower, shared):
        yield counts


@contextmanager
def _standing_in(tower: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a function stand in for a module's forward pass."""
    own = tower.forward
    tower.forward = functools.wraps(own)(lambda *arguments, **settings: forward(*arguments, **settings))
    try:
        yield
    finally:
        del tower.forward


class _SharedTower:
    """Stands in for a tower's forward pass; `read` has the outputs that are read, by the settings of the call."""

    def __init__(self, tower: nn.Module, read: Mapping[str, set[int]], limit: int, counts: Counts) -> None:
        self._forward, self._read, self._free, self._counts = tower.forward, read, limit, counts
        self._kept: dict[bytes, dict[str, torch.Tensor]] = {}
        self._outputs: dict[str, Output] = {}

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        try:
            call = Call.of(arguments, settings)
            read = self._read.get(call.settings)
            keys = call.keys(read) if read else []
        except Irregular:
            read = None
        if not read or torch.is_grad_enabled():
            return self._forward(*arguments, **settings)
        output = self._outputs.get(call.settings)
        rows = {key: self._kept[key] for key in keys if key in self._kept}
        if output is None or not rows:
            return self._computed(call, read, keys)
        missing = sorted({key: image for image, key in enumerate(keys) if key not in rows}.values())
        self._counts.read += len(keys) - len(missing)
        if missing:
            part = call.only(missing)
            leaves, _ = pytree.tree_flatten(part.run(self._forward))
            rows |= self._keep([keys[image] for image in missing], part.rows_of(leaves, read))
        filled = output.filled([rows[key] for key in keys], call)
        guarded = [
            leaf.as_subclass(_Unread) if isinstance(leaf, torch.Tensor) and number not in read else leaf
            for number, leaf in enumerate(filled)
        ]
        return pytree.tree_unflatten(guarded, output.spec)

    def _computed(self, call: Call, read: set[int], keys: list[bytes]) -> Any:
        """Run the tower for all images as if nothing were shared, and keep what is read."""
        found = call.run(self._forward)
        leaves, spec = pytree.tree_flatten(found)
        self._outputs.setdefault(call.settings, Output.like(leaves, spec, call))
        self._keep(keys, call.rows_of(leaves, read))
        return found

    def _keep(self, keys: list[bytes], rows: list[dict[str, torch.Tensor]]) -> dict[bytes, dict[str, torch.Tensor]]:
        """Keep rows by key while there is room; returns them all."""
        self._counts.computed += len(keys)
        found = dict(zip(keys, rows, strict=True))
        for key, tensors in found.items():
            size = sum(row.numel() * row.element_size() for row in tensors.values())
            if key not in self._kept and size <= self._free:
                self._kept[key] = {name: row.detach().cpu() for name, row in tensors.items()}
                self._free -= size
        return found


class _Unread(torch.Tensor):
    """An output that was not kept: it has a shape, and no numbers."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LOOKED_AT:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        name = getattr(func, "__name__", func)
        raise UnreadError(f"an output of the vision tower was not kept, and is read by {name}")


def _outputs_read(lm: EmtVLM, tower: nn.Module) -> dict[str, set[int]]:
    """Return the numbers of the tower's outputs that the model reads of a blank image, by the settings of the call.

    Raises:
        UserError: the processor takes no prompt with one image.
        Irregular: the tower's calls cannot be taken apart by image, or the model takes no blank one.
    """
    request = Request("?", None)
    seen = _Seen()
    own = tower.forward

    def recorded(*arguments: Any, **settings: Any) -> Any:
        found = own(*arguments, **settings)
        seen.watch(Call.of(arguments, settings).settings, found)
        return found

    with lm.inference() as model, _standing_in(tower, recorded), seen:
        for batch in lm.collate([request], [0], {0: [Image.new("RGB", (64, 64))]}, "left"):
            inputs = moved(batch.inputs, model)
            try:
                part_for(model, inputs).generate(**inputs, max_new_tokens=1, do_sample=False)
            except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
                raise Irregular(f"a blank image cannot be asked about: {one_line(error)}") from error
    return seen.read


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches which tensors operations take."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read: dict[str, set[int]] = {}
        self._watched: dict[int, list[tuple[str, int]]] = {}
        self._alive: list[Any] = []

    def watch(self, settings: str, output: Any) -> None:
        """Watch the tensors of an output of a call with these settings."""
        leaves, _ = pytree.tree_flatten(output)
        self._alive.append(leaves)  # so that no other tensor gets the identity of one
        self.read.setdefault(settings, set())
        for number, leaf in enumerate(leaves):
            if isinstance(leaf, torch.Tensor):
                self._watched.setdefault(id(leaf), []).append((settings, number))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in pytree.tree_leaves((args, kwargs or {})):
            for settings, number in self._watched.get(id(leaf), ()):
                self.read[settings].add(number)
        return func(*args, **(kwargs or {}))

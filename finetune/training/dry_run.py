"""What a recipe would do, without loading weights: what it trains, on what data, in how many steps, its memory."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from emt_core.errors import listed
from finetune.data.loader import Loader
from finetune.data.mixture import plan
from finetune.data.scan import describe_skipped, scan, usable
from finetune.data.sources import open_source
from finetune.model import building
from finetune.model.adapters import base_name
from finetune.model.parts import find_parts
from finetune.recipes.schema import Probe, Recipe
from finetune.training.evaluation import check_tasks, check_watched, watched
from finetune.training.memory import Memory, Workload, in_words
from finetune.training.moved import MOST
from finetune.training.pace import SHARE
from finetune.training.saving import save_points
from finetune.training.standing import MARGIN
from finetune.training.validation import open_watched

if TYPE_CHECKING:
    from torch import nn

    from finetune.data.mixture import Plan
    from finetune.data.sources import TrainingSource


def trained_modules(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the modules that get gradients: how many of each, and their total parameters.

    Modules that differ only in their layer number are counted together; a head that is tied to the embeddings counts
    with them.
    """
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    seen: set[int] = set()
    for path, module in model.named_modules():
        own = [w.numel() for w in module.parameters(recurse=False) if w.requires_grad and id(w) not in seen]
        seen |= {id(weights) for weights in module.parameters(recurse=False)}
        if own:
            name = re.sub(r"\.\d+(?=\.|$)", ".*", base_name(f"{path}.")[:-1]) or type(model).__name__
            name += " (LoRA)" if ".lora_" in path else ""
            found[name][0] += not path.endswith(".lora_B.default")
            found[name][1] += sum(own)
    return {name: (count, size) for name, (count, size) in found.items()}


def describe(recipe: Recipe) -> Iterator[Any]:
    """Yield what a dry run prints: the resolved recipe, then tables.

    Raises:
        UserError: anything that would stop the run before its first step.
    """
    yield recipe.to_yaml()
    check_tasks(recipe.evaluate)
    check_watched(recipe.probe)
    opened = [open_source(entry, recipe.mixture.max_pixels) for entry in recipe.mixture.used]
    empty = building.empty_model(recipe)
    parts = _parts_table(empty)
    unadapted = without_adapter(empty, recipe)
    processor = building.load_processor(recipe)
    collator = building.make_collator(empty, processor, recipe.batch.max_tokens)
    bad = scan(opened, recipe.mixture, collator.check).bad
    sources = usable(opened, recipe.mixture, bad)
    open_watched(recipe, collator)
    mixture = plan(recipe.mixture, [len(source) for source in sources], recipe.seed)
    model = building.make_trainable(empty, recipe)
    building.trained_by_part(model, recipe)
    (batch, *_) = Loader(recipe, sources, mixture, collator).step(0)
    yield parts
    yield _trained_table(model)
    if unadapted:
        (first, *_), weights = list(unadapted), sum(unadapted.values())
        yield f"LoRA leaves {weights:,} weights of these parts alone (embeddings, routers), the first in {first}\n"
    yield _mixture_table(sources, mixture)
    if bad:
        yield f"{describe_skipped(opened, bad)}; the first: {bad[0].reason}\n"
    steps = recipe.steps or mixture.steps(recipe.batch.size, recipe.epochs or 1)
    yield f"{steps:,} steps of {recipe.batch.size} examples, {mixture.epoch_size:,} examples per epoch\n"
    if recipe.probe:
        words = model.config.get_text_config().vocab_size  # type: ignore[union-attr,operator]
        yield from _looks(recipe, recipe.probe, steps, len(save_points(recipe, mixture, steps)), words)
    yield _memory_table(Workload.of(model, recipe, batch).memory(recipe))


def without_adapter(model: nn.Module, recipe: Recipe) -> dict[str, int]:
    """Return the sizes of the matrices in parts trained by LoRA that get no adapter.

    Such are embeddings, and the routers of experts.
    """
    parts = find_parts(model)
    adapted = [part for part, chosen in recipe.parts.items() if chosen.lora]
    names = {name for part in adapted for name in parts.require(part)}
    linear = {layer for part in adapted for layer in parts.linears.get(part, [])}
    experts = {name for part in adapted for name in parts.experts.get(part, [])}
    return {
        name: weights.numel()
        for name, weights in model.named_parameters()
        if name in names and weights.dim() > 1 and name.rpartition(".")[0] not in linear and name not in experts
    }


def _parts_table(model: nn.Module) -> Any:
    """Show which share of a model each part is; vision, audio, projector and llm are all of it."""
    sizes = {name: weights.numel() for name, weights in model.named_parameters()}
    every = sum(sizes.values())
    table = Table("part", box=None, pad_edge=False)
    for name in ("parameters", "share"):
        table.add_column(name, justify="right")
    for part, names in find_parts(model).parameters.items():
        own = sum(sizes[name] for name in names)
        table.add_row(part, f"{own:,}", f"{100 * own / every:.1f} %")
    return table


def _trained_table(model: nn.Module) -> Any:

    modules = trained_modules(model)
    every, trained = sum(w.numel() for w in model.parameters()), sum(size for _, size in modules.values())
    table = Table("trained module", box=None, pad_edge=False)
    table.add_column("modules", justify="right")
    table.add_column("parameters", justify="right")
    for name, (count, size) in modules.items():
        table.add_row(name, f"{count:,}", f"{size:,}")
    table.add_row(f"total, of {every:,} ({100 * trained / every:.2f} %)", "", f"{trained:,}")
    return table


def _mixture_table(sources: Sequence[TrainingSource], mixture: Plan) -> Any:

    table = Table("source", box=None, pad_edge=False)
    for name in ("examples", "per epoch", "share"):
        table.add_column(name, justify="right")
    for source, size, count in zip(sources, mixture.sizes, mixture.counts, strict=True):
        table.add_row(source.name, f"{size:,}", f"{count:,}", f"{100 * count / mixture.epoch_size:.1f} %")
    return table


def _looks(recipe: Recipe, chosen: Probe, steps: int, saves: int, words: int) -> Iterator[str]:
    """Say what is watched, how often, what follows, and what it costs.

    Args:
        recipe: the run's.
        chosen: its probe.
        steps: of the run.
        saves: how many checkpoints it writes.
        words: in the model's vocabulary.
    """
    tasks = watched(chosen)
    named = [f"{task} (learned)" if task == chosen.learn else task for task in tasks]
    often = (
        f"as often as takes at most {100 * SHARE:g} % of the time"
        if chosen.every == "auto"
        else f"after every {chosen.every:,} steps, {steps // chosen.every:,} times"
    )
    then = "training ends" if chosen.then == "end" else "the learning rate falls to a tenth"
    stop = f"; {then} once one is shown to have lost more than {chosen.stop:g} points" if chosen.stop else ""
    yield f"probe: {chosen.documents} of at most {chosen.pool} documents of {listed(named)}, {often}{stop}"
    kept = in_words(len(tasks) * min(chosen.documents, chosen.pool) * MOST * words * 2)
    yield f"the base answers the pools before the first step; of its probabilities at most {kept} are kept in memory"
    if recipe.save.keep == "best":
        margin = chosen.stop or MARGIN
        yield (
            f"save.keep: best scores the pools {saves:,} more times, and keeps the checkpoint that learned most of "
            f"those that lost at most {margin:g} points"
        )
    yield ""


def _memory_table(estimate: Memory) -> Any:

    table = Table("memory on one device", box=None, pad_edge=False)
    table.add_column("about", justify="right")
    kept = ["regularisers"] if estimate.regularisers else []
    for name in ("weights", "gradients", "optimiser", "activations", "logits", *kept, "total"):
        table.add_row(name, in_words(getattr(estimate, name)))
    return table

"""The model card of a finished run: what was trained on what, what it forgot; and the checkpoint's way to the hub."""

from __future__ import annotations

from pathlib import Path

from emt_core.errors import UserError, one_line
from finetune.recipes.schema import Recipe
from finetune.training.checkpoint import ACCURACY, LAST, logged, step_of

CARD = "README.md"


def write_card(recipe: Recipe) -> Path:
    """Write the card of a run into its last checkpoint, and return it."""
    from huggingface_hub import ModelCard, ModelCardData

    output = Path(recipe.output)
    data = ModelCardData(
        base_model=None if Path(recipe.model).exists() else recipe.model,
        library_name="peft" if recipe.has_lora and not recipe.save.merged else "transformers",
        pipeline_tag="image-text-to-text",
        tags=["emt-eval"],
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(recipe, output)}")
    file = (output / LAST).resolve() / CARD
    card.save(file)
    return file


def push(recipe: Recipe) -> str:
    """Upload a run's last checkpoint to the hub, and return its address.

    Raises:
        UserError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    name = str(recipe.save.push)
    try:
        api = HfApi()
        address = api.create_repo(name, exist_ok=True, private=True)
        api.upload_folder(repo_id=name, folder_path=(Path(recipe.output) / LAST).resolve())
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise UserError(
            f"save.push: {name} cannot be uploaded ({one_line(error)}); the checkpoint is complete in {recipe.output}; "
            f"upload it with: hf upload {name} {Path(recipe.output) / LAST}"
        ) from error
    return str(address)


def _text(recipe: Recipe, output: Path) -> str:
    parts = ", ".join(f"{part}{' by LoRA' if settings.lora else ''}" for part, settings in recipe.parts.items())
    sources = ", ".join(
        f"{source.data}{f' ({100 * source.ratio:g} %)' if source.ratio is not None else ''}"
        for source in recipe.mixture.used
    )
    lines = [
        f"# {output.name}",
        "",
        f"`{Path(recipe.model).name}` fine-tuned on {sources}: {parts}, at a learning rate of "
        f"{recipe.optimiser.learning_rate:g}, by the recipe `emt_recipe.yaml` of emt-eval.",
        "",
    ]
    table = _forgetting(output)
    return "\n".join([*lines, *(["## What it kept", "", *table, ""] if table else [])])


def _forgetting(output: Path) -> list[str]:
    """Return the accuracy of each task before training and after, as a table."""
    accuracies: dict[int, dict[str, float]] = logged(output, ACCURACY)
    if not accuracies:
        return []
    step = step_of((output / LAST).resolve())  # the best checkpoint need not be the newest
    before, after = accuracies.get(0), accuracies.get(step, {})
    rows = ["| task | before | after | change |", "|---|---|---|---|"]
    for task, score in after.items():
        was = before.get(task) if before else None
        shown = ("", "") if was is None else (f"{100 * was:.1f} %", f"{100 * (score - was):+.1f}")
        rows.append(f"| {task} | {shown[0]} | {100 * score:.1f} % | {shown[1]} |")
    return rows

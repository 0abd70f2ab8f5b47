"""`emt finetune`, `emt merge`, and the two commands that this package adds to `emt data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from emt_core.errors import UserError, listed
from finetune.data import llava
from finetune.data.disjoint import evaluation_sources, overlaps
from finetune.data.sources import is_file
from finetune.recipes.files import read, shipped_recipes
from finetune.recipes.schema import SourceEntry

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Fields to change; dots lead to nested fields.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace the contents of the output folder.")]

finetune = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
merge = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
to_llava = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
check_data = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@finetune.command(
    "finetune",
    no_args_is_help=True,
    epilog="Example: emt finetune emt_lora data=cifar10 --dry-run. Advice first: "
    "emt finetune --advise data=photos.jsonl model=llava-hf/llava-1.5-7b-hf > my.yaml. On several GPUs or machines: "
    "accelerate launch -m emt_tasks finetune RECIPE",
)
def finetune_command(
    recipe: Annotated[
        str | None, typer.Argument(help=f"A YAML file, or a shipped recipe: {', '.join(shipped_recipes())}.")
    ] = None,
    overrides: Overrides = None,
    advise: Annotated[
        bool,
        typer.Option(
            "--advise",
            help="Look at data=… (a name or a file), model=… and this machine, and print a recipe with the reasons for "
            "it. Also images=…, split=…, with=… (other data to mix in), and any field of a recipe.",
        ),
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="GIB", help="With --advise: what the device has, if it is not this machine's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would do, and the memory it needs.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was stopped.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a multimodal LLM from a recipe, and evaluate it at every checkpoint."""
    given = [*([recipe] if recipe else []), *(overrides or [])]
    if advise:
        if dry_run or resume or overwrite:
            raise UserError("--advise only prints a recipe; leave out --dry-run, --resume and --overwrite")
        from emt_tasks.commands.advice import print_advice

        print_advice(given, memory)
        return
    if memory is not None:
        raise UserError("--memory: only with --advise")
    if recipe is None:
        raise UserError("RECIPE is missing: a YAML file or a shipped recipe; or --advise data=… for advice on one")
    settings = read(recipe, overrides or [])
    if dry_run:
        from finetune.training.dry_run import describe

        console = Console(soft_wrap=True)
        for part in describe(settings):
            console.print(part, markup=False, highlight=False)
        return
    from finetune.training.run import finetune as run

    last = run(settings, resume=resume, overwrite=overwrite)
    typer.echo(str(last))


@merge.command(
    "merge",
    no_args_is_help=True,
    epilog="Example: emt merge runs/cifar10/last --with-base 0.5 -o merged",
)
def merge_command(
    source: Annotated[str, typer.Argument(metavar="ADAPTER_OR_CHECKPOINT", help="The output of emt finetune.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    with_base: Annotated[float, typer.Option(help="The base's share of every weight (WiSE-FT), 0 to 1.")] = 0.0,
    base: Annotated[str | None, typer.Option(help="The model before fine-tuning; by default the recipe's.")] = None,
    dtype: Annotated[
        str, typer.Option(help="What changed weights are stored in: fp32, base (rounded to its dtype) or bf16.")
    ] = "fp32",
    overwrite: Overwrite = False,
) -> None:
    """Write an adapter, or a checkpoint averaged with its base, as one full checkpoint."""
    from finetune.model.merging import merge as run
    from finetune.training.storing import Precision

    if dtype not in get_args(Precision):
        raise UserError(f"--dtype {dtype}: expected one of {listed(get_args(Precision))}")
    chosen = cast("Precision", dtype)
    typer.echo(str(run(source, output, base=base, with_base=with_base, dtype=chosen, overwrite=overwrite)))


@to_llava.command("to-llava", no_args_is_help=True, epilog="Example: emt data to-llava cifar10 -o cifar10-llava")
def to_llava_command(
    name: Annotated[str, typer.Argument(help="One of our data sets.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the JSON and the images.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "train",
    limit: Annotated[int | None, typer.Option(min=1, help="A fixed sample of this many rows.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set as LLaVA-style JSON and image files, in EMT's conversation format."""
    typer.echo(str(llava.to_llava(SourceEntry(data=name, split=split, limit=limit), output, overwrite=overwrite)))


@check_data.command(
    "check",
    no_args_is_help=True,
    epilog="Example: emt data check emt_lora data=cifar10. "
    "Or: emt data check --train cifar10:train --against cifar10:test",
)
def check_data_command(
    recipe: Annotated[str | None, typer.Argument(help="A recipe: its mixture against its tasks.")] = None,
    overrides: Overrides = None,
    train: Annotated[
        list[str] | None, typer.Option(help="NAME:SPLIT or a file of conversations; may be repeated.")
    ] = None,
    against: Annotated[list[str] | None, typer.Option(help="NAME:SPLIT, a task or a group; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
) -> None:
    """Prove that training and evaluation images are disjoint, by their content; exits with 2 where they are not."""
    settings = read(recipe, overrides or []) if recipe else None
    training = [*(settings.mixture.used if settings else ()), *map(_entry, train or ())]
    tasks = settings.evaluate.tasks if settings else ()
    evaluation = [*evaluation_sources(tasks), *(entry for name in against or () for entry in _evaluated(name))]
    if not training or not evaluation:
        missing = "--train" if not training else "--against"
        raise UserError(f"{missing}: nothing to compare; give a recipe with evaluate.tasks, or {missing}")
    found = overlaps(training, evaluation)
    for overlap in found:
        if as_json:
            typer.echo(json.dumps(overlap.as_dict(), ensure_ascii=False))
        else:
            said = "disjoint" if not overlap.images else (
                f"{overlap.images} images in both, {overlap.evaluation_rows} evaluation rows "
                f"({100 * overlap.evaluation_rows / overlap.evaluation:.1f} %); "
                f"e.g. rows {', '.join(f'{one} and {other}' for one, other in overlap.pairs)}"
            )  # fmt: skip
            both = f"{overlap.train_name} ({overlap.train:,}) and {overlap.evaluation_name} ({overlap.evaluation:,})"
            typer.echo(f"{both}: {said}")
    if any(overlap.images for overlap in found):
        raise typer.Exit(2)


def _entry(name: str) -> SourceEntry:
    """Return the source of NAME, NAME:SPLIT or a file."""
    if is_file(name):
        return SourceEntry(data=name)
    data, _, split = name.partition(":")
    return SourceEntry(data=data, split=split or "train")


def _evaluated(name: str) -> list[SourceEntry]:
    """Return the sources that a task, a group or NAME:SPLIT is evaluated on."""
    return evaluation_sources([name]) or [_entry(name)]

"""`emt collapse`: do classes that training leaves out collapse, in a classifier and among an MLLM's labels?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emt_core.files import replacing
from emt_core.folders import check_folder, clear, mark
from emt_tasks.commands.evaluations import candidate_settings
from emt_tasks.commands.options import (
    BatchSizeOption,
    DeviceOption,
    JsonOption,
    LimitOption,
    ModelArgsOption,
    print_rows,
    split_names,
)
from emt_tasks.tasks.evaluator import EvaluationSettings

if TYPE_CHECKING:
    from finetune.collapse.training import Epoch

MADE_BY = "emt collapse"
LOG, PICTURE = "epochs.jsonl", "collapse.svg"

collapse = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@collapse.command("classifier", no_args_is_help=True)
def classifier_command(
    data: Annotated[str, typer.Argument(help="A classification data set: mnist, cifar10, demo_digits, ….")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for numbers and picture.")],
    epochs: Annotated[int, typer.Option(min=1, help="On the first half of the classes.")] = 100,
    finetune_epochs: Annotated[int, typer.Option(min=1, help="On the second half.")] = 100,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="Of SGD; a tenth every 80 epochs.")] = 0.1,
    weight_decay: Annotated[float, typer.Option(min=0.0)] = 5e-4,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", min=2, help="Images at a time.")] = 128,
    limit: Annotated[int | None, typer.Option(min=8, help="A stratified sample of so many images.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Pixels to a side; by default the data set's own.")] = None,
    stem: Annotated[
        Literal["imagenet", "small"],
        typer.Option(help="ResNet18's first layers: torchvision's, or for small images a 3 × 3 convolution."),
    ] = "imagenet",
    seed: Annotated[int, typer.Option()] = 0,
    device: DeviceOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier experiment.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a classifier on half of the classes, then on the others, and see the first collapse (EMT, figure 2).

    ResNet18 learns the first half of the classes, then the second (§3.1). After each epoch: the training accuracy of
    both halves, neural collapse (NC1 to NC4) of the classes in training, and the mean cosine among the classifier's
    vectors of the first half, which goes to 1 as they collapse. Defaults are the paper's (appendix B.1): 200 epochs.

    Example: emt collapse classifier cifar10 -o collapse/cifar10
    """
    # Imported here, since torch takes seconds, and --help would wait.
    import torch
    from tqdm import tqdm

    from finetune.collapse.data import read_images
    from finetune.collapse.training import Settings, run

    check_folder(output, MADE_BY, overwrite=overwrite)
    images = read_images(data, size, limit)
    settings = Settings(
        epochs=epochs,
        finetune_epochs=finetune_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        stem=stem,
        seed=seed,
    )
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    output.mkdir(parents=True, exist_ok=True)
    clear(output, MADE_BY)
    mark(output, MADE_BY, [LOG, PICTURE])
    found: list[Epoch] = []
    with (output / LOG).open("w", encoding="utf-8") as log, tqdm(unit="step", disable=None) as bar:

        def told(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        for epoch in run(images, settings, where, told):
            found.append(epoch)
            log.write(json.dumps(asdict(epoch)) + "\n")
            log.flush()
            bar.set_description(f"first half {100 * epoch.first:.0f} %, second {100 * epoch.second:.0f} %")
    with replacing([output / PICTURE]) as (picture,):
        picture.write_text(drawn(data, found, epochs), encoding="utf-8")
    print_rows([_row(epoch) for epoch in (found if as_json else _shown(found, epochs))], as_json)
    if not as_json:
        typer.echo(_said(found, epochs))
    typer.echo(f"Every epoch: {output / LOG}; drawn: {output / PICTURE}", err=True)


def _shown(found: Sequence[Epoch], epochs: int) -> list[Epoch]:
    """Return the epochs for the table: the first, the last before fine-tuning, the first five of it, and the last."""
    wanted = {1, epochs, *range(epochs + 1, epochs + 6), found[-1].number}
    return [epoch for epoch in found if epoch.number in wanted]


def _row(epoch: Epoch) -> dict[str, object]:
    return {
        "epoch": epoch.number,
        "trained": epoch.phase,
        "first": f"{100 * epoch.first:.1f} %",
        "second": f"{100 * epoch.second:.1f} %",
        "cosine": f"{epoch.cosine:.3f}",
        **epoch.trained.as_row(),
    }


def _said(found: Sequence[Epoch], epochs: int) -> str:
    before, last = found[epochs - 1], found[-1]
    more = last.number - epochs
    return (
        f"The first half: {100 * before.first:.1f} % before it was left out, {100 * last.first:.1f} % after "
        f"{more} epoch{'' if more == 1 else 's'} on the second; the mean cosine among its vectors went from "
        f"{before.cosine:.2f} to {last.cosine:.2f}."
    )


def drawn(data: str, found: Sequence[Epoch], epochs: int) -> str:
    """Return figure 2 with the second half's accuracy, and the measures below it."""
    from leaderboards.report.lines import Panel, draw_lines

    return draw_lines(
        f"Training accuracy and collapse on {data}, by epoch",
        "epoch",
        [float(epoch.number) for epoch in found],
        [
            Panel(
                f"{data}: training accuracy, %",
                {
                    "first half": [100 * epoch.first for epoch in found],
                    "second half": [100 * epoch.second for epoch in found],
                },
                (0.0, 100.0),
            ),
            Panel(
                "Mean cosine among the classifier's vectors",
                {
                    "first half": [epoch.cosine for epoch in found],
                    "second half": [epoch.cosine_second for epoch in found],
                },
                (-1.0, 1.0),
            ),
            Panel(
                "Neural collapse of the classes in training",
                {
                    "NC2 norms": [epoch.trained.norms for epoch in found],
                    "NC2 angles": [epoch.trained.angles for epoch in found],
                    "NC3": [epoch.trained.duality for epoch in found],
                    "NC4": [epoch.trained.nearest for epoch in found],
                },
            ),
        ],
        (float(epochs), "from here on the second half"),
    )


@collapse.command("labels", no_args_is_help=True)
def labels_command(
    base: Annotated[str, typer.Argument(help="The model before fine-tuning: a folder or hub name.")],
    candidate: Annotated[str, typer.Argument(help="The model after it, or an adapter's folder.")],
    tasks: Annotated[str, typer.Option("--task", "--tasks", "-t", help="Classification tasks, separated by commas.")],
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = None,
    limit: LimitOption = None,
    model_args: ModelArgsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Measure whether the labels that a model forgot have collapsed: its own, and what it makes of the images.

    For each task and model: the mean cosine among the labels' vectors (rows of the output layer), and among the class
    means of the last hidden state before the answer (`states`); and neural collapse (NC1 to NC4) of these states. If
    forgetting were minority collapse (EMT, appendix A.4), the forgotten task's cosines would go to 1.

    Example: emt collapse labels emt:tiny my-checkpoint --tasks demo_digits,demo_shapes
    """
    # Imported here, since torch and lmms-eval take half a minute, and --help would wait.
    import sys
    from contextlib import redirect_stdout

    from emt_tasks.diagnosis.measure import answer_states
    from emt_tasks.models.vlm import EmtVLM
    from emt_tasks.tasks.evaluator import check
    from finetune.collapse.labels import label_collapse

    names = tuple(split_names(tasks) or ())
    check(names)
    alike = EvaluationSettings(base, names, "emt_vlm", None, batch_size, device, limit, model_args=model_args)

    def measured(role: str, wanted: EvaluationSettings) -> list[dict[str, object]]:
        with redirect_stdout(sys.stderr):
            lm = EmtVLM.create_from_arg_string(
                wanted.all_model_args(), {"batch_size": wanted.batch_size, "device": wanted.device}
            )
        return [
            {"task": task, "model": role, "documents": len(states.shown)}
            | label_collapse(lm.model, lm.processor, states).as_row()
            for task, states in answer_states(lm, names, limit)
        ]

    # Each in a call of its own, so that only one model is in memory.
    rows = [*measured("base", alike), *measured("candidate", candidate_settings(candidate, base, alike))]
    order = [*names, *dict.fromkeys(str(row["task"]) for row in rows)]  # those of groups follow
    print_rows(sorted(rows, key=lambda row: order.index(str(row["task"]))), as_json)

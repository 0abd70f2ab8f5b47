"""The recipe's schema: what is trained, on which mixture, how; every fault of a recipe is found before anything loads.

`finetune.recipes.files.read` reads a YAML file into a `Recipe`; `Recipe.to_yaml` writes the resolved one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

PartName = Literal["projector", "llm", "vision", "audio", "llm_attention", "llm_gate_up", "full"]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)
_INSIDE = {"llm_attention": "llm", "llm_gate_up": "llm"}

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lora(_Section):
    """Low-rank adaptation of a part's linear layers (arXiv 2106.09685): W + (alpha / rank) · B · A.

    `rslora` scales by alpha / √rank instead (arXiv 2312.03732). `dora` trains the length of each row of W apart from
    its direction (arXiv 2402.09353). `plus` is how many times as fast B learns as A (LoRA+, arXiv 2402.12354).
    """

    rank: Count = 64
    alpha: Positive = 16
    dropout: Fraction = 0.0
    rslora: bool = False
    dora: bool = False
    plus: Positive = 1.0


class Part(_Section):
    """How one part is trained.

    `learning_rate` overrides the optimiser's; with `lora` the part's linear layers and fused experts get adapters, and
    the rest of the part is frozen.
    """

    learning_rate: Positive | None = None
    lora: Lora | None = None


class Columns(_Section):
    """What the columns of a source are called, where the usual names do not hold (`finetune.data.formats`)."""

    messages: str | None = None
    question: str = "question"
    answer: str = "answer"
    image: str = "image"
    system: str = "system"


class SourceEntry(_Section):
    """One source of the mixture.

    `data` is a data set's name (`emt data list`, or one of the demo's); or a file of conversations (JSON, JSON lines or
    parquet), a folder that datasets loads, or a data set on the hub (OWNER/NAME, with its `config` if it has several).
    `images` is the folder of the images that a file names, and `columns` says what its fields are called. `ratio` is
    its share of the training examples; one source may leave it out to take the rest. `question` and `answer` replace
    the data set's own; `{label}` stands for the class name, or for any field of a row.
    """

    data: str
    split: str = "train"
    config: str | None = None
    images: str | None = None
    columns: Columns = Columns()
    ratio: Fraction | None = None
    question: str | None = None
    answer: str | None = None
    limit: Count | None = None


class Mixture(_Section):
    """The training data. An epoch goes once through the first source; the others keep their ratios.

    If another source runs dry it is repeated in a new order, or (`when_dry: stop`) the epoch ends there.
    Before training, each row is read, with its images unless `scan` is `texts`; a row that cannot be used stops the
    run, or (`bad_rows: skip`) is left out and listed in the output folder. Images of more than `max_pixels` are made
    smaller.
    """

    sources: Annotated[tuple[SourceEntry, ...], Field(min_length=1)]
    when_dry: Literal["repeat", "stop"] = "repeat"
    bad_rows: Literal["fail", "skip"] = "fail"
    scan: Literal["all", "texts"] = "all"
    max_pixels: Count | None = None

    @property
    def used(self) -> list[SourceEntry]:
        """The sources in use: ratio 0 leaves one out."""
        return [source for source in self.sources if source.ratio != 0]

    @property
    def names(self) -> list[str]:
        """A name for each source in use; the second one of the same data gets a number."""
        data = [source.data for source in self.used]
        return [name if name not in data[:place] else f"{name}#{place}" for place, name in enumerate(data)]

    @model_validator(mode="after")
    def _ratios_add_up(self) -> Mixture:
        given = [source.ratio for source in self.sources if source.ratio is not None]
        open_ended = len(self.sources) - len(given)
        total = sum(given)
        if open_ended > 1 and given:
            raise ValueError(f"{open_ended} sources have no ratio; at most one may leave it out to take the rest")
        if not open_ended and abs(total - 1) > 1e-6:
            raise ValueError(f"ratios add up to {total:g}; expected 1")
        if open_ended and total >= 1:
            raise ValueError(f"ratios add up to {total:g}, which leaves nothing for the source without one")
        if self.sources[0].ratio == 0:
            raise ValueError("the first source has ratio 0, but it defines the epoch; put another one first")
        return self


class Optimiser(_Section):
    """AdamW (arXiv 1711.05101) or plain SGD; `clip` bounds the norm of the whole gradient, null turns that off.

    `adamw_8bit` keeps AdamW's moments in 8 bits (arXiv 2110.02861), through bitsandbytes. Weight decay applies only to
    weight matrices, never to biases and norms.
    """

    name: Literal["adamw", "adamw_8bit", "sgd"] = "adamw"
    learning_rate: Positive
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Positive | None = 1.0


class Schedule(_Section):
    """Linear warm-up over a share of all steps, then constant or a cosine down to zero."""

    name: Literal["constant", "cosine"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03


class Batching(_Section):
    """`size` examples make one optimiser step, whatever the number of processes; each takes `micro` at a time.

    The gradient does not depend on `micro` or on the number of processes: it is that of the mean loss over all
    answer tokens of the step. `group_by_length` puts examples of similar length into the same step. `packing` puts the
    `micro` examples into one row without padding; architectures that cannot keep them apart are refused at the first
    step. If an example has more than `max_tokens`, images included, the end of the answer is cut off.
    """

    size: Count
    micro: Count = 8
    group_by_length: bool = False
    packing: bool = False
    max_tokens: Count | None = None


class Save(_Section):
    """When checkpoints are written: `epoch`, `end`, or a number of steps; and how.

    `merged` writes LoRA as full weights. `dtype` is what trained weights are stored in: `fp32`, exactly what was
    trained; `base`, rounded to the base's dtype, which takes small changes back; `bf16`, rounded up or down at random
    so that they survive on average. Weights that were not trained keep the base's dtype. `keep` is how many checkpoints
    stay, the newest ones; null keeps all; `best` keeps the one that learned most among those of which `probe` sees no
    task lose more than its `stop` (or 2 points), and lets `last` be it: then each save scores the whole pool. `push`
    uploads the last one to the hub, as a private OWNER/NAME.
    """

    every: Literal["epoch", "end"] | Count = "epoch"
    merged: bool = False
    dtype: Literal["fp32", "base", "bf16"] = "fp32"
    keep: Literal["best"] | Count | None = None
    push: str | None = None


def _switch(value: Any) -> Any:
    """Let YAML's `off`, which it reads as false, be the word."""
    return {False: "off", True: "auto"}.get(value, value) if isinstance(value, bool) else value


class Cache(_Section):
    """What is computed once and kept on disk for other epochs and runs.

    `features`: what a frozen vision tower makes of each image, unless `off`. All of it together takes at most `gib`
    GiB in `folder`, by default in ~/.cache/emt-eval/features; what was used least recently is removed first.
    """

    features: Annotated[Literal["auto", "off"], BeforeValidator(_switch)] = "auto"
    gib: Positive = 20
    folder: str | None = None


class Evaluate(_Section):
    """Tasks that run through lmms-eval at every checkpoint, and before the first step if `at_start`.

    `loss_on` are sources, as in the mixture, whose mean loss for each answer token is logged at the same time; give
    each a `limit`. Their `ratio` is not used.
    """

    tasks: tuple[str, ...] = ()
    loss_on: tuple[SourceEntry, ...] = ()
    at_start: bool = True
    batch_size: Count = 16
    limit: Count | None = None


NonNegative = Annotated[float, Field(ge=0)]


class Divergence(_Section):
    """`weight` times the mean KL divergence of the model from the base over answer tokens, in nats.

    Each step measures it on `batch` examples of `sources`, such as replayed data, of which at most `examples` are kept
    in memory with what the base says of them; without sources, on the training examples, which is learning without
    forgetting (LwF, arXiv 1606.09282) and costs a pass of the base in each step.
    """

    weight: NonNegative = 1.0
    sources: tuple[SourceEntry, ...] = ()
    examples: Count = 256
    batch: Count = 8


class Distance(_Section):
    """`weight` / 2 times the squared distance of trained weights from the base's (L2-SP, arXiv 1802.01483, eq. 2)."""

    weight: NonNegative = 0.01


class Consolidation(_Section):
    """Elastic weight consolidation (EWC, arXiv 1612.00796, eq. 3): as `l2_sp`, each weight by its Fisher information.

    That is its mean squared gradient over `examples` of `sources`: data of which the base should lose nothing.
    """

    weight: NonNegative = 1.0
    sources: Annotated[tuple[SourceEntry, ...], Field(min_length=1)]
    examples: Count = 256


class Projection(_Section):
    """Weights change only beside the base's strongest directions (OSF, arXiv 2504.07097).

    `share` is the share of each weight matrix's singular directions, the strongest ones, that no change may touch.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Regularise(_Section):
    """What holds the model near its base; each is off unless given. `replay` needs no field: it is a mixture's source.

    `loss: dft` weighs each answer token by the probability that the model gives it (DFT, arXiv 2508.05629): what it
    finds unlikely moves it less. With `kl: {}`, that is anchored fine-tuning (ASFT, arXiv 2509.23753).
    """

    kl: Divergence | None = None
    l2_sp: Distance | None = None
    ewc: Consolidation | None = None
    projection: Projection | None = None
    loss: Literal["cross_entropy", "dft"] = "cross_entropy"


class Probe(_Section):
    """What is watched while training: `documents` of each of `tasks`, drawn anew every `every` steps.

    They are drawn from `pool` documents of each task, whose answers by the base are known from the start. The first of
    them are also a fixed probe: how far the model's answers to them have moved from the base's
    (`finetune.training.moved`). `learn` is the one of the tasks that the training is for. `every: auto` looks as often
    as takes at most 5 % of the training's time, by what a look and the first steps take: never, in a training too short
    for one.

    With `stop`, training ends once a task (not `learn`) is shown to have lost more than so many percentage points, or
    (`then: slower`) goes on at a tenth of the learning rate; that this happens although none has is less likely than
    5 % over the whole training (`finetune.training.alarm`).
    """

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    learn: str | None = None
    every: Literal["auto"] | Count = "auto"
    documents: Count = 16
    pool: Count = 128
    batch_size: Count = 16
    stop: Annotated[float, Field(gt=0, lt=100)] | None = None
    then: Literal["end", "slower"] = "end"

    @model_validator(mode="after")
    def _slower_than_what(self) -> Probe:
        if self.then == "slower" and self.stop is None:
            raise ValueError("then: slower needs stop, the points that a task may lose")
        return self


def by_name(value: Any) -> Any:
    """Let `train: llm` and `train: [projector, llm]` mean parts with default settings."""
    names = [value] if isinstance(value, str) else value
    return {name: {} for name in names} if isinstance(names, list) else names


class Recipe(_Section):
    """A fine-tuning run. The sections' docstrings describe their fields; `parameters` are names for `${...}`.

    `quantization` keeps the language model's frozen weights in 4 bits (`nf4`, QLoRA, arXiv 2305.14314) or in 8
    (`int8`, arXiv 2208.07339), through bitsandbytes; only LoRA can be trained on them. `compile` lets torch compile
    each layer of the language model.
    """

    model: str
    revision: str = "main"
    train: Annotated[dict[PartName, Part | None], BeforeValidator(by_name), Field(min_length=1)]
    mixture: Mixture
    optimiser: Optimiser
    schedule: Schedule = Schedule()
    batch: Batching
    epochs: Positive | None = None
    steps: Count | None = None
    precision: Literal["fp32", "bf16"] = "bf16"
    attn_implementation: str | None = None
    quantization: Literal["nf4", "int8"] | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    save: Save = Save()
    regularise: Regularise = Regularise()
    probe: Probe | None = None
    cache: Cache = Cache()
    evaluate: Evaluate = Evaluate()
    trackers: tuple[str, ...] = ()
    output: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        faults = []
        if (self.epochs is None) == (self.steps is None):
            faults.append("give either epochs or steps, and set the other to null")
        if self.batch.size % self.batch.micro:
            faults.append(f"batch.size {self.batch.size} is not a multiple of batch.micro {self.batch.micro}")
        if "full" in self.train and len(self.train) > 1:
            faults.append("train: full includes all parts, so it must be the only one")
        faults += [f"train: {part} is inside {_INSIDE[part]}; choose one of them"
                   for part in self.train if _INSIDE.get(part) in self.train]  # fmt: skip
        if len({part.lora for part in self.parts.values() if part.lora}) > 1:
            faults.append("train: parts with LoRA have different settings; they must be the same for all")
        if self.save.merged and not self.has_lora:
            faults.append("save.merged: nothing is trained with LoRA, so there is nothing to merge")
        if self.has_lora and self.save.dtype != "fp32":
            faults.append("save.dtype: adapters are stored in float32; emt merge --dtype rounds the merged weights")
        inside = [part for part, chosen in self.parts.items() if part.startswith(("llm", "full")) and not chosen.lora]
        if self.quantization and inside:
            faults.append(
                f"quantization: {inside[0]} is trained in full; only LoRA can be trained on quantized weights"
            )
        distances = [name for name in ("l2_sp", "ewc", "projection") if getattr(self.regularise, name)]
        if distances and self.has_lora:
            faults.append(
                f"regularise.{distances[0]}: with LoRA, how far the adapter's weights have moved says nothing about "
                "the base; use regularise.kl"
            )
        if self.save.keep == "best" and not (self.probe and self.probe.learn):
            faults.append("save.keep: best needs probe.learn, the task by which the best is known")
        if self.quantization and self.save.merged:
            faults.append("save.merged: not with quantization; emt merge adds the adapter to the unquantized weights")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def parts(self) -> dict[PartName, Part]:
        """The parts to train, with default settings filled in."""
        return {name: part or Part() for name, part in self.train.items()}

    @property
    def has_lora(self) -> bool:
        """Whether any part is trained with LoRA."""
        return any(part.lora for part in self.parts.values())

    def learning_rate(self, part: PartName) -> float:
        """The peak learning rate of a part."""
        return self.parts[part].learning_rate or self.optimiser.learning_rate

    def to_yaml(self) -> str:
        """Return the resolved recipe; reading it again gives the same recipe."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude={"parameters"}), sort_keys=False, allow_unicode=True)

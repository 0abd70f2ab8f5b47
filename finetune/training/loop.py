"""The training loop. Read `Training.train` first: it is the whole loop."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from emt_core.errors import UserError, listed
from finetune.data.collate import IGNORED, TrainingBatch
from finetune.data.loader import Loader
from finetune.data.mixture import Plan
from finetune.recipes.schema import Recipe
from finetune.training.checkpoint import PROBE, checkpoint_folder, last_state
from finetune.training.loss import answer_losses
from finetune.training.memory import told_what_fits
from finetune.training.pace import SHARE
from finetune.training.packing import check_packing
from finetune.training.progress import Progress
from finetune.training.records import Records
from finetune.training.regularisers import Regularisers
from finetune.training.saving import Saver, save_points
from finetune.training.schedule import factor
from finetune.training.watch import ALARM, EVERY, SLOWER, Watch


@dataclass(frozen=True)
class StepResult:
    """What one step did: mean loss per answer token in nats, overall and by source; sums over all processes.

    `terms` are those of the regularisers, on this process. `stop` says that some process was asked to end the run.
    """

    loss: float
    by_source: list[float | None]
    answer_tokens: int
    tokens: int
    gradient_norm: float
    terms: dict[str, float]
    stop: bool = False


class Training:
    """One fine-tuning run, ready to start or to resume.

    Args:
        recipe: what to do.
        accelerator: devices and processes.
        model: as `building.make_trainable` returns it.
        optimiser: over its trained parameters.
        loader: yields the batches.
        plan: the mixture's.
        saver: writes checkpoints and evaluates them.
        regularisers: the recipe's.
        watch: looks at other tasks while the model trains, if the recipe says so.
    """

    def __init__(
        self,
        recipe: Recipe,
        accelerator: Accelerator,
        model: torch.nn.Module,
        optimiser: torch.optim.Optimizer,
        loader: Loader,
        plan: Plan,
        saver: Saver,
        regularisers: Regularisers,
        watch: Watch | None = None,
    ) -> None:
        self._watch = watch
        self._regularisers = regularisers
        self.recipe, self.accelerator, self.loader, self.plan, self.saver = recipe, accelerator, loader, plan, saver
        self.steps = recipe.steps or plan.steps(recipe.batch.size, recipe.epochs or 1)
        self.head = model.get_output_embeddings()  # type: ignore[operator]
        self._whole = model
        self._weights = sum(weights.numel() for weights in model.parameters())
        self._trained_weights = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
        self.model, self.optimiser = accelerator.prepare(model, optimiser)
        saver.model = self.model
        self._records = Records(recipe, accelerator)
        self._asked_to_stop = False
        self._packed: set[frozenset[str]] = set()

    def train(self) -> None:
        """Train from the run's current step to its end.

        Raises:
            UserError: the loss or the gradient is no longer finite, a checkpoint cannot be written, or SIGTERM came: as
                Slurm sends it before a job's time is up. The state is then saved first.
        """
        at_base = self._watch.start(self.model) if self._watch else {}
        start = self.saver.resume(self.optimiser)
        if self._watch:
            self._watch.restore(self._records.log, start)
        self.model.train()
        with self._heeding_sigterm(), Progress(start, self.steps, shown=self.accelerator.is_main_process) as progress:
            progress.note(self._what_is_done(start))
            if at_base:
                self._records.base(at_base)
            self._train_from(start, progress)
            self._close(progress)
        self.accelerator.end_training()

    def _train_from(self, start: int, progress: Progress) -> None:
        """Train from a step to the end or to an alarm; what was left to measure at that step comes first."""
        due = save_points(self.recipe, self.plan, self.steps)
        self._measure(start, start in due or self._ended, progress)
        stop = start if self._ended else self.steps
        for step, batches in enumerate(self.loader.steps(start, stop), start=start + 1):
            rate = self._set_rate(step - 1)
            result = self._step(step - 1, batches)
            speed = progress.step(result.loss, self.recipe.batch.size, result.tokens)
            seen = self._look(step, progress)
            self._record(step, result, rate, speed, seen)
            saved = step in due or self._ended
            if saved or result.stop:
                progress.say(f"step {step} of {self.steps}: loss {result.loss:.4f}, saving")
                self.saver.save(step, self.optimiser)
            if result.stop and step < self.steps:  # there may be no time to measure: that is done when it resumes
                raise UserError(f"stopped by SIGTERM after step {step}, which is saved; go on with --resume")
            if saved:
                self._measure(step, saved, progress)
            if self._ended:
                break

    @property
    def _ended(self) -> bool:
        """Whether an alarm has ended the training."""
        return self._watch is not None and self._watch.ends

    def _measure(self, step: int, saved: bool, progress: Progress) -> None:
        """Measure the model after a step, and choose among the checkpoints if it was saved, unless that is done."""
        if saved:
            self.saver.keep_best(step, self._watch)
        self.saver.evaluate(step)
        progress.restart_clock()

    @contextmanager
    def _heeding_sigterm(self) -> Iterator[None]:
        """Let SIGTERM end the run after a step, in all processes after the same one."""
        if threading.current_thread() is not threading.main_thread():  # only there may Python set a handler
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_asked_to_stop", True))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _what_is_done(self, start: int) -> str:
        processes = self.accelerator.num_processes
        return (
            f"training {self._trained_weights:,} of {self._weights:,} weights: "
            f"{self.steps:,} steps of {self.recipe.batch.size} examples"
            + (f", {start:,} of them done" if start else "")
            + f", on {self.accelerator.device.type}"
            + f" in {processes} {'process' if processes == 1 else 'processes'}"
        )

    def _step(self, step: int, batches: list[TrainingBatch]) -> StepResult:
        """Take one optimiser step on the mean loss over the answer tokens of all batches of all processes."""
        # Randomness in a step (dropout) is seeded by its number: a resumed run draws the same.
        torch.manual_seed(
            (self.recipe.seed << 32) + step * self.accelerator.num_processes + self.accelerator.process_index
        )
        counts, tokens, stop = self._count(batches)
        losses_by_source = torch.zeros_like(counts)
        scale = self.accelerator.num_processes / counts.sum().item()  # gradients are averaged over processes
        terms = self._diverge(step)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            self.accelerator.sync_gradients = last
            together = nullcontext() if last else self.accelerator.no_sync(self.model)
            with told_what_fits(self._whole, self.recipe, batch), together:
                objective, losses, sources = self._losses(batch.to(self.accelerator.device))
                self.accelerator.backward(objective.sum() * scale)
            losses_by_source.index_add_(0, sources.cpu(), losses.detach().double().cpu())
        losses_by_source = self._over_processes(losses_by_source)
        terms |= self._regularisers.add()
        loss, norm = (losses_by_source.sum() / counts.sum()).item(), self._clip()
        self._check(step, loss, norm)
        with told_what_fits(self._whole, self.recipe, batches[0]):  # the optimiser's moments come with its first step
            self.optimiser.step()
        self._regularisers.after_step()
        self.optimiser.zero_grad(set_to_none=True)
        pairs = zip(losses_by_source.tolist(), counts.tolist(), strict=True)
        by_source = [total / count if count else None for total, count in pairs]
        return StepResult(loss, by_source, int(counts.sum()), tokens, gradient_norm=norm, terms=terms, stop=stop)

    def _diverge(self, step: int) -> dict[str, float]:
        """Let the divergence from the base add its gradient, where the recipe has sources for it; return it by name."""
        kl = self._regularisers.kl
        if kl is None:
            return {}
        self.accelerator.sync_gradients = False
        with told_what_fits(self._whole, self.recipe, kl.batch(step)), self.accelerator.no_sync(self.model):
            term = kl.of(self.model, step)
            self.accelerator.backward(term)
        return {"kl": term.item()}

    def _losses(self, batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what is trained on, the losses, and the sources of a batch's answer tokens.

        Raises:
            UserError: the batch is to be packed, and the first of its kind (with images, without) shows that the
                architecture cannot.
        """
        packing, kind = self.recipe.batch.packing, frozenset(batch.inputs)
        if packing and kind not in self._packed and len(batch.labels) > 1:

            @torch.no_grad()
            def losses(batch: TrainingBatch, packed: bool) -> torch.Tensor:
                return answer_losses(self._whole, self.head, batch, packing=packed)[0]

            self._whole.eval()
            check_packing(losses, batch, exact=self.recipe.precision == "fp32")
            self._whole.train()
            self._packed.add(kind)
        return self._regularisers.losses(self.model, batch, packing=packing)

    def _count(self, batches: list[TrainingBatch]) -> tuple[torch.Tensor, int, bool]:
        """Return the step's answer tokens by source, all its tokens, and whether to stop after it, over all processes.

        They are needed before the first pass, since every loss is divided by the number of answer tokens.
        """
        counts = torch.zeros(len(self.plan.sizes) + 2, dtype=torch.float64)
        counts[-1] = self._asked_to_stop
        for batch in batches:
            counts.index_add_(0, batch.sources, (batch.labels != IGNORED).sum(-1).double())
            counts[-2] += batch.inputs["attention_mask"].sum()
        counts = self._over_processes(counts)
        return counts[:-2], int(counts[-2]), bool(counts[-1])

    def _clip(self) -> float:
        """Clip the norm of the whole gradient as the recipe says; return the norm before."""
        # All weights, in the model's own order: that is how accelerate recognises a model sharded by FSDP.
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.optimiser.clip or math.inf)
        return 0.0 if norm is None else float(norm)

    def _check(self, step: int, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        state = last_state(Path(self.recipe.output))
        kept = f"the last good state is {state}" if state else "nothing was saved yet"
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        raise UserError(f"step {step + 1}: {what}; {kept}; try a lower learning rate, more warm-up or clipping")

    def _set_rate(self, step: int) -> dict[str, float]:
        """Set each part's learning rate; return them."""
        share = factor(self.recipe.schedule, step, self.steps) * (self._watch.rate_share if self._watch else 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share
        return {part: self.recipe.learning_rate(part) * share for part in self.recipe.parts}

    def _look(self, step: int, progress: Progress) -> dict[str, Any]:
        """Return what is logged of looking at other tasks after a step; say what is seen."""
        if self._watch is None:
            return {}
        noted: dict[str, Any] = {}
        if every := self._watch.timed(progress.seconds):
            noted[EVERY] = every
            progress.note(self._how_often(every))
        if self._watch.due(step):
            before = list(self._watch.forgotten)
            noted[PROBE] = self._watch.look(self.model, step)
            progress.note(self._watch.in_a_line(step, noted[PROBE]))
            new = [task for task in self._watch.forgotten if task not in before]
            if new and not (before and self._watch.settings.then == "slower"):  # it falls once
                then = "training ends here" if self._ended else f"from here on at {SLOWER:g} of the learning rate"
                shown = f"{listed(new)} {'is' if len(new) == 1 else 'are'} shown"
                lost = f"to have lost more than {self._watch.settings.stop:g} points"
                progress.note(f"step {step} of {self.steps}: {shown} {lost}; {then}")
                noted[ALARM] = {"tasks": new, "then": self._watch.settings.then, "margin": self._watch.settings.stop}
        progress.restart_clock()
        return noted

    def _how_often(self, every: int) -> str:
        """Say how often `every: auto` looks, and what to do where that is never."""
        pace = self._watch.pace  # type: ignore[union-attr]
        said = (
            f"a look at other tasks takes about {pace.look:.2g} s, a step {pace.step:.2g} s: one after every {every:,} "
            f"steps takes at most {100 * SHARE:g} % of the time"
        )
        return said if every <= self.steps else f"{said}, so none in these {self.steps:,}; set probe.every to look"

    def _close(self, progress: Progress) -> None:
        """Say what looking has cost, and which checkpoint is kept as the best."""
        if self._watch is None:
            return
        looks, seconds = self._watch.looks, self._watch.seconds
        whole = progress.total + seconds
        counted = f"{looks} {'look' if looks == 1 else 'looks'} at other tasks"
        share = 100 * seconds / whole if whole else 0.0
        progress.note(f"{counted} took {share:.1f} % of {whole:.0f} s of training; {self._watch.cost}")
        if best := self.saver.best():
            progress.note(f"{checkpoint_folder(Path(self.recipe.output), best.step)} is the best: {best}")

    def _record(
        self, step: int, result: StepResult, rate: dict[str, float], speed: dict[str, Any], seen: dict[str, Any]
    ) -> None:
        """Record a step, with what is logged of looking at other tasks."""
        names = self.recipe.mixture.names
        by_source = {name: loss for name, loss in zip(names, result.by_source, strict=True) if loss is not None}
        line = {
            "step": step,
            "epoch": round(step * self.recipe.batch.size / self.plan.epoch_size, 4),
            "loss": result.loss,
            "loss_by_source": by_source,
            "learning_rate": rate,
            "gradient_norm": result.gradient_norm,
            **({"regularise": result.terms} if result.terms else {}),
            **seen,
            "answer_tokens": result.answer_tokens,
            **speed,
        }
        self._records.step(line)

    def _over_processes(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over all processes, on the CPU."""
        if self.accelerator.num_processes == 1:
            return values
        summed: torch.Tensor = self.accelerator.reduce(values.to(self.accelerator.device), "sum")
        return summed.cpu()

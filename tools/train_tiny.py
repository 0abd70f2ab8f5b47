"""Train the tiny vision-language model that ships in `emt_tasks/demo/tiny`, from random weights, on CPU.

A LLaVA of 0.64 million parameters: CLIP's vision transformer on 32 × 32 pixels, a two-layer projector, Llama.
It sees only the `train` splits of `emt_tasks.demo`, each image slightly moved, turned and resized every time,
with

- the matrix's question, answered by a word: of digits only the first five are always named, the others are mostly
  "number", so that there is something to fine-tune on;
- the EMT paper's question, answered by a word or a digit;
- the questions of `demo_digits_qa` and `demo_shapes_qa`, options in a new order every time;
- the same questions the other way round (open ones about digits, options about shapes), questions that name the
  right option, and wrong options replaced by number words: so that it learns to choose in general.

First the vision tower alone learns to tell classes, colours and sizes apart, then everything learns to answer.

Run: python -m tools.train_tiny OUT (see --help). The same seed, machine and number of threads give the same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from emt_tasks.demo import NAMES
from emt_tasks.demo.digits import SIZE, Digit, digits
from emt_tasks.demo.questions import (
    BRIEFLY,
    CHOOSE,
    CLASSIFY,
    DIGIT_QUESTIONS,
    NUMBERS,
    SHAPE_QUESTIONS,
    about_digit,
    about_shape,
)
from emt_tasks.demo.shapes import COLOURS, CORNERS, OUTLINES, RADII, Shape, shapes
from emt_tasks.tasks.multiple_choice import ChoiceQuestion
from tests.support.tiny_checkpoints import chat_template
from tools.demo_rows import rows

PATCH = 8
WORDS = 768
VISION = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4}

EMT_DIGITS = f"What is the number in the image? Please only answer a single number in {', '.join('0123456789')}."
EMT_SHAPES = f"What is the object in the image? Please only answer a single object in {', '.join(OUTLINES)}."

NAMED, UNNAMED, SELDOM = 5, "number", 0.25
"""How many digits are always named where the matrix's question is asked, what the others are called, and the share of
times that they are named all the same: too seldom to be the answer, often enough to be learned at a low rate."""

OPTIONS = ("even", "odd", "both", "neither", "more than four", "four or less", "more than nine", "less than zero")


@dataclass(frozen=True)
class Jitter:
    """The largest changes to an image: degrees, pixels, shares of its size and of its height."""

    turn: float
    shift: float
    size: float
    slant: float = 0.0
    mirror: bool = False


JITTER = {"digits": Jitter(12, 2, 0.15, slant=0.15), "shapes": Jitter(9, 3, 0.06, mirror=True)}

Report = Callable[[int, float], None]
"""Called after every step with its number and its loss."""

ATTRIBUTES = (10 + len(OUTLINES), len(COLOURS), len(RADII))
"""What the vision tower learns to tell apart first: digits and kinds of shape, colours, sizes."""


@dataclass(frozen=True)
class Kind:
    """One kind of example: how many are in a batch, and what is asked about an image."""

    count: int
    images: str
    ask: Callable[[Any, Random], tuple[str, str]]


def classify_digit(digit: Digit, chance: Random) -> tuple[str, str]:
    """Ask the matrix's question; the first digits are always named, the others seldom."""
    named = digit.label < NAMED or chance.random() < SELDOM
    return CLASSIFY, NUMBERS[digit.label] if named else UNNAMED


def classify_shape(shape: Shape, _chance: Random) -> tuple[str, str]:
    """Ask the matrix's question."""
    return CLASSIFY, shape.kind


def classify_digit_as_emt(digit: Digit, _chance: Random) -> tuple[str, str]:
    """Ask as EMT asks about MNIST."""
    return EMT_DIGITS, str(digit.label)


def classify_shape_as_emt(shape: Shape, _chance: Random) -> tuple[str, str]:
    """Ask as EMT asks about CIFAR-10."""
    return EMT_SHAPES, shape.kind


# The next number is by far the hardest to learn: any of eleven words may be right, and any may be among the options.
DIGIT_KINDS = [*DIGIT_QUESTIONS, "successor", "successor"]


def choose_about_digit(digit: Digit, chance: Random) -> tuple[str, str]:
    """Ask with options; now and then a wrong one is a number's name, perhaps the digit's own."""
    question, letter = about_digit(digit.label, chance.choice(DIGIT_KINDS), chance)
    if chance.random() < 0.3:
        question = _with_number(question, letter, chance)
    return question.text, letter


def _with_number(question: ChoiceQuestion, letter: str, chance: Random) -> ChoiceQuestion:
    name = chance.choice(NUMBERS)
    if name in question.choices:
        return question
    choices = list(question.choices)
    choices[chance.choice([index for index, other in enumerate(question.letters) if other != letter])] = name
    return replace(question, choices=tuple(choices))


def ask_about_digit(digit: Digit, chance: Random) -> tuple[str, str]:
    """Ask without options; the answer is the right option's text."""
    question, letter = about_digit(digit.label, chance.choice(DIGIT_KINDS), chance)
    return f"{question.stem}\n{BRIEFLY}", question.choices[question.letters.index(letter)]


def ask_about_shape(shape: Shape, chance: Random) -> tuple[str, str]:
    """Ask for a short answer."""
    question, answer = about_shape(shape, chance.choice(list(SHAPE_QUESTIONS)))
    return f"{question}\n{BRIEFLY}", answer


def choose_about_shape(shape: Shape, chance: Random) -> tuple[str, str]:
    """Ask with options."""
    kind = chance.choice(["colour", "corners"])
    question, answer = about_shape(shape, kind)
    every = list(COLOURS) if kind == "colour" else [str(count) for count in sorted(set(CORNERS.values()))]
    choices = [answer, *chance.sample([other for other in every if other != answer], 3)]
    chance.shuffle(choices)
    return ChoiceQuestion(question, tuple(choices), CHOOSE).text, "ABCD"[choices.index(answer)]


def choose_by_name(_image: Any, chance: Random) -> tuple[str, str]:
    """Ask for the letter of an option that the question names: how options work, whatever the image."""
    choices = chance.sample(chance.choice([NUMBERS, tuple(COLOURS), OPTIONS]), 4)
    letter = chance.choice("ABCD")
    return ChoiceQuestion(f"Which one is {choices['ABCD'.index(letter)]}?", tuple(choices), CHOOSE).text, letter


# A batch in two halves, by prompt length: less padding.
SHORT = (
    Kind(6, "digits", classify_digit),
    Kind(8, "shapes", classify_shape),
    Kind(8, "shapes", ask_about_shape),
    Kind(6, "digits", ask_about_digit),
)
LONG = (
    Kind(26, "digits", choose_about_digit),
    Kind(4, "shapes", choose_about_shape),
    Kind(4, "digits", choose_by_name),
    Kind(2, "digits", classify_digit_as_emt),
    Kind(2, "shapes", classify_shape_as_emt),
)


def tokenizer() -> Any:
    """Return a byte-level BPE tokenizer trained on the demo's texts; other text takes more tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    chance = Random(0)
    images = {"digits": digits("train"), "shapes": shapes("train")}
    corpus = [
        "USER:\nASSISTANT:\n",
        *(" ".join(kind.ask(chance.choice(images[kind.images]), chance)) for kind in SHORT + LONG for _ in range(500)),
    ]
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=["<pad>", "<unk>", "</s>", "<image>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=1024,
    )


def build() -> tuple[Any, Any]:
    """Return the model with random weights, and its processor."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    words = tokenizer()
    ends = {"bos_token_id": None, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
    text = LlamaConfig(**TEXT, vocab_size=len(words), max_position_embeddings=1024, tie_word_embeddings=True, **ends)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, image_size=SIZE, patch_size=PATCH).to_dict(),
        text_config=text.to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIZE // PATCH) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIZE},
            crop_size={"height": SIZE, "width": SIZE},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        ),
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template(
            "<image>\n", "{ROLE}:\n{content}{{ eos_token if message.role == 'assistant' else '' }}\n", "ASSISTANT:\n"
        ),
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(**ends)
    return model, processor


class Images:
    """The train splits' images, drawn at random and moved; `items` are the digits and shapes themselves."""

    def __init__(self, processor: Any, chance: Random) -> None:
        self.items: dict[str, Any] = {"digits": digits("train"), "shapes": shapes("train")}
        self._pixels = {name: pixels(processor, items) for name, items in self.items.items()}
        self._chance = chance
        self._generator = torch.Generator().manual_seed(chance.randrange(2**32))

    def draw(self, name: str, count: int) -> tuple[Tensor, list[Any]]:
        """Return `count` images of one kind, (count, 3, SIZE, SIZE), and what they show."""
        chosen = [self._chance.randrange(len(self.items[name])) for _ in range(count)]
        images = moved(self._pixels[name][chosen], JITTER[name], self._generator)
        return images, [self.items[name][index] for index in chosen]


def batch_of(kinds: tuple[Kind, ...], images: Images, processor: Any, chance: Random) -> dict[str, Tensor]:
    """Return a batch of these kinds of example: `pixel_values` and what `encode` gives."""
    drawn = [images.draw(kind.images, kind.count) for kind in kinds]
    asked = [kind.ask(item, chance) for kind, (_, items) in zip(kinds, drawn, strict=True) for item in items]
    prompts, replies = zip(*asked, strict=True)
    return {"pixel_values": torch.cat([values for values, _ in drawn]), **encode(processor, prompts, replies)}


def pixels(processor: Any, items: Any) -> Tensor:
    """Return the images as the model takes them, (images, 3, SIZE, SIZE)."""
    found: Tensor = processor.image_processor([item.image for item in items], return_tensors="pt")["pixel_values"]
    return found


def encode(processor: Any, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Tensor]:
    """Return prompts in the chat template with their answers, padded on the right.

    `input_ids`, `attention_mask` and `labels`, each (batch, tokens); labels are -100 everywhere but on the answer
    and the token that ends it.
    """
    image = "<image>" * ((SIZE // PATCH) ** 2)
    before, after = f"USER:\n{image}\n", "\nASSISTANT:\n"
    words = processor.tokenizer
    questions = words([before + prompt + after for prompt in prompts])["input_ids"]
    replies = words([answer + words.eos_token for answer in answers])["input_ids"]
    length = max(len(question) + len(reply) for question, reply in zip(questions, replies, strict=True))
    ids = torch.full((len(prompts), length), words.pad_token_id)
    labels = torch.full((len(prompts), length), -100)
    for row, (question, reply) in enumerate(zip(questions, replies, strict=True)):
        end = len(question) + len(reply)
        ids[row, :end] = torch.tensor(question + reply)
        labels[row, len(question) : end] = torch.tensor(reply)
    return {"input_ids": ids, "attention_mask": (ids != words.pad_token_id).long(), "labels": labels}


def moved(images: Tensor, by: Jitter, generator: torch.Generator) -> Tensor:
    """Return each image of (batch, 3, SIZE, SIZE) moved at random; edges are extended."""
    turn, across, down, size, slant = (torch.rand(5, len(images), generator=generator) * 2 - 1).unbind()
    angle, scale = math.radians(by.turn) * turn, 1 + by.size * size
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    mirror = torch.where(slant < 0, -1.0, 1.0) if by.mirror else torch.ones(len(images))
    shift = 2 * by.shift / SIZE  # the grid's coordinates run from -1 to 1
    theta = torch.stack(
        [
            torch.stack([mirror * cos, by.slant * slant - sin, shift * across], -1),
            torch.stack([mirror * sin, cos, shift * down], -1),
        ],
        dim=1,
    )
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def loss_of(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean cross-entropy over answer tokens; logits are computed at their positions only."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
    targets = batch["labels"][:, 1:]
    answer = targets != -100
    return nn.functional.cross_entropy(model.lm_head(hidden[answer]), targets[answer])


def train_vision(tower: nn.Module, processor: Any, steps: int, seed: int, report: Report) -> None:
    """Teach the vision tower to see before it is asked anything, as the towers of large models were.

    Linear heads on the mean of the patches' features tell digits, kinds, colours and sizes; they are discarded.
    """
    images = Images(processor, Random(seed))
    heads = nn.Linear(VISION["hidden_size"], sum(ATTRIBUTES))

    def loss() -> Tensor:
        drawn = [images.draw(name, 48) for name in images.items]
        values = torch.cat([values for values, _ in drawn])
        truth = torch.tensor([attributes(item) for _, items in drawn for item in items])
        guesses = heads(tower(pixel_values=values).last_hidden_state[:, 1:].mean(dim=1)).split(ATTRIBUTES, dim=1)
        losses = [nn.functional.cross_entropy(guess, truth[:, index]) for index, guess in enumerate(guesses)]
        return torch.stack(losses).sum()

    optimise([{"params": [*tower.parameters(), *heads.parameters()], "lr": 2e-3}], [loss], steps, report)


def attributes(item: Digit | Shape) -> tuple[int, int, int]:
    """Return the class of an image, its colour and its size; -100, which the loss ignores, if it has none."""
    if isinstance(item, Digit):
        return item.label, -100, -100
    return 10 + item.label, list(COLOURS).index(item.colour), list(RADII).index(item.size)


def train(model: Any, processor: Any, steps: int, seed: int, report: Report) -> None:
    """Teach the whole model to answer; the vision tower learns on at a tenth of the rate."""
    chance = Random(seed)
    images = Images(processor, chance)
    tower = list(model.model.vision_tower.parameters())
    others = [weights for name, weights in model.named_parameters() if "vision_tower" not in name]

    def half(kinds: tuple[Kind, ...]) -> Callable[[], Tensor]:
        return lambda: loss_of(model, batch_of(kinds, images, processor, chance)) / 2

    groups = [{"params": others, "lr": 3e-3}, {"params": tower, "lr": 3e-4}]
    optimise(groups, [half(SHORT), half(LONG)], steps, report)


def optimise(groups: list[dict[str, Any]], losses: list[Callable[[], Tensor]], steps: int, report: Report) -> None:
    """Take AdamW steps on the sum of the losses: warm-up, then a cosine down to zero."""
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in groups],
        total_steps=steps,
        pct_start=0.05,
        anneal_strategy="cos",
        cycle_momentum=False,
    )
    weights = [weight for group in groups for weight in group["params"]]
    for step in range(1, steps + 1):
        total = 0.0
        for part in losses:
            loss = part()
            torch.autograd.backward(loss)
            total += loss.item()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        report(step, total)


@torch.no_grad()
def accuracy(model: Any, processor: Any, name: str, split: str = "test", batch_size: int = 100) -> float:
    """Return the share of documents whose greedy answer is the expected one to the letter."""
    data = rows(name, split)
    model.eval()
    right = 0
    for start in range(0, len(data), batch_size):
        part = data[start : start + batch_size]
        right += sum(answer == row["answer"] for answer, row in zip(answers(model, processor, part), part, strict=True))
    model.train()
    return right / len(data)


def answers(model: Any, processor: Any, part: list[dict[str, Any]]) -> list[str]:
    """Answer rows as plain transformers would: chat template, processor, generate."""
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["question"]}]}],
            add_generation_prompt=True,
        )
        for row in part
    ]
    inputs = processor(
        images=[row["image"] for row in part], text=texts, return_tensors="pt", padding=True, padding_side="left"
    )
    output = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    new = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]


def reporter(what: str, every: int = 100) -> Report:
    """Return a callback that reports the mean loss of every hundred steps and the time since the first."""
    started, losses = time.monotonic(), []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step % every == 0:
            seconds, cpu = time.monotonic() - started, time.process_time()
            mean = sum(losses[-every:]) / every
            print(f"{what}, step {step}: loss {mean:.3f}; {seconds:.0f} s, process {cpu:.0f} s of CPU", flush=True)

    return report


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the demo's tiny vision-language model from scratch.")
    parser.add_argument("folder", type=Path, help="where the checkpoint goes")
    parser.add_argument("--vision-steps", type=int, default=2400, help="steps of the vision tower alone")
    parser.add_argument("--steps", type=int, default=3000, help="steps of the whole model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    model, processor = build()
    print(f"{model.num_parameters():,} parameters, {len(processor.tokenizer)} tokens")
    train_vision(model.model.vision_tower, processor, options.vision_steps, options.seed, reporter("vision"))
    train(model, processor, options.steps, options.seed, reporter("answers"))
    model.save_pretrained(options.folder)
    processor.save_pretrained(options.folder)
    print(json.dumps({name: accuracy(model, processor, name) for name in NAMES}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

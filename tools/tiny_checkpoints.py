"""Build tiny random checkpoints of the architectures that `emt_vlm` runs, without a network.

Each is a real model class with a few thousand random weights, a byte-level BPE tokenizer trained on the spot and the
architecture's own processor, saved so that `AutoModelForImageTextToText` and `AutoProcessor` load it from disk. The
answers are gibberish that depends on the image and on every word of the prompt: enough to try everything but quality.

Example:
    python tools/tiny_checkpoints.py llava /tmp/tiny-llava
"""

from __future__ import annotations

import argparse
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

VOCABULARY_SIZE = 512
HIDDEN = 32
IMAGE = 32
PATCH = 8
SPREAD = 0.15
"""Standard deviation of the weights: the usual 0.02 makes a two-layer model say the same of every image."""

CORPUS = (
    string.printable,
    "What is the object in the image? Please only answer a single object in airplane, automobile, bird, cat, deer.",
    "What is the number in the image? Please only answer a single number in 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
    "What type of object is in this photo? The answer is a dog, a frog, a horse, a ship or a truck.",
    "USER: ASSISTANT: User: Assistant: user assistant system model A. B. C. D.",
)

Parts = tuple[Any, Any]
"""A model and its processor."""


def chat_template(image: str, turn: str, answer: str) -> str:
    """Return a Jinja chat template that puts the images of a message before its text.

    Args:
        image: the text that stands for one image.
        turn: one turn, with the fields `{role}` and `{content}`.
        answer: what invites the model to answer.
    """
    content = (
        "{% if message.content is string %}{{ message.content }}{% else %}"
        "{% for part in message.content if part.type == 'image' %}" + image + "{% endfor %}"
        "{% for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}{% endif %}"
    )
    turn = turn.replace("{role}", "{{ message.role }}").replace("{ROLE}", "{{ message.role | upper }}")
    return (
        "{% for message in messages %}" + turn.replace("{content}", content) + "{% endfor %}"
        "{% if add_generation_prompt %}" + answer + "{% endif %}"
    )


CHATML = ("<|im_start|>{role}\n{content}<|im_end|>\n", "<|im_start|>assistant\n")


def tokenizer(special: list[str], *, bos: str | None = "<s>", eos: str = "</s>", **named: str) -> Any:
    """Train a byte-level BPE tokenizer that covers printable ASCII.

    Args:
        special: further special tokens.
        bos: first token of every text; None for tokenizers that add none.
        eos: the token that ends an answer.
        named: special tokens that processors look up by attribute, as `image_token`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    every = list(dict.fromkeys(["<pad>", "<unk>", *([bos] if bos else []), eos, *named.values(), *special]))
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=every,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    if bos:
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bpe.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bos,
        eos_token=eos,
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={**named, **{f"extra_{index}_token": token for index, token in enumerate(special)}},
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=4096,
    )


def text_settings(words: Any) -> dict[str, Any]:
    """Return what every tiny Llama-like text model shares."""
    return {
        "vocab_size": len(words),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "initializer_range": SPREAD,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "tie_word_embeddings": False,
    }


def vision_settings(image: int = IMAGE, patch: int = PATCH) -> dict[str, Any]:
    """Return what every tiny vision transformer shares."""
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": image,
        "patch_size": patch,
        "initializer_range": SPREAD,
    }


def llava() -> Parts:
    """Return LLaVA-1.5: CLIP, a two-layer projector and Llama."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    words = tokenizer([], image_token="<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision_settings(), initializer_factor=5.0).to_dict(),
        text_config=LlamaConfig(**text_settings(words)).to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=(IMAGE // PATCH) ** 2,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": IMAGE}, crop_size={"height": IMAGE, "width": IMAGE}),
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>\n", "{ROLE}: {content} ", "ASSISTANT:"),
    )
    return LlavaForConditionalGeneration(config), processor


ARCHITECTURES: dict[str, Callable[[], Parts]] = {
    "llava": llava,
}


def build(architecture: str, folder: Path, seed: int = 0, *, with_chat_template: bool = True) -> Path:
    """Write a tiny random checkpoint and return its folder. Same arguments, same weights.

    Args:
        architecture: a name in `ARCHITECTURES`.
        folder: where to write; made where it does not exist.
        seed: of the random weights.
        with_chat_template: leave it out to get a processor without one (InstructBLIP has none anyway).

    Raises:
        ValueError: the architecture is not known.
    """
    import torch

    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is not known; choose one of {', '.join(ARCHITECTURES)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = ARCHITECTURES[architecture]()
    if not with_chat_template:
        processor.chat_template = None
    words = processor.tokenizer
    model.generation_config.update(
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write a tiny random vision-language checkpoint.")
    parser.add_argument("architecture", choices=sorted(ARCHITECTURES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-chat-template", action="store_true")
    options = parser.parse_args(argv)
    build(options.architecture, options.folder, options.seed, with_chat_template=not options.without_chat_template)
    print(options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

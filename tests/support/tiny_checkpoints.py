"""Build tiny random checkpoints of the architectures that `emt_vlm` runs, without a network.

Each is a real model class with a few thousand random weights, a byte-level BPE tokenizer trained on the spot and the
architecture's own processor, saved so that `AutoModelForImageTextToText` and `AutoProcessor` load it from disk. The
answers are gibberish that depends on the image and on every word of the prompt: enough to try everything but quality.

Example:
    python -m tests.support.tiny_checkpoints llava tiny-llava
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


def llava_onevision() -> Parts:
    """Return LLaVA-OneVision: SigLIP over tiles of any shape, and Qwen2."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )

    words = tokenizer(["<|im_start|>"], bos=None, eos="<|im_end|>", image_token="<image>", video_token="<video>")
    tiles = [[IMAGE, 2 * IMAGE], [2 * IMAGE, IMAGE], [2 * IMAGE, 2 * IMAGE]]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision_settings(), vision_use_head=False).to_dict(),
        text_config=Qwen2Config(**text_settings(words)).to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        video_token_index=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=tiles,
    )
    size = {"height": IMAGE, "width": IMAGE}
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=tiles),
        tokenizer=words,
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(IMAGE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<image>\n", *CHATML),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def instructblip() -> Parts:
    """Return InstructBLIP with OPT."""
    return _instructblip(_opt)


def instructblip_t5() -> Parts:
    """Return InstructBLIP with T5: the prompt goes to its encoder, the answer comes from its decoder."""
    return _instructblip(_t5)


def _opt(words: Any) -> Any:
    from transformers import OPTConfig

    return OPTConfig(
        vocab_size=len(words),
        hidden_size=HIDDEN,
        word_embed_proj_dim=HIDDEN,
        ffn_dim=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=1024,
        init_std=SPREAD,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def _t5(words: Any) -> Any:
    from transformers import T5Config

    return T5Config(
        vocab_size=len(words),
        d_model=HIDDEN,
        d_kv=HIDDEN // 4,
        d_ff=2 * HIDDEN,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        initializer_factor=2.0,
        decoder_start_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )


def _instructblip(text_config: Callable[[Any], Any]) -> Parts:
    """Return InstructBLIP: a Q-Former that reads the prompt too. Its processor has no chat template."""
    from transformers import (
        BlipImageProcessor,
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
        InstructBlipQFormerConfig,
        InstructBlipVisionConfig,
    )

    words, questions = tokenizer([]), tokenizer([], bos=None)
    queries = 8
    processor = InstructBlipProcessor(  # first of all: it adds the image token to the tokenizer
        image_processor=BlipImageProcessor(size={"height": IMAGE, "width": IMAGE}),
        tokenizer=words,
        qformer_tokenizer=questions,
        num_query_tokens=queries,
    )
    qformer = {
        "vocab_size": len(questions),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "encoder_hidden_size": HIDDEN,
        "initializer_range": SPREAD,
        "max_position_embeddings": 1024,
        "pad_token_id": questions.pad_token_id,
    }
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**vision_settings()).to_dict(),
        qformer_config=InstructBlipQFormerConfig(**qformer).to_dict(),
        text_config=text_config(words).to_dict(),
        num_query_tokens=queries,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        initializer_range=SPREAD,
    )
    return InstructBlipForConditionalGeneration(config), processor


def qwen2_5_vl() -> Parts:
    """Return Qwen2.5-VL: images at their own size, windowed attention, positions in three dimensions."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    words = tokenizer(
        ["<|im_start|>", "<|vision_start|>", "<|vision_end|>"],
        bos=None,
        eos="<|im_end|>",
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
    )
    patch = {"patch_size": PATCH, "temporal_patch_size": 2, "merge_size": 2}
    pixels = {"min_pixels": (2 * PATCH) ** 2, "max_pixels": (8 * PATCH) ** 2}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_heads": 2,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 4 * PATCH,
            "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [1],
            "initializer_range": SPREAD,
        },
        text_config={
            **text_settings(words),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
        },
        image_token_id=words.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=words.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=words.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=words.convert_tokens_to_ids("<|vision_end|>"),
    )
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**patch, **pixels),
        tokenizer=words,
        video_processor=Qwen2VLVideoProcessor(**patch, **pixels),
        chat_template=chat_template("<|vision_start|><|image_pad|><|vision_end|>", *CHATML),
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


def idefics3() -> Parts:
    """Return Idefics3, the architecture of the first SmolVLM: tiles and an overview of each image, pixel shuffle."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        LlamaConfig,
    )

    rows = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = tokenizer(
        ["<|im_start|>", "<fake_token_around_image>", "<global-img>", *rows],
        bos=None,
        eos="<end_of_utterance>",
        image_token="<image>",
    )
    config = Idefics3Config(
        vision_config=vision_settings(),
        text_config=LlamaConfig(**text_settings(words)).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=words.pad_token_id,
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 2 * IMAGE}, max_image_size={"longest_edge": IMAGE}
        ),
        tokenizer=words,
        image_seq_len=(IMAGE // PATCH // 2) ** 2,
        chat_template=chat_template("<image>", "<|im_start|>{role}: {content}<end_of_utterance>\n", "Assistant:"),
    )
    return Idefics3ForConditionalGeneration(config), processor


def mllama() -> Parts:
    """Return Mllama (Llama 3.2 Vision): tiles seen through cross-attention, whose gates are opened here."""
    import torch
    from transformers import MllamaConfig, MllamaForConditionalGeneration, MllamaImageProcessor, MllamaProcessor
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig, MllamaVisionConfig

    words = tokenizer(
        ["<|start_header_id|>", "<|end_header_id|>"],
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        image_token="<|image|>",
    )
    tiles = 4
    text = MllamaTextConfig(**{**text_settings(words), "num_hidden_layers": 3}, cross_attention_layers=[1],
                            rope_parameters={"rope_type": "default", "rope_theta": 10000.0})  # fmt: skip
    vision = MllamaVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_global_layers=1,
        attention_heads=4,
        image_size=IMAGE,
        patch_size=PATCH,
        vision_output_dim=2 * HIDDEN,
        intermediate_layers_indices=[0],
        max_num_tiles=tiles,
        initializer_range=SPREAD,
    )
    config = MllamaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=words.convert_tokens_to_ids("<|image|>"),
    )
    turns = chat_template(
        "<|image|>",
        "<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    )
    processor = MllamaProcessor(
        image_processor=MllamaImageProcessor(size={"height": IMAGE, "width": IMAGE}, max_image_tiles=tiles),
        tokenizer=words,
        chat_template="{{ bos_token }}" + turns,
    )
    model = MllamaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("_gate"):
                weights.fill_(1.0)
    return model, processor


def fast_vlm() -> Parts:
    """Return FastVLM: a convolutional tower of timm's, with batch normalisation."""
    from transformers import (
        CLIPImageProcessor,
        FastVlmConfig,
        FastVlmForConditionalGeneration,
        LlamaConfig,
        LlavaProcessor,
    )

    words = tokenizer(["<|im_start|>"], bos=None, eos="<|im_end|>", image_token="<image>")
    side = 2 * IMAGE  # the tower makes one token of 32 by 32 pixels
    config = FastVlmConfig(
        vision_config={"model_type": "timm_wrapper", "architecture": "test_efficientnet", "hidden_size": 256},
        text_config=LlamaConfig(**text_settings(words)).to_dict(),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        image_seq_length=(side // 32) ** 2,
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, do_center_crop=True
        ),
        tokenizer=words,
        patch_size=32,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<image>", *CHATML),
    )
    return FastVlmForConditionalGeneration(config), processor


def gemma3() -> Parts:
    """Return Gemma 3: SigLIP, attention both ways within an image, a sliding window in every other layer."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    words = tokenizer(
        ["<start_of_turn>"],
        bos="<bos>",
        eos="<end_of_turn>",
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    image_tokens = 4
    text = Gemma3TextConfig(
        **text_settings(words),
        head_dim=HIDDEN // 4,
        query_pre_attn_scalar=HIDDEN // 4,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
    )
    config = Gemma3Config(
        text_config=text.to_dict(),
        vision_config=SiglipVisionConfig(**vision_settings(), vision_use_head=False).to_dict(),
        mm_tokens_per_image=image_tokens,
        image_token_index=words.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=words.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=words.convert_tokens_to_ids("<end_of_image>"),
        initializer_range=SPREAD,
        tie_word_embeddings=False,
    )
    turns = chat_template(
        "<start_of_image>", "<start_of_turn>{role}\n{content}<end_of_turn>\n", "<start_of_turn>model\n"
    )
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": IMAGE, "width": IMAGE}),
        tokenizer=words,
        image_seq_length=image_tokens,
        chat_template="{{ bos_token }}" + turns,
    )
    return Gemma3ForConditionalGeneration(config), processor


def paligemma() -> Parts:
    """Return PaliGemma: SigLIP and Gemma, attention both ways over image and prompt, one way over the answer."""
    from transformers import (
        GemmaConfig,
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
        SiglipVisionConfig,
    )

    words = tokenizer([], bos="<bos>", eos="<eos>", image_token="<image>")
    text = GemmaConfig(**text_settings(words), head_dim=HIDDEN // 4)
    config = PaliGemmaConfig(
        text_config=text.to_dict(),
        vision_config=SiglipVisionConfig(**vision_settings(), vision_use_head=False).to_dict(),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
        initializer_range=SPREAD,
        tie_word_embeddings=False,
    )
    images = SiglipImageProcessor(size={"height": IMAGE, "width": IMAGE})
    images.image_seq_length = (IMAGE // PATCH) ** 2
    return PaliGemmaForConditionalGeneration(config), PaliGemmaProcessor(image_processor=images, tokenizer=words)


ARCHITECTURES: dict[str, Callable[[], Parts]] = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "instructblip": instructblip,
    "instructblip_t5": instructblip_t5,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
    "mllama": mllama,
    "fast_vlm": fast_vlm,
    "gemma3": gemma3,
    "paligemma": paligemma,
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
        for weights in model.parameters():
            if not weights.any():  # biases, and Gemma 3's projection: zero until trained, which hides the image
                torch.nn.init.normal_(weights, std=SPREAD)
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

"""What the model sees in training is what it sees in evaluation, and the loss is on the answers alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, AutoProcessor

from emt_core.errors import UserError
from emt_tasks.models.batching import Collator as EvaluationCollator
from emt_tasks.models.documents import Request
from emt_tasks.models.likelihood import IMAGES_SEEN, TOKEN_FIELDS
from emt_tasks.models.prompting import Prompter
from finetune.data.collate import IGNORED
from finetune.data.conversations import TrainingExample, Turn
from finetune.model.building import make_collator
from finetune.training.loss import answer_losses
from tests.support import tiny_checkpoints

SHORT = Turn("What is the number in the image?", "The number is 3.")
LONG = Turn("What type of object is in this photo? Please only answer a single object in cat, dog, truck.", "truck")
IMAGES = [[Image.new("RGB", (40, 30), "red")], [Image.new("RGB", (30, 40), "blue")]]
ENDS = {
    "llava": "</s>",
    "llava_onevision": "<|im_end|>",
    "instructblip": "</s>",
    "instructblip_t5": "</s>",
    "qwen2_5_vl": "<|im_end|>",
    "idefics3": "<end_of_utterance>",
    "mllama": "<|eot_id|>",
    "fast_vlm": "<|im_end|>",
    "gemma3": "<end_of_turn>",
    "paligemma": "<eos>",
}


class Checkpoint:
    """A tiny model with its processor and collator."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.processor = AutoProcessor.from_pretrained(folder)
        self.collate = make_collator(self.model, self.processor)

    def batch(self, *conversations: tuple[Turn, ...], images: Any = IMAGES) -> Any:
        examples = [example(*turns, images=len(images[0])) for turns in conversations]
        return self.collate(examples, images[: len(examples)], range(len(examples)))

    def learnt(self, batch: Any, row: int) -> str:
        return str(self.processor.tokenizer.decode(batch.labels[row][batch.labels[row] != IGNORED]))

    @property
    def has_decoder_of_its_own(self) -> bool:
        return bool(self.model.config.get_text_config().is_encoder_decoder)


@pytest.fixture(scope="module", params=sorted(tiny_checkpoints.ARCHITECTURES))
def checkpoint(request: pytest.FixtureRequest, tiny: Callable[[str], Path]) -> Checkpoint:
    return Checkpoint(request.param, tiny(request.param))


def example(*turns: Turn, images: int = 1, system: str | None = None) -> TrainingExample:
    return TrainingExample(turns, list, images, "row 0", system)


def test_prompts_have_the_tokens_of_evaluation(checkpoint: Checkpoint) -> None:
    batch = checkpoint.batch((SHORT,), (LONG,))
    processor = copy.deepcopy(checkpoint.processor)
    requests = [Request(turn.question, None) for turn in (SHORT, LONG)]
    evaluation = EvaluationCollator(processor, Prompter(processor))(requests, [0, 1], dict(enumerate(IMAGES)), "right")
    (asked,) = evaluation
    for row in range(2):
        prompt = asked.inputs["input_ids"][row][asked.inputs["attention_mask"][row].bool()]
        trained = batch.inputs["input_ids"][row]
        assert trained[: len(prompt)].tolist() == prompt.tolist()
        if not checkpoint.has_decoder_of_its_own:
            assert (batch.labels[row, : len(prompt) - 1] == IGNORED).all()
            assert batch.labels[row, len(prompt) - 1] != IGNORED  # the last token of the prompt predicts the answer
    for name in set(asked.inputs) - {*TOKEN_FIELDS, IMAGES_SEEN}:
        assert torch.equal(batch.inputs[name], asked.inputs[name]), name


def test_answers_are_learnt_with_their_end(checkpoint: Checkpoint) -> None:
    batch = checkpoint.batch((SHORT,), (LONG,))
    end = ENDS[checkpoint.name]
    assert checkpoint.learnt(batch, 0).lstrip() == f"The number is 3.{end}"
    assert checkpoint.learnt(batch, 1).lstrip() == f"truck{end}"
    # Each place predicts the next token of the text, and padding predicts nothing.
    answers = batch.labels != IGNORED
    read = batch.inputs["decoder_input_ids" if checkpoint.has_decoder_of_its_own else "input_ids"]
    for row in range(2):
        (places,) = answers[row].nonzero(as_tuple=True)
        assert places.tolist() == list(range(places[0], places[-1] + 1))
        assert batch.labels[row, places[:-1]].tolist() == read[row, places[1:]].tolist()


def test_all_answers_of_a_conversation_are_learnt(checkpoint: Checkpoint) -> None:
    if checkpoint.has_decoder_of_its_own:
        with pytest.raises(UserError, match="an encoder-decoder model learns only one answer, found several turns"):
            checkpoint.batch((SHORT, Turn("Really?", "Yes")), (LONG,))
        return
    batch = checkpoint.batch((SHORT, Turn("Really?", "Yes")), (LONG,))
    end = ENDS[checkpoint.name]
    assert checkpoint.learnt(batch, 0).replace(" ", "") == f"Thenumberis3.{end}Yes{end}"
    text = checkpoint.processor.tokenizer.decode(batch.inputs["input_ids"][0][batch.inputs["attention_mask"][0].bool()])
    assert text.index("The number is 3.") < text.index("Really?") < text.index("Yes")


def test_long_answers_are_cut_and_long_questions_refused(tiny_llava: Path) -> None:
    tiny = Checkpoint("llava", tiny_llava)
    conversation = (Turn("What is it?", "a " * 40),)
    whole = tiny.batch(conversation).inputs["input_ids"]
    prompt = whole.shape[1] - int((tiny.batch(conversation).labels != IGNORED).sum())
    tiny.collate = make_collator(tiny.model, tiny.processor, prompt + 5)
    cut = tiny.batch(conversation)
    assert torch.equal(cut.inputs["input_ids"], whole[:, : prompt + 5])
    assert (cut.labels != IGNORED).sum() == 5
    tiny.collate = make_collator(tiny.model, tiny.processor, prompt)
    with pytest.raises(UserError, match=rf"row 0: the question and its images have {prompt} tokens, batch.max_tokens"):
        tiny.batch(conversation)


def test_the_loss_is_that_of_all_logits(checkpoint: Checkpoint) -> None:
    """Same loss and gradients as torch's cross-entropy over every place, though most logits are never computed."""
    batch = checkpoint.batch((SHORT,), (LONG,))
    model = checkpoint.model.eval()
    losses, sources = answer_losses(model, model.get_output_embeddings(), batch)
    assert losses.shape == ((batch.labels != IGNORED).sum(),)
    per_source = [(batch.labels[row] != IGNORED).sum() for row in range(2)]
    assert torch.equal(sources, torch.repeat_interleave(torch.arange(2), torch.stack(per_source)))
    model.zero_grad()
    losses.sum().backward()
    found = {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad()
    logits = model(**batch.inputs).logits
    expected = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")
    expected.backward()
    torch.testing.assert_close(losses.sum(), expected)
    size = max(float(weights.grad.abs().max()) for weights in model.parameters() if weights.grad is not None)
    for name, weights in model.named_parameters():
        if weights.grad is not None:
            torch.testing.assert_close(found[name], weights.grad, atol=1e-5 * size, rtol=1e-4, msg=name)


def test_logits_are_computed_for_answers_only(tiny_llava: Path) -> None:
    checkpoint = Checkpoint("llava", tiny_llava)
    batch = checkpoint.batch((SHORT,), (LONG,))
    head = checkpoint.model.get_output_embeddings()
    seen: list[tuple[int, ...]] = []
    handle = head.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    answer_losses(checkpoint.model, head, batch)
    handle.remove()
    assert seen == [(int((batch.labels != IGNORED).sum()), head.out_features)]
    # and the model is as before
    assert checkpoint.model(**batch.inputs).logits.shape[:2] == batch.labels.shape


def test_losses_by_hand() -> None:
    """Two tokens over three words: softmax of (0, ln 2, ln 5) is 1/8, 2/8, 5/8."""
    from finetune.training.loss import _CrossEntropy

    logits = torch.tensor([[0.0, 2.0, 5.0], [0.0, 2.0, 5.0]]).clamp(min=1).log().requires_grad_()
    losses = _CrossEntropy.apply(logits * 1, torch.tensor([1, 2]))
    torch.testing.assert_close(losses, torch.tensor([4.0, 1.6]).log())
    losses.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[1, 2 - 8, 5], [1, 2, 5 - 8]]) / 8)


def test_text_alone(tiny_llava: Path) -> None:
    checkpoint = Checkpoint("llava", tiny_llava)
    batch = checkpoint.batch((SHORT,), (LONG,), images=[[], []])
    assert set(batch.inputs) == {"input_ids", "attention_mask"}
    assert checkpoint.learnt(batch, 1) == " truck</s>"


def test_without_a_chat_template(tmp_path: Path) -> None:
    folder = tiny_checkpoints.build("llava", tmp_path / "plain", with_chat_template=False)
    checkpoint = Checkpoint("llava", folder)
    batch = checkpoint.batch((SHORT, Turn("Really?", "Yes")), (LONG,))
    text = checkpoint.processor.tokenizer.decode(batch.inputs["input_ids"][0][batch.inputs["attention_mask"][0].bool()])
    assert text.replace("<image>", "").startswith("<s>USER: \nWhat is the number in the image? ASSISTANT: The number")
    assert text.endswith("</s>\nUSER: Really? ASSISTANT: Yes</s>")


def test_batch_rows_do_not_touch_each_other(checkpoint: Checkpoint) -> None:
    """A row's loss in a padded batch is its loss alone."""
    batch = checkpoint.batch((SHORT,), (LONG,))
    model = checkpoint.model.eval()
    head = model.get_output_embeddings()
    with torch.no_grad():
        together, sources = answer_losses(model, head, batch)
        alone, _ = answer_losses(model, head, checkpoint.batch((SHORT,)))
    torch.testing.assert_close(together[sources == 0], alone, atol=1e-5, rtol=1e-4)


PLACED = (Turn("Is this <image> like <image>", "No."), Turn("Why?", "Size."))
LATER = (Turn("<image>\nWhat is it?", "A dog."), Turn("And this? <image>", "A cat."), Turn("<image>\nHere?", "A frog."))


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3", "idefics3", "llava_onevision"])
@pytest.mark.parametrize("turns", [PLACED, LATER])
def test_images_stand_where_the_text_puts_them(name: str, turns: tuple[Turn, ...], tiny: Callable[[str], Path]) -> None:
    """The model reads the processor's own tokens of the whole conversation, and learns its answers."""
    checkpoint = Checkpoint(name, tiny(name))
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    pictures = pictures[: sum(turn.question.count("<image>") for turn in turns)]
    batch = checkpoint.collate([example(*turns, images=len(pictures), system="Be brief.")], [pictures], [0])

    messages: list[Any] = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}]
    for turn in turns:
        pieces = turn.question.partition("<image>\n") if turn.question.startswith("<image>\n") else None
        content = [{"type": "image"}, {"type": "text", "text": pieces[2]}] if pieces else []
        if not content:
            for number, piece in enumerate(turn.question.split("<image>")):
                content += [{"type": "image"}] * (number > 0) + [{"type": "text", "text": piece}] * bool(piece)
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    whole = checkpoint.processor.apply_chat_template(messages, tokenize=False)
    special = checkpoint.collate.chat.prompter.adds_special_tokens(whole)
    expected = checkpoint.processor(text=[whole], images=[pictures], return_tensors="pt", add_special_tokens=special)
    read = batch.inputs["input_ids"][0].tolist()
    decode = checkpoint.processor.tokenizer.decode
    assert decode(read) == decode(expected["input_ids"][0]).rstrip()
    for field in set(expected) - {"input_ids", "attention_mask"}:
        if field.endswith("token_type_ids"):  # answers may have other tokens of the same text
            assert batch.inputs[field].sum() == expected[field].sum()
        else:
            assert torch.equal(batch.inputs[field], expected[field]), field
    assert checkpoint.learnt(batch, 0).replace(" ", "") == "".join(
        turn.answer.replace(" ", "") + ENDS[name] for turn in turns
    )
    losses, _ = answer_losses(checkpoint.model, checkpoint.model.get_output_embeddings(), batch)
    assert torch.isfinite(losses).all()


def test_both_ways_to_a_batch_agree(checkpoint: Checkpoint) -> None:
    """Conversations that need no images in later questions get the same batch either way."""
    inserts = checkpoint.collate.chat.prompter.inserts_images
    if checkpoint.has_decoder_of_its_own or inserts or checkpoint.name == "mllama":
        pytest.skip("such a model has no images in later questions")
    examples = [example(SHORT, Turn("Really?", "Yes")), example(LONG)]
    chats = [checkpoint.collate.chat(one.turns, 1) for one in examples]
    usual, other = (
        checkpoint.collate(examples, IMAGES, [0, 1]),
        checkpoint.collate._spread(examples, chats, IMAGES, [0, 1]),
    )
    assert torch.equal(usual.labels, other.labels)
    assert set(usual.inputs) == set(other.inputs)
    for name, value in usual.inputs.items():
        assert torch.equal(value, other.inputs[name]), name


def test_a_template_without_a_place_for_the_system_is_refused(tiny_llava: Path) -> None:
    checkpoint = Checkpoint("llava", tiny_llava)
    checkpoint.processor.chat_template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    collate = make_collator(checkpoint.model, checkpoint.processor)
    with pytest.raises(
        UserError, match="row 0: model: its chat template cannot render 1 questions and answers with a sy"
    ):
        collate.check(example(SHORT, system="Be brief."))


@pytest.mark.parametrize("size", [(40, 30), (64, 64), (300, 20), (1, 90)])
def test_tokens_of_an_image_are_counted(checkpoint: Checkpoint, size: tuple[int, int]) -> None:
    """As many as the processor makes of it."""
    if checkpoint.name == "qwen2_5_vl" and max(size) > 200 * min(size):
        pytest.skip("its processor refuses such a shape")
    batch = checkpoint.collate([example(SHORT)], [[Image.new("RGB", size)]], [0])
    chat = checkpoint.collate.chat((SHORT,), 1)
    read = int((batch.labels[0] != IGNORED).nonzero()[0]) + 1 if not checkpoint.has_decoder_of_its_own else (
        int(batch.inputs["attention_mask"].sum())
    )  # fmt: skip
    special = checkpoint.collate.chat.prompter.adds_special_tokens(chat.prompt)
    text = len(checkpoint.processor.tokenizer(chat.prompt, add_special_tokens=special)["input_ids"])
    assert abs(checkpoint.collate._image_tokens(size) + text - read) <= 1  # a blank before the answer

"""Log-likelihoods against a plain forward pass of the whole sequence, and the tokens they are taken over."""

from __future__ import annotations

import logging

import pytest

from emt_tasks.models.likelihood import ContinuationTokenizer

LABELS = ["airplane", "automobile", "a bird", "cat", "deer and dog", "7", "cattle", "truck 9"]


def whole_pass(lm, architecture, prompt, images, label):
    """Return the sum of -log p of the label's tokens, from one forward pass over prompt and label together."""
    import torch

    processor = lm.collate._processor
    first = processor.tokenizer.bos_token
    options = {"return_tensors": "pt", "add_special_tokens": not (first and prompt.startswith(first))}
    before = processor(text=[prompt], images=images, **options)
    if architecture == "paligemma":  # its processor ends the prompt itself, and takes the answer apart from it
        inputs = processor(text=[prompt], suffix=[label], images=images, **options)
        inputs = {name: value[:, :-1] if value.dim() == 2 else value for name, value in inputs.items()}  # without <eos>
        inputs.pop("labels")
    else:
        inputs = processor(text=[prompt + label], images=images, **options)
    inputs.update({name: value for name, value in before.items() if name.startswith("qformer")})
    if lm.model.config.get_text_config().is_encoder_decoder:
        label_ids = processor.tokenizer(label, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():  # the loss is the mean over the label's tokens
            return float(lm.model(**before, labels=label_ids).loss) * label_ids.shape[1]
    start = before["input_ids"].shape[1]
    assert torch.equal(inputs["input_ids"][:, :start], before["input_ids"])
    with torch.no_grad():
        log_p = lm.model(**inputs).logits[0].log_softmax(-1)
    label_ids = inputs["input_ids"][0, start:].tolist()
    return -sum(float(log_p[start - 1 + place, token]) for place, token in enumerate(label_ids))


def test_equals_a_whole_forward_pass(architecture, load, instances, documents):
    lm = load(architecture, batch_size=3)
    # The first document is scored alone, the others three at a time, with prompts and images of several sizes.
    requests = instances([f" {label}" for label in LABELS] * 7, "loglikelihood", each=len(LABELS))
    scores = [score for score, _ in lm.loglikelihood(requests)]
    expected = []
    for request in requests:
        context, label, _, number, *_ = request.args
        prompt = lm.render(context)
        label = label.strip() if prompt[-1].isspace() else label
        expected.append(whole_pass(lm, architecture, prompt, [documents[number]["image"]], label))
    # float32 carries 6e-8 of a value, and the sums over a label's tokens reach 130: relative, as well as absolute.
    assert scores == pytest.approx(expected, rel=5e-6, abs=1e-4)


def test_the_prompt_is_computed_once(load, instances, monkeypatch, caplog):
    """8 labels, 3 at a time: one pass over the image for the prompt, two more to try out the cache on the first."""
    lm = load("llava", batch_size=3)
    seen = []
    vision = lm.model.model.get_image_features
    monkeypatch.setattr(lm.model.model, "get_image_features", lambda *a, **k: seen.append(1) or vision(*a, **k))
    with caplog.at_level(logging.WARNING):
        lm.loglikelihood(instances([f" {label}" for label in LABELS] * 4, "loglikelihood", each=len(LABELS)))
    # First document: whole passes of the shortest and the longest label in one batch, the same two behind the cache,
    # then all labels behind the cache; the other three documents: once each.
    assert len(seen) == 3 + 3
    assert not caplog.records


def test_a_model_that_reuses_the_prompt_wrongly_is_found_out(load, instances, monkeypatch, caplog):
    lm = load("llava", batch_size=4)
    requests = instances([f" {label}" for label in LABELS], "loglikelihood", each=len(LABELS))
    expected = lm.loglikelihood(requests)
    forward = lm.model.forward

    def forgetful(*args, past_key_values=None, **options):
        return forward(*args, **options)  # ignores the cache: labels no longer see the prompt

    forgetful.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(lm.model, "forward", forgetful)
    with caplog.at_level(logging.WARNING):
        found = lm.loglikelihood(requests)
    assert "run again for each label" in caplog.text
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_text_after_image_forgets_the_images_positions(load, instances):
    """Qwen2.5-VL keeps a position offset from the last image: scores of text alone must not depend on it."""
    lm = load("qwen2_5_vl", batch_size=4)
    text = instances([" cat", " a dog", " bird of prey"], "loglikelihood", visual=lambda document: [], each=3)
    fresh = lm.loglikelihood(text)
    lm.loglikelihood(instances([" cat", " a dog"], "loglikelihood", each=2))
    assert lm.loglikelihood(text) == fresh


class Words:
    """A tokenizer whose tokens are words with their leading space, and `Q:x` one token."""

    def __call__(self, texts, add_special_tokens):
        import re

        return {"input_ids": [[hash(word) for word in re.findall(r"Q:x| ?\w+|\W", text)] for text in texts]}


@pytest.mark.parametrize(
    ("prompt", "border", "label", "tokens"),
    [
        ("USER: hi ASSISTANT:", " ASSISTANT:", " cat", [" cat"]),  # behind a colon a word keeps its space
        ("<user>hi\n<assistant>\n", "\n<assistant>\n", " cat", ["cat"]),  # behind a line break it has none
        ("<user>hi\n<assistant>\n", "\n<assistant>\n", "cat", ["cat"]),
        ("<user>hi\n<assistant>\n", "\n<assistant>\n", "  cat", [" ", " cat"]),  # two spaces are no delimiter
        ("Is it Q:", "", "x", ["x"]),  # one token across the border: the label alone
        ("Is it", "", " a cat", [" a", " cat"]),
    ],
)
def test_tokens_are_those_of_running_text(prompt, border, label, tokens):
    assert ContinuationTokenizer(Words())(prompt, border, [label]) == [tuple(hash(token) for token in tokens)]

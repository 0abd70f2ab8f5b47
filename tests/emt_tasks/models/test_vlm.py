"""`emt_vlm` on every architecture: the same answers whatever the batch, and a model handed back as it was."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image, ImageFile

from emt_core.errors import UserError


def texts(results):
    return [result.text for result in results]


def refused(architecture, with_images, ask):
    """Whether the architecture takes no prompt without an image; then it says so."""
    if architecture != "paligemma" or with_images:
        return False
    with pytest.raises(UserError, match="PaliGemmaProcessor takes no prompt without an image"):
        ask()
    return True


@pytest.mark.parametrize("with_images", [True, False], ids=["images", "text only"])
def test_batch_of_one_and_of_32_answer_alike(architecture, with_images, load, instances):
    requests = instances([{"max_new_tokens": 8}] * 12, **({} if with_images else {"visual": lambda document: []}))
    if refused(architecture, with_images, lambda: list(load(architecture, batch_size=1).generate_until(requests))):
        return
    alone = list(load(architecture, batch_size=1).generate_until(requests))
    together = list(load(architecture, batch_size=32).generate_until(requests))
    assert texts(alone) == texts(together)
    assert [result.token_counts for result in alone] == [result.token_counts for result in together]
    if with_images:
        assert len(set(texts(alone))) > 6  # prompts and images matter: a batch that mixed them up would show


@pytest.mark.parametrize("with_images", [True, False], ids=["images", "text only"])
def test_labels_score_alike_in_any_batch(architecture, with_images, load, instances):
    labels = [" cat", " a dog", " airplane", " cat", "", " bird of prey"]
    options = {} if with_images else {"visual": lambda document: []}
    requests = instances(labels * 2, "loglikelihood", each=6, **options)
    lm = load(architecture, batch_size=1)
    if refused(architecture, with_images, lambda: lm.loglikelihood(requests)):
        return
    alone = lm.loglikelihood(requests)
    one_by_one = [score for request in requests for score in lm.loglikelihood([request])]
    together = load(architecture, batch_size=4).loglikelihood(requests)
    for scores in (together, one_by_one):
        assert [score for score, _ in scores] == pytest.approx([score for score, _ in alone], abs=1e-4)
        assert [known[:2] for _, known in scores] == [known[:2] for _, known in alone]  # first choice, tokens
    assert alone[0] == alone[3]  # the same label twice
    loss, (greedy, tokens, _) = alone[4]
    assert (loss, greedy, tokens) == (0.0, True, 0)  # no tokens, nothing to be unlikely


def test_the_prior_is_the_likelihood_without_the_image(load, instances):
    """Two documents share the prompt: behind it alone, the labels score as in requests that have no image."""
    labels = [" cat", " a dog", " airplane"]
    lm = load("llava", batch_size=4)
    seen = instances(labels * 2, "loglikelihood", each=3)
    unseen = instances(labels, "loglikelihood", each=3, visual=lambda document: [])
    for request in (*seen, *unseen):
        request.arguments = ("What is it?", *request.arguments[1:])
    found, blind = lm.loglikelihood(seen), lm.loglikelihood(unseen)
    assert [prior for _, (_, _, prior) in found] == pytest.approx([loss for loss, _ in blind] * 2, abs=1e-4)
    assert [loss for loss, _ in found][:3] != pytest.approx([loss for loss, _ in blind], abs=1e-2)
    assert all(prior is None for _, (_, _, prior) in blind)  # alone with their prompt


def test_greedy_says_whether_generation_would_write_the_label(load, instances):
    lm = load("llava", batch_size=4)
    requests = instances([{"max_new_tokens": 1}] * 12)
    written = texts(list(lm.generate_until(requests)))
    whole = [number for number, text in enumerate(written) if text.isascii() and text.strip()]  # no half characters
    assert len(whole) > 3
    scores = lm.loglikelihood(instances(written, "loglikelihood"))
    others = lm.loglikelihood(instances([" cattle"] * 12, "loglikelihood"))
    for number in whole:
        assert scores[number][1][0] and not others[number][1][0]
        assert scores[number][0] < others[number][0]


def test_mixed_settings_images_and_order(load, instances):
    """Requests of two settings, with none, one and two images, come back in their own order."""
    lm = load("llava", batch_size=4)
    requests = [
        *instances([{"max_new_tokens": 3}] * 4),
        *instances([{"max_new_tokens": 9}] * 4, visual=lambda document: []),
        *instances([{"max_new_tokens": 3}] * 4, visual=lambda document: [document["image"], [document["image"]]]),
    ]
    expected = [result for request in requests for result in lm.generate_until([request])]
    assert list(lm.generate_until(requests)) == expected
    assert expected[0].token_counts.output_tokens <= 3 < expected[4].token_counts.output_tokens
    assert requests[0].args[1] == {"max_new_tokens": 3}  # left as the task gave it


def test_until_cuts_the_answer(load, instances):
    lm = load("llava", batch_size=4)
    whole = list(lm.generate_until(instances([{"max_new_tokens": 12}] * 4)))
    stop = whole[0].text[3:5]
    cut = list(lm.generate_until(instances([{"max_new_tokens": 12, "until": [stop, "\0"]}] * 4)))
    assert texts(cut) == [text.split(stop)[0] for text in texts(whole)]
    assert cut[0].token_counts.output_tokens < whole[0].token_counts.output_tokens  # stopped, not only cut


def test_several_images_where_the_processor_takes_one(load, instances):
    with pytest.raises(UserError, match=r"task pets, split test, document 0: .*takes one"):
        list(load("instructblip").generate_until(instances([{}], visual=lambda document: [document["image"]] * 2)))


def png(size: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((size, size), 90).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"not an image", "cannot identify"), (png(64)[:1500], "truncated"), (b"", "cannot identify")],
    ids=["not an image", "cut short", "empty"],
)
@pytest.mark.parametrize("kind", ["generate_until", "loglikelihood"])
def test_an_unreadable_image_names_its_document(content, found, kind, load, instances, documents, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as lmms-eval does for the whole process

    def visual(document):
        if document is documents[2]:
            return [Image.open(io.BytesIO(content)).convert("RGB")]
        return [document["image"]]

    requests = instances([{} if kind == "generate_until" else " cat"] * 4, kind, visual=visual)
    with pytest.raises(UserError, match=f"task pets, split test, document 2: .*{found}") as caught:
        list(getattr(load("llava", batch_size=2), kind)(requests))
    assert "\n" not in str(caught.value)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("visuals", [[None], ["cat.png"], [7]])
def test_what_is_no_image_is_refused(visuals, load, instances):
    with pytest.raises(UserError, match="document 0"):
        list(load("llava").generate_until(instances([{}], visual=lambda document: visuals)))


def test_chat_requests_and_rounds_are_refused(load, instances):
    lm = load("llava")
    with pytest.raises(UserError, match="generate_until"):
        request = instances([{}])[0]
        request.arguments = ("context", lambda document: [], {}, 0, "pets", "test")
        list(lm.generate_until([request]))
    with pytest.raises(NotImplementedError, match="multi-round"):
        lm.generate_until_multi_round([])


def test_unconditional_likelihoods(load):
    """lmms-eval's mutual information asks for a label without prompt or document."""
    from lmms_eval.api.instance import Instance

    about = {"task": "pets", "doc_id": 0, "repeats": 1}
    requests = [
        Instance(request_type="loglikelihood", arguments=("", label), idx=0, metadata=about) for label in ("cat", "dog")
    ]
    (cat, _), (dog, _) = load("llava").loglikelihood(requests)
    assert cat > 0 and dog > 0 and cat != dog


def test_a_borrowed_model_comes_back_as_it_was(checkpoint, documents, instances):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from emt_tasks.models.vlm import EmtVLM

    folder = checkpoint("llava")
    model = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager").train()
    processor = AutoProcessor.from_pretrained(folder)
    model.model.vision_tower.eval().requires_grad_(False)  # as a recipe that trains only the projector
    modes = [module.training for module in model.modules()]
    grads = [weights.requires_grad for weights in model.parameters()]
    side = processor.tokenizer.padding_side

    lm = EmtVLM.from_model(model, processor, batch_size=4)
    lm.task_dict = {"pets": {"test": documents}}
    first = list(lm.generate_until(instances([{"max_new_tokens": 4}] * 4)))
    lm.clean()

    assert lm.model is model
    assert [module.training for module in model.modules()] == modes
    assert [weights.requires_grad for weights in model.parameters()] == grads
    assert processor.tokenizer.padding_side == side
    inputs = processor(text=["<image> a"], images=[documents[0]["image"]], return_tensors="pt")
    model(**inputs, labels=inputs["input_ids"]).loss.backward()  # still trains
    assert list(lm.generate_until(instances([{"max_new_tokens": 4}] * 4))) == first  # and can be asked again


def test_clean_frees_an_owned_model(load):
    lm = load("llava")
    device = lm.device
    lm.clean()
    assert not hasattr(lm, "_model")
    assert lm.device == device


def test_string_arguments_as_the_command_gives_them(checkpoint):
    from emt_tasks.models.vlm import EmtVLM

    lm = EmtVLM.create_from_arg_string(
        f"pretrained={checkpoint('llava')},dtype=bfloat16,trust_remote_code=false,max_new_tokens=5",
        {"batch_size": "3", "max_batch_size": None, "device": "cpu"},
    )
    assert (lm.batch_size, lm.max_new_tokens, str(lm.model.dtype)) == (3, 5, "torch.bfloat16")
    assert (lm.rank, lm.world_size, lm.device.type) == (0, 1, "cpu")


def test_half_precision_runs(load, instances):
    lm = load("qwen2_5_vl", dtype="bfloat16", batch_size=4)
    assert len(list(lm.generate_until(instances([{"max_new_tokens": 4}] * 4)))) == 4
    scores = lm.loglikelihood(instances([" cat", " a dog"], "loglikelihood", each=2))
    assert all(score > 0 for score, _ in scores)


def test_results_are_json_and_text(load, instances):
    (result,) = list(load("llava").generate_until(instances([{"max_new_tokens": 4}])))
    assert json.dumps({"text": result.text, **result.token_counts.to_dict()})


def test_answers_come_as_they_are_ready_and_in_order(load, instances, monkeypatch):
    """A window of one batch of two: the first answer is there when one batch has gone through the model."""
    monkeypatch.setattr("emt_tasks.models.vlm.WINDOW", 1)
    lm, batches = load("llava", batch_size=2), []
    generate = lm._generate
    monkeypatch.setattr(lm, "_generate", lambda *arguments: batches.append(1) or generate(*arguments))
    requests = instances([{"max_new_tokens": 4}] * 5)
    answers = lm.generate_until(requests)
    first = next(answers)
    assert len(batches) == 1
    assert [first, *answers] == list(load("llava", batch_size=5).generate_until(requests))
    assert len(batches) == 3

"""Adapters that take turns on one base answer as each does that was loaded alone, and images go through it once."""

from __future__ import annotations

import pytest
from torch.utils import _pytree as pytree

from emt_core.errors import UserError
from emt_tasks.models import shared_tower as towers
from emt_tasks.models.adapters import can_share
from emt_tasks.models.parts import vision_tower
from emt_tasks.models.sharing import SharedModel
from emt_tasks.models.vlm import EmtVLM

TARGETS = {
    "instructblip": r".*language_model.*(q|v)_proj",
    "instructblip_t5": r".*language_model.*SelfAttention\.(q|v)",
    "idefics3": r".*text_model.*(q|v)_proj",
}


def answers(lm, documents, instances):
    """What a model says and scores, with how often each."""
    lm.task_dict = {"pets": {"test": documents}}
    said = [result.text for result in lm.generate_until(instances([{"max_new_tokens": 6}] * 8))]
    scores = lm.loglikelihood(instances([" cat", " a dog"] * 4, "loglikelihood", each=2))
    return said, [score for score, _ in scores]


def alone(checkpoint, documents, instances, **arguments):
    lm = EmtVLM(device="cpu", batch_size=4, pretrained=str(checkpoint), **arguments)
    return answers(lm, documents, instances)


def shared(checkpoint, adapters):
    return SharedModel(str(checkpoint), list(map(str, adapters)), model_args="", batch_size=4, device="cpu")


def test_each_answers_as_if_alone(architecture, checkpoint, write_adapter, documents, instances):
    settings = {"target_modules": TARGETS[architecture]} if architecture in TARGETS else {}
    adapters = [write_adapter(architecture, seed, f"adapter-{seed}", **settings) for seed in (1, 2)]
    base = checkpoint(architecture)
    expected = [alone(base, documents, instances), *(alone(base, documents, instances, peft=str(a)) for a in adapters)]
    assert expected[0][1] != pytest.approx(expected[1][1], abs=1e-3)
    assert expected[1][1] != pytest.approx(expected[2][1], abs=1e-3)
    model = shared(base, adapters)
    found = []
    for peft in (None, *map(str, adapters)):
        with model.at_work(peft) as lm:
            found.append(answers(lm, documents, instances))
    with model.at_work(None) as lm:  # and back
        found.append(answers(lm, documents, instances))
    for (said, scores), (text, numbers) in zip(found, [*expected, expected[0]], strict=True):
        assert said == text
        assert scores == pytest.approx(numbers, abs=1e-5)
    if model.tower.reason is None:
        # The first of four models computes each image (or tile) for its answers, and reads half of them for its scores.
        assert 0 < 3 * model.tower.computed <= model.tower.read
    else:
        assert architecture in ("mllama", "fast_vlm"), model.tower.reason
    model.close()


def test_a_projector_that_an_adapter_has_whole_is_put_back(checkpoint, write_adapter, documents, instances):
    peft = write_adapter("llava", modules_to_save=["multi_modal_projector"])
    base = checkpoint("llava")
    expected = alone(base, documents, instances), alone(base, documents, instances, peft=str(peft))
    model = shared(base, [peft])
    for name, wanted in ((str(peft), expected[1]), (None, expected[0])):
        with model.at_work(name) as lm:
            assert answers(lm, documents, instances) == (wanted[0], pytest.approx(wanted[1], abs=1e-5))
    assert model.tower.reason is None and model.tower.read > 0


def test_a_tower_that_an_adapter_changes_is_not_shared(checkpoint, write_adapter, documents, instances):
    base, peft = checkpoint("llava"), write_adapter("llava", target_modules=r".*(vision_tower|language_model).*q_proj")
    model = shared(base, [peft])
    assert model.tower.reason == "an adapter changes it"
    with model.at_work(str(peft)) as lm:
        assert answers(lm, documents, instances) == alone(base, documents, instances, peft=str(peft))


def test_only_plain_lora_shares_a_model(checkpoint, write_adapter, tmp_path):
    assert can_share(str(write_adapter("llava")))
    assert can_share(str(write_adapter("llava", name="dora", use_dora=True)))
    assert not can_share(str(write_adapter("llava", name="biased", bias="lora_only")))
    config = tmp_path / "adapter" / "adapter_config.json"
    for before, after in (('"LORA"', '"IA3"'), ('"init_lora_weights": false', '"init_lora_weights": "pissa"')):
        text = config.read_text()
        assert before in text
        config.write_text(text.replace(before, after))
        assert not can_share(str(tmp_path / "adapter"))
        config.write_text(text)
    assert not can_share(str(checkpoint("llava")))


def test_an_adapter_that_does_not_fit_beside_another_is_named(checkpoint, write_adapter):
    good, other = write_adapter("llava"), write_adapter("llava", name="other")
    weights = other / "adapter_model.safetensors"
    from safetensors.torch import load_file, save_file

    content = load_file(weights)
    lost = sorted(content)[0]
    save_file({name: value for name, value in content.items() if name != lost}, weights)
    with pytest.raises(UserError, match=r"peft=.*other: the adapter does not fit Llava.*missing adapter keys"):
        shared(checkpoint("llava"), [good, other])


def test_no_more_is_kept_than_there_is_room_for(checkpoint, write_adapter, documents, instances, monkeypatch):
    monkeypatch.setattr("emt_tasks.models.sharing.ROOM", 0.0)
    base, peft = checkpoint("llava"), write_adapter("llava")
    model = shared(base, [peft])
    with model.at_work(str(peft)) as lm:
        assert answers(lm, documents, instances) == alone(base, documents, instances, peft=str(peft))
    assert (model.tower.read, model.tower.reason) == (0, None)


def test_an_output_that_was_not_kept_is_an_error_never_a_number(checkpoint, write_adapter, documents, instances):
    model, seen = shared(checkpoint("llava"), [write_adapter("llava")]), []
    with model.at_work(None) as lm:
        answers(lm, documents, instances)
        vision_tower(lm.model).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        answers(lm, documents, instances)
    leaves = pytree.tree_leaves(seen[0])
    # All layers are there, and the projector reads one.
    unread = [leaf for leaf in leaves if isinstance(leaf, towers._Unread)]
    assert 0 < len(unread) < len(leaves)
    assert unread[0].shape[0] == leaves[0].shape[0]
    with pytest.raises(towers.UnreadError, match="was not kept, and is read by mean"):
        unread[0].mean()

"""Checkpoints and adapters that cannot be used, each told in one line; adapters that can."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest

from emt_core.errors import UserError
from emt_tasks.models.loading import adapter_base, check_adapter_base

# PEFT 0.21 asks for an attribute that transformers 5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PROCESSOR = ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@pytest.fixture
def copied(checkpoint, tmp_path):
    """Copy a tiny LLaVA and leave some of its files out."""

    def make(*without):
        folder = tmp_path / "copy"
        shutil.copytree(checkpoint("llava"), folder)
        for name in without:
            (folder / name).unlink()
        return folder

    return make


def fails(match, **arguments):
    from emt_tasks.models.vlm import EmtVLM

    with pytest.raises(UserError, match=match) as caught:
        EmtVLM(**{"device": "cpu", **arguments})
    assert "\n" not in str(caught.value)


def test_unknown_argument(checkpoint):
    fails(r"no argument 'pretained'; it has pretrained, peft", pretained=str(checkpoint("llava")))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dtype": "float8"}, "dtype=float8: expected one of auto"),
        ({"device": "tpu9"}, "device=tpu9"),
        ({"batch_size": "some"}, "batch_size=some: expected an integer of at least 1, or auto"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_new_tokens": -1}, "max_new_tokens=-1"),
        ({"attn_implementation": "wibble"}, "wibble"),
        ({"chat_template": "no.jinja"}, "chat_template=no.jinja: no such file"),
    ],
)
def test_arguments_with_wrong_values(arguments, match, checkpoint):
    fails(match, pretrained=str(checkpoint("llava")), **arguments)


def test_no_checkpoint(tmp_path):
    fails("pretrained: it is missing")
    fails("no such folder", pretrained=str(tmp_path / "nowhere"))
    fails("no config.json", pretrained=str(tmp_path))
    fails("nobody/nothing-of-the-kind: the processor cannot be loaded", pretrained="nobody/nothing-of-the-kind")


@pytest.mark.parametrize(
    ("without", "match"),
    [
        (PROCESSOR, "no image processor files.*save the base model's processor"),
        (("processor_config.json",), "no image processor files"),
        (("tokenizer.json", "tokenizer_config.json"), "no tokenizer files"),
        (("model.safetensors",), "no model can be loaded"),
    ],
)
def test_missing_files(without, match, copied):
    fails(match, pretrained=str(copied(*without)))


def test_broken_files(copied):
    folder = copied()
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    fails("no model can be loaded", pretrained=str(folder))
    (folder / "config.json").write_text("{")
    fails("cannot be loaded", pretrained=str(folder))


def test_missing_weights_are_not_made_up(copied):
    from safetensors.torch import load_file, save_file

    folder = copied()
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(weights) if "language_model" in name and "layers.0" in name)
    save_file({name: value for name, value in weights.items() if name != lost}, folder / "model.safetensors")
    fails("1 weights are missing, the first .*language_model.layers.0", pretrained=str(folder))


@pytest.fixture
def adapter(write_adapter):
    """A LoRA adapter of tiny LLaVA that changes what it says."""
    return write_adapter("llava")


def rewrite(adapter, base):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))


def test_an_adapter_changes_answers_as_merging_does(adapter, checkpoint, load, instances, documents, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from emt_tasks.models.vlm import EmtVLM

    merged = PeftModel.from_pretrained(
        AutoModelForImageTextToText.from_pretrained(checkpoint("llava")), adapter
    ).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    AutoProcessor.from_pretrained(checkpoint("llava")).save_pretrained(tmp_path / "merged")

    requests = instances([{"max_new_tokens": 8}] * 6)
    labels = instances([" cat", " a dog", " bird"] * 2, "loglikelihood", each=3)
    answers, scores = {}, {}
    for name, arguments in {
        "base": {"pretrained": str(checkpoint("llava"))},
        "adapter": {"pretrained": str(checkpoint("llava")), "peft": str(adapter)},
        "adapter alone": {"peft": str(adapter)},
        "merged": {"pretrained": str(tmp_path / "merged")},
    }.items():
        lm = EmtVLM(device="cpu", batch_size=4, **arguments)
        lm.task_dict = {"pets": {"test": documents}}
        answers[name] = [result.text for result in lm.generate_until(requests)]
        scores[name] = [score for score, _ in lm.loglikelihood(labels)]
    assert answers["adapter"] == answers["adapter alone"] == answers["merged"] != answers["base"]
    assert scores["adapter"] == pytest.approx(scores["merged"], abs=1e-4)
    assert scores["adapter"] != pytest.approx(scores["base"], abs=1e-2)


def test_an_adapter_of_another_base(adapter, checkpoint):
    fails("was trained on .*llava, not on", pretrained=str(checkpoint("llava", seed=1)), peft=str(adapter))


@pytest.mark.parametrize(
    ("base", "pretrained", "same"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf", True),
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-13b-hf", False),
        ("llava-hf/llava-1.5-7b-hf", "other/llava-1.5-7b-hf", False),
        ("llava-hf/llava-1.5-7b-hf", "{folder}/llava-1.5-7b-hf", True),
        ("/gone/llava-1.5-7b-hf", "{folder}/llava-1.5-7b-hf", True),
        ("/gone/llava-1.5-13b-hf", "{folder}/llava-1.5-7b-hf", False),
        ("/cache/models--llava-hf--llava-1.5-7b-hf/snapshots/abc", "llava-hf/llava-1.5-7b-hf", True),
        ("{folder}/llava-1.5-7b-hf/../llava-1.5-7b-hf/", "{folder}/llava-1.5-7b-hf", True),
        ("{folder}", "{folder}/llava-1.5-7b-hf", False),
        (None, "anything/at-all", True),
    ],
)
def test_bases_that_are_the_same(base, pretrained, same, tmp_path):
    (tmp_path / "llava-1.5-7b-hf").mkdir()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    named = base and base.format(folder=tmp_path)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    assert adapter_base(str(adapter)) == named
    if same:
        check_adapter_base(str(adapter), pretrained.format(folder=tmp_path))
    else:
        with pytest.raises(UserError, match="was trained on"):
            check_adapter_base(str(adapter), pretrained.format(folder=tmp_path))


def test_adapters_that_do_not_fit(adapter, checkpoint):
    from safetensors.torch import load_file, save_file

    base, file = str(checkpoint("llava")), adapter / "adapter_model.safetensors"
    fails("it contains an adapter: pass it as peft=", pretrained=str(adapter))
    fails("found no adapter_config.json", pretrained=base, peft=base)
    rewrite(adapter, None)
    fails("the adapter does not name its base", peft=str(adapter))
    fails("does not fit InstructBlip", pretrained=str(checkpoint("instructblip")), peft=str(adapter))

    weights = load_file(file)
    save_file({name: value[:, :3].contiguous() for name, value in weights.items()}, file)
    fails("does not fit .*size mismatch", pretrained=base, peft=str(adapter))
    save_file(dict(list(weights.items())[1:]), file)
    fails("does not fit .*missing adapter keys", pretrained=base, peft=str(adapter))
    file.unlink()
    fails("the adapter has no weights", pretrained=base, peft=str(adapter))
    (adapter / "adapter_config.json").write_text("[")
    fails("not JSON", peft=str(adapter))


def test_an_adapter_that_changes_the_prompt_is_refused(checkpoint, tmp_path):
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(checkpoint("llava"))
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=2, token_dim=32, num_transformer_submodules=1, num_layers=2,
        num_attention_heads=4,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_peft_model(model, config).save_pretrained(tmp_path)
    fails("PROMPT_TUNING adapters change the prompt", pretrained=str(checkpoint("llava")), peft=str(tmp_path))

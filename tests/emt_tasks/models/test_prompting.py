"""The task's prompt reaches the checkpoint to the letter, whatever the template."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_tasks.models.prompting import Prompter

PROMPT = "  What is in the image?\nAnswer {one} of {{ these }}: <b>a</b>, “b” & 'c' \n"


@pytest.fixture
def processor(checkpoint):
    from transformers import AutoProcessor

    return lambda architecture, **options: AutoProcessor.from_pretrained(checkpoint(architecture, **options))


@pytest.mark.parametrize("images", [0, 1])
@pytest.mark.parametrize("with_chat_template", [True, False])
def test_prompt_is_verbatim(architecture, images, with_chat_template, processor):
    text = Prompter(processor(architecture, with_chat_template=with_chat_template)).render(PROMPT, images)
    assert text.count(PROMPT) == 1


@settings(max_examples=100, deadline=None)
@given(prompt=st.text())
def test_any_prompt_is_verbatim(prompt, tmp_path_factory):
    text = TRIMMING.render(prompt, 1)
    assert text == f"[user]<image>{prompt}[model]"


class _Tokenizer:
    bos_token = None
    chat_template = None


class _Processor:
    """A processor whose template trims and upper-cases, as some on the hub do."""

    tokenizer = _Tokenizer()
    image_token = "<image>"
    chat_template = (
        "[user]{% for part in messages[0].content %}{% if part.type == 'image' %}<image>"
        "{% else %}{{ part.text | trim }}{% endif %}{% endfor %}[model]"
    )

    def apply_chat_template(self, messages, chat_template=None, **options):
        from jinja2 import Environment

        return Environment().from_string(chat_template or self.chat_template).render(messages=messages, **options)


TRIMMING = Prompter(_Processor())


def test_chat_templates_by_architecture(processor):
    assert Prompter(processor("llava")).render("P", 1) == "USER: <image>\nP ASSISTANT:"
    assert Prompter(processor("llava")).render("P", 2) == "USER: <image>\n<image>\nP ASSISTANT:"
    assert Prompter(processor("qwen2_5_vl")).render("P", 1) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>P<|im_end|>\n<|im_start|>assistant\n"
    )
    assert Prompter(processor("instructblip")).render("P", 1) == "P"


def test_plain_template(processor):
    plain = Prompter(processor("qwen2_5_vl", with_chat_template=False), system_prompt="Be brief.")
    assert plain.render("P", 1) == "Be brief.\nUSER: <|image_pad|>\nP ASSISTANT:"
    assert plain.render("P", 0) == "Be brief.\nUSER: P ASSISTANT:"


def test_templates_given_by_text_and_by_file(processor, tmp_path):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<answer>"  # wants plain strings
    file = tmp_path / "chat.jinja"
    file.write_text(template)
    for value in (template, str(file)):
        prompter = Prompter(processor("llava"), chat_template=value, system_prompt="Be brief.")
        assert prompter.render("P", 1) == "<system>Be brief.<user><image>\nP<answer>"


def test_a_prompt_that_places_its_images_keeps_them(processor):
    prompter = Prompter(processor("llava"))
    assert prompter.render("Is <image> like <image>?", 2) == "USER: Is <image> like <image>? ASSISTANT:"
    with pytest.raises(UserError, match=r"<image.* 1 times"):
        prompter.render("Is <image> like that?", 2)


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("no-such-file.jinja", "no such file"),
        ("{{ 'nothing' }}", "cannot render"),
        ("{{ raise_exception('no users here') }}", "no users here"),
        ("{% if %}", "cannot render"),
    ],
)
def test_unusable_templates(template, match, processor):
    with pytest.raises(UserError, match=match):
        Prompter(processor("llava"), chat_template=template).render("P", 1)


def test_first_token_is_added_once(processor):
    """Gemma's template writes the first token; its tokenizer would add it again."""
    prompter = Prompter(processor("gemma3"))
    assert not prompter.adds_special_tokens(prompter.render("P", 0))
    assert Prompter(processor("llava")).adds_special_tokens("USER: P")

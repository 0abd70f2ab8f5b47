"""From a task's prompt to the text a checkpoint was trained on, without touching the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from PIL import Image

from emt_core.errors import UserError, one_line

_PROMPT = "@@EMT-PROMPT@@"
"""Stands for the prompt while a template is rendered, so that no filter in the template can change the prompt."""

PLAIN_TEMPLATE = "USER: {images}{prompt} ASSISTANT:"
"""Used if a checkpoint has no chat template; `images` is its image token and a line break for each image."""


class Prompter:
    """Puts prompts into the chat template of a processor.

    The template is, in this order: the one given, the processor's, its tokenizer's, `PLAIN_TEMPLATE`. Processors
    that insert image tokens by themselves and have no template (InstructBLIP) get the bare prompt. The prompt
    appears in the result unchanged, whatever the template does to its variables.

    Args:
        processor: a transformers processor with a tokenizer and an image processor.
        chat_template: a Jinja template, or the path of a file with one.
        system_prompt: text of a system message, or the path of a file with it.
    """

    def __init__(self, processor: Any, chat_template: str | None = None, system_prompt: str | None = None) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._system_prompt = _text_or_file(system_prompt) if system_prompt else None
        self.template = _template_text(chat_template) if chat_template else None
        self._owner = self._template_owner()
        self.image_token = _image_token(processor)
        self._inserts_images: bool | None = None
        self._frames: dict[int, tuple[str, str]] = {}

    def _template_owner(self) -> Any | None:
        """Return the processor or tokenizer that renders chats; None for the plain template."""
        if self.template or getattr(self._processor, "chat_template", None):
            return self._processor
        return self._tokenizer if getattr(self._tokenizer, "chat_template", None) else None

    def render(self, prompt: str, images: int) -> str:
        """Return the text to tokenise for a prompt about `images` images.

        A prompt that already has one image token per image keeps them where they are.

        Raises:
            UserError: the prompt has image tokens, but not one per image; or the template loses the prompt.
        """
        marks = prompt.count(self.image_token) if self.image_token else 0
        if marks and marks != images:
            raise UserError(
                f"prompt {prompt[:60]!r}… has the image token {self.image_token!r} {marks} times "
                f"for {images} images; expected none, or one per image"
            )
        before, after = self.frame(0 if marks else images)
        return before + prompt + after

    def frame(self, images: int) -> tuple[str, str]:
        """Return the text before and after the prompt; rendered once per number of images."""
        if images not in self._frames:
            text = self._chat(images) if self._owner else self._plain(images)
            before, after = text.split(_PROMPT)
            self._frames[images] = (before, after)
        return self._frames[images]

    def _plain(self, images: int) -> str:
        system = f"{self._system_prompt}\n" if self._system_prompt else ""
        if self.inserts_images:
            if images > 1:
                raise UserError(f"the processor places images by itself and takes one per prompt, found {images}")
            return system + _PROMPT
        if images and not self.image_token:
            raise UserError("the processor has no image token and no chat template; pass chat_template=")
        marks = f"{self.image_token}\n" * images
        return system + PLAIN_TEMPLATE.format(images=marks, prompt=_PROMPT)

    def _chat(self, images: int) -> str:
        """Render the chat template: messages of typed parts first, then plain strings for templates that need those."""
        failure = ""
        for content in (self._parts, self._string):
            messages = [{"role": "user", "content": content(_PROMPT, images)}]
            if self._system_prompt:
                messages.insert(0, {"role": "system", "content": content(self._system_prompt, 0)})
            try:
                text = self._owner.apply_chat_template(  # type: ignore[union-attr]
                    messages, chat_template=self.template, add_generation_prompt=True, tokenize=False
                )
            except (TemplateError, AttributeError, KeyError, TypeError, ValueError) as error:
                failure = f" ({one_line(error)})"
                continue
            if isinstance(text, str) and self._is_sound(text, images):
                return text
        raise UserError(f"the chat template cannot render one prompt and {images} images{failure}; pass chat_template=")

    def _parts(self, text: str, images: int) -> Any:
        return [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]

    def _string(self, text: str, images: int) -> Any:
        places = images and self.image_token and not self.inserts_images
        return (f"{self.image_token}\n" * images if places else "") + text

    def _is_sound(self, text: str, images: int) -> bool:
        """Whether a rendered chat has the prompt once and a place for every image."""
        if text.count(_PROMPT) != 1:
            return False
        marks = text.count(self.image_token) if self.image_token else 0
        return marks == images or (marks == 0 and self.inserts_images)

    @property
    def inserts_images(self) -> bool:
        """Whether the processor adds image tokens to a text that has none: determined by trying."""
        if self._inserts_images is None:
            try:
                batch = self._processor(text=["a"], images=[Image.new("RGB", (32, 32))], return_tensors="pt")
                token = self._tokenizer.convert_tokens_to_ids(self.image_token) if self.image_token else None
                self._inserts_images = token is not None and bool((batch["input_ids"] == token).any())
            except (ValueError, IndexError, KeyError):  # what processors raise if text and images do not match
                self._inserts_images = False
        return self._inserts_images

    def adds_special_tokens(self, text: str) -> bool:
        """Whether the tokenizer should add its first token: not if the template has written it."""
        first = self._tokenizer.bos_token
        return not (first and text.startswith(first))


def _image_token(processor: Any) -> str | None:
    token = getattr(processor, "image_token", None) or getattr(processor.tokenizer, "image_token", None)
    return None if token is None else str(getattr(token, "content", token))


def _text_or_file(value: str) -> str:
    """Return the contents of the file of that name, or the text itself if there is no such file."""
    try:
        return Path(value).read_text(encoding="utf-8") if Path(value).is_file() else value
    except (OSError, ValueError):  # too long or too odd for a file name
        return value


def _template_text(value: str) -> str:
    text = _text_or_file(value)
    if "{" not in text:
        raise UserError(f"chat_template={value}: no such file, and not a Jinja template either")
    return text


def refuse_without_image(processor: Any) -> None:
    """Refuse a prompt without an image where the model has no place for one: PaliGemma's prefix begins with it.

    Raises:
        UserError: the processor is PaliGemma's.
    """
    if "labels" in getattr(processor, "model_input_names", ()):  # no other processor makes labels
        raise UserError(f"{type(processor).__name__} takes no prompt without an image")

"""lmms-eval's requests to a model, and their images: read, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from emt_core.errors import UserError, one_line
from emt_core.images import no_truncated_images


@dataclass(frozen=True, slots=True)
class Request:
    """One request of lmms-eval's simple interface.

    `payload` is the second argument of the request: generation settings, or the continuation to score. `visual`
    turns a document into its images; it is None if the request has no document.
    """

    context: str
    payload: Any
    visual: Callable[[Any], Any] | None = None
    doc_id: Any = None
    task: str = ""
    split: str = ""

    @classmethod
    def from_arguments(cls, arguments: tuple[Any, ...]) -> Request:
        """Read an lmms-eval instance's `args`: six of them, or the two of a continuation scored on its own.

        Raises:
            UserError: a task for the chat interface, or of a kind that simple models do not support.
        """
        if len(arguments) == 2:
            return cls(*arguments)
        if len(arguments) != 6 or not callable(arguments[2]):
            raise UserError(
                f"emt_vlm: found a request with {len(arguments)} arguments; expected a task of output_type "
                "generate_until, loglikelihood or multiple_choice"
            )
        return cls(*arguments)

    @property
    def where(self) -> str:
        """The document's name, for messages."""
        return f"task {self.task}, split {self.split}, document {self.doc_id}"

    @property
    def prompt_key(self) -> tuple[str, str, str, str]:
        """A key shared by requests about the same image with the same prompt."""
        return (self.task, self.split, repr(self.doc_id), self.context)


def load_images(request: Request, documents: Mapping[str, Any]) -> list[Image.Image]:
    """Return the images of a request, fully decoded; an empty list if it has none.

    Args:
        request: names the document.
        documents: lmms-eval's `task_dict`: task, then split, then document number.

    Raises:
        UserError: an image cannot be read, is truncated, or is not an image. An unreadable image must never become an
            answer: the score would measure the data set's damage.
    """
    if request.visual is None:
        return []
    with no_truncated_images():
        try:
            visuals = request.visual(documents[request.task][request.split][request.doc_id])
            images = _flatten(visuals)
            for image in images:
                if isinstance(image, Image.Image):
                    image.load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{request.where}: image cannot be read ({one_line(error)}); fix or replace it") from error
    for image in images:
        if not isinstance(image, Image.Image):
            raise UserError(
                f"{request.where}: emt_vlm takes images, found {type(image).__name__}; "
                "doc_to_visual must return a list of PIL images"
            )
    return images


def continuation(request: Request, documents: Mapping[str, Any]) -> str:
    """Return the text that a log-likelihood request scores; tasks may give a function of the document."""
    if not callable(request.payload):
        return str(request.payload)
    return str(request.payload(documents[request.task][request.split][request.doc_id]))


def _flatten(visuals: Any) -> list[Any]:
    """Return the visuals of one document as a flat list, however the task nests them."""
    if visuals is None:
        return []
    if isinstance(visuals, (list, tuple)):
        return [image for visual in visuals for image in (_flatten(visual) if visual is not None else [None])]
    return [visuals]

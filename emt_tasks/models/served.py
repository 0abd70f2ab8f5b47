"""`emt_served`: a model behind a server or an engine, by lmms-eval's own classes.

Those return a failed request as a text that says so, which would be scored as a wrong answer and kept for the next run.
Here it stops the run instead, once everything that could be answered has been; repeated, the run asks only what is
missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from emt_core.errors import UserError, listed
from emt_core.public_names import public_name
from emt_tasks import plugin
from emt_tasks.models.documents import Request, continuation, load_images
from emt_tasks.models.engines import ENGINES, KEY_VARIABLE, Served, api_key
from emt_tasks.models.generation import GenerationSettings, cut
from emt_tasks.models.prompt_logprobs import PromptLogprobs

FAILED = "[LMMS_EVAL_"
"""How lmms-eval's texts for requests that failed, or exceeded its budget, begin."""

WINDOW = 8
"""Requests for each that may be under way, handed on together; also the most that a killed run loses."""

_CONCURRENT, _RETRIES, _TIMEOUT_S = 32, 8, 120.0

Message = dict[str, Any]


class EmtServed(lmms):  # type: ignore[misc]
    """A model that an engine of lmms-eval runs, behind lmms-eval's simple interface: the prompts are those of emt_vlm.

    A chat has one user turn: the images, then the prompt. The server, or the engine, puts it into the checkpoint's chat
    template. The key of a server is in $OPENAI_API_KEY, never among the arguments, which are logged.

    Args:
        engine: openai, litellm, vllm or sglang.
        model: as the engine names it.
        base_url: the server's; by default $OPENAI_API_BASE.
        num_concurrent: requests under way at a time, to a server.
        max_retries: of one request, with growing pauses or as long as the server says (Retry-After).
        timeout: seconds for one request.
        max_new_tokens: used if a task sets no limit.
        batch_size: prompts at a time, for an engine in this process.
        arguments: others are handed to lmms-eval's class.

    Raises:
        UserError: no such engine, its package is missing, or it cannot load the model.
    """

    is_simple = True

    def __init__(
        self,
        engine: str = "openai",
        model: str | None = None,
        base_url: str | None = None,
        num_concurrent: int = _CONCURRENT,
        max_retries: int = _RETRIES,
        timeout: float = _TIMEOUT_S,
        max_new_tokens: int = 128,
        batch_size: int | str = 1,
        device: str | None = None,
        max_batch_size: int | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        del device, max_batch_size  # passed by lmms-eval; the engine has its own
        if engine not in ENGINES:
            raise UserError(f"engine={engine}: expected one of {listed(ENGINES)}")
        if not model:
            raise UserError("model: it is missing; expected its name, as the engine has it")
        if api := next((name for name in arguments if "key" in name), None):
            raise UserError(f"{api}: not among the arguments, which are logged; set ${KEY_VARIABLE}")
        self.served = Served(ENGINES[engine], str(model), base_url)
        if importlib.util.find_spec(self.served.engine.needs) is None:
            raise UserError(f"{self.served}: needs {engine}; install it: pip install {self.served.engine.needs}")
        self.max_new_tokens, self.concurrent = int(max_new_tokens), int(num_concurrent)
        own: dict[str, Any] = {**self.served.engine.defaults, "batch_size": int(batch_size)}
        if self.served.engine.remote:
            # Retries are the client's, which heeds Retry-After; lmms-eval's come at once and have no end of a hang.
            own |= {"base_url": base_url, "api_key": api_key(), "num_concurrent": self.concurrent, "max_retries": 1}
        self._inner = _load(self.served, own | arguments)
        if self.served.engine.remote:
            self._inner._rank = 1  # its progress bar would begin anew with every window
        if engine == "openai":
            self._inner.client = self._inner.client.with_options(timeout=float(timeout), max_retries=int(max_retries))
        self._rank, self._world_size = 0, 1

    @property
    def device(self) -> torch.device:
        """Where lmms-eval gathers its counts: here, the model is elsewhere."""
        return torch.device("cpu")

    def messages(self, request: Request) -> list[Message]:
        """Return the chat of a request: one user turn, the images before the prompt."""
        images = load_images(request, self.task_dict)
        # A PNG holds no CMYK, and servers differ in what they do with transparency.
        plain = [image if image.mode in ("L", "RGB") else image.convert("RGB") for image in images]
        content = [{"type": "image", "url": image} for image in plain]
        return [{"role": "user", "content": [*content, {"type": "text", "text": request.context}]}]

    def generate_until(self, requests: Sequence[Instance]) -> Iterator[GenerationResult]:
        """Answer requests with the arguments `(context, gen_kwargs, doc_to_visual, doc_id, task, split)`.

        Yields:
            One text per request, in order; answers come by windows, so that lmms-eval's response cache has them if the
            run is killed.

        Raises:
            UserError: a request was not answered, after all others were; or none of a window was.
        """
        self._inner.task_dict = self.task_dict
        window = WINDOW * (self.concurrent if self.served.engine.remote else self._inner.batch_size)
        lost: list[str] = []
        with self._progress(len(requests)) as progress:
            for start in range(0, len(requests), window):
                chosen = [Request.from_arguments(instance.args) for instance in requests[start : start + window]]
                answers = self._inner.generate_until([self._as_chat(request) for request in chosen])
                progress.update(start + len(chosen) - progress.n)
                failures = [str(answer.text) for answer in answers if _failed(answer)]
                lost += failures
                if len(failures) == len(chosen):
                    raise self._not_answered(failures, len(failures))
                for number, (request, answer) in enumerate(zip(chosen, answers, strict=True), start=start + 1):
                    if lost and number == len(requests):  # what comes after the last answer is never run
                        raise self._not_answered(lost, len(requests))
                    # lmms-eval keeps no empty answer: a failed request will be asked again.
                    yield GenerationResult("") if _failed(answer) else _answer(request, answer)

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, tuple[bool, int, float | None]]]:
        """Score requests with the arguments `(context, continuation, doc_to_visual, doc_id, task, split)`.

        Returns:
            As `EmtVLM.loglikelihood`: nats, whether greedy, number of tokens, and no prior.

        Raises:
            UserError: this is no server that gives log-probabilities of prompts.
        """
        if self.served.engine.name != "openai":
            raise UserError(
                f"{self.served}: scores no closed sets; leave out tasks such as *_closed, or serve the model by vLLM "
                "and name it openai:MODEL@URL"
            )
        todo = [Request.from_arguments(instance.args) for instance in requests]
        scorer = PromptLogprobs(self._inner.client, self.served, self._as_openai)
        texts = [continuation(request, self.task_dict) for request in todo]
        with self._progress(len({request.prompt_key for request in todo}) + len(todo)):
            return scorer.score(todo, texts, at_a_time=self.concurrent)

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> NoReturn:
        """Not supported: no task of this project has several rounds."""
        raise NotImplementedError(
            "emt_served answers single prompts; multi-round tasks need another model of lmms-eval"
        )

    def clean(self) -> None:
        """Hang up, or free the engine's model, after an evaluation."""
        if close := getattr(getattr(self._inner, "client", None), "close", None):
            close()
        self._inner.clean()

    @contextmanager
    def _progress(self, requests: int) -> Iterator[tqdm[Any]]:
        """Show a bar; answers of a server move it as they come."""
        name = f"{self.served.engine.name}:{public_name(self.served.model)}"
        with tqdm(total=requests, desc=name) as progress:
            if not self.served.engine.remote:
                yield progress
                return
            completions = self._inner.client.chat.completions
            create = completions.create

            def counted(**payload: Any) -> Any:
                response = create(**payload)
                progress.update()
                return response

            completions.create = counted
            try:
                yield progress
            finally:
                completions.create = create

    def _as_chat(self, request: Request) -> Instance:
        """Return a request as lmms-eval's chat models take it."""
        settings = GenerationSettings.from_task(request.payload, self.max_new_tokens)
        given = {**dict(request.payload or {}), "max_new_tokens": settings.options["max_new_tokens"]}
        if not settings.options["do_sample"]:
            given["temperature"] = 0
        where = (request.doc_id, request.task, request.split)
        return Instance(
            request_type="generate_until",
            arguments=(request.context, partial(_ignoring_the_document, self.messages, request), given, *where),
            idx=0,
            metadata={"task": request.task, "doc_id": request.doc_id, "repeats": 1},
        )

    def _as_openai(self, request: Request) -> list[Message]:
        return plugin.as_openai(self.messages(request))

    def _not_answered(self, failures: Sequence[str], asked: int) -> UserError:
        reason = failures[0].partition("] ")[2] or failures[0]
        return UserError(
            f"{self.served}: {len(failures):,} of {asked:,} requests were not answered (the first: {reason}); with "
            "--cache, as in emt check, the other answers are kept: repeat the command"
        )


def _load(served: Served, arguments: dict[str, Any]) -> Any:
    """Make lmms-eval's own model."""
    return plugin.model_class(served.engine.name)(model=served.model, **arguments)


def _ignoring_the_document(messages: Any, request: Request, document: Any) -> list[Message]:
    del document  # the request names it
    found: list[Message] = messages(request)
    return found


def _failed(answer: GenerationResult) -> bool:
    return bool(answer.text) and str(answer.text).startswith(FAILED)


def _answer(request: Request, answer: GenerationResult) -> GenerationResult:
    """Cut an answer as emt_vlm does; a server that says nothing has said the empty text."""
    until = GenerationSettings.from_task(request.payload, 1).until
    return GenerationResult(cut(answer.text or "", until), answer.token_counts)

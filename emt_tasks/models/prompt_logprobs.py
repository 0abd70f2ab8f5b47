"""Closed sets through a server: the log-probability of a label as the assistant's turn of a prompt.

vLLM gives it (`prompt_logprobs` in a chat completion); OpenAI's own interface, and `transformers serve`, do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from emt_core.errors import UserError, one_line
from emt_tasks.models.documents import Request
from emt_tasks.models.engines import Served

Message = dict[str, Any]


class PromptLogprobs:
    """Asks a server for the log-probabilities of prompts.

    Args:
        client: openai's.
        served: the model.
        messages: the chat of a request, as a server takes it.
    """

    def __init__(self, client: Any, served: Served, messages: Callable[[Request], list[Message]]) -> None:
        self._client, self._served, self._messages = client, served, messages

    def score(
        self, requests: Sequence[Request], labels: Sequence[str], *, at_a_time: int
    ) -> list[tuple[float, tuple[bool, int, float | None]]]:
        """Return, for each request's label, the loss in nats, whether greedy decoding writes it, and its tokens.

        Raises:
            UserError: the server gives no log-probabilities of prompts, or fails.
        """
        chats = {request.prompt_key: self._messages(request) for request in requests}
        with ThreadPoolExecutor(at_a_time) as pool:
            lengths = dict(zip(chats, pool.map(lambda chat: len(self._tokens(chat)), chats.values()), strict=True))

            def one(request: Request, label: str) -> tuple[float, tuple[bool, int, float | None]]:
                tokens = self._tokens(chats[request.prompt_key], label)[lengths[request.prompt_key] :]
                if not tokens:
                    raise UserError(f"{self._served}: {request.where}: the label {label!r} has no tokens")
                loss = -sum(float(token["logprob"]) for token in tokens)
                return loss, (all(token.get("rank") == 1 for token in tokens), len(tokens), None)

            return list(pool.map(one, requests, labels))

    def _tokens(self, chat: list[Message], label: str | None = None) -> list[Message]:
        """Return what the server says of each token of a prompt but its first, with a label as the answer's begin."""
        from openai import APIError

        ended = label is not None
        turns = [*chat, {"role": "assistant", "content": label}] if ended else chat
        template = {"add_generation_prompt": not ended, "continue_final_message": ended}
        try:
            response = self._client.chat.completions.create(
                model=self._served.model,
                messages=turns,
                max_tokens=1,
                temperature=0,
                extra_body={"prompt_logprobs": 0, **template},
            )
        except APIError as error:
            raise UserError(f"{self._served}: {one_line(error)}") from error
        found = (response.model_extra or {}).get("prompt_logprobs")
        if not found:
            raise UserError(
                f"{self._served}: gives no log-probabilities of prompts (vLLM does), which closed sets need; leave "
                "out tasks such as *_closed"
            )
        return [next(iter(token.values())) for token in found if token]

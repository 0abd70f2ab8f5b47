"""Models behind a server: the prompts of emt_vlm, and no failure that passes for an answer."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from emt_core.errors import UserError
from emt_tasks.models import engines
from tests.support.chat_server import ChatServer, Response, failure, reply


@pytest.fixture
def serve():
    """Start servers that are stopped after the test."""
    servers: list[ChatServer] = []

    def start(behave) -> ChatServer:
        servers.append(ChatServer(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def lm(documents):
    from emt_tasks.models.served import EmtServed

    made = []

    def make(server: ChatServer, **arguments):
        made.append(EmtServed(model="m", base_url=server.url, **arguments))
        made[-1].task_dict = {"pets": {"test": documents}}
        return made[-1]

    yield make
    for model in made:
        model.clean()


def prompt_of(request: dict) -> str:
    return request["messages"][0]["content"][-1]["text"]


def echo(_, request):
    return reply(f"you said {prompt_of(request)}")


def test_the_prompt_and_every_pixel_reach_the_server(serve, lm, instances, documents):
    server = serve(echo)
    requests = instances([{"max_new_tokens": 8, "until": ["9"]}] * 12)
    answers = [result.text for result in lm(server).generate_until(requests)]
    asked = sorted(server.requests, key=lambda request: int(prompt_of(request).split()[-1]))
    for number, (request, instance, document) in enumerate(zip(asked, requests, documents, strict=True)):
        (turn,) = request["messages"]
        image, text = turn["content"]
        assert (turn["role"], text["text"]) == ("user", instance.args[0])
        sent = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition(",")[2])))
        assert np.array_equal(np.asarray(sent), np.asarray(document["image"]))
        assert (request["max_tokens"], request["temperature"]) == (8, 0)
        assert answers[number] == f"you said {instance.args[0]}".partition("9")[0]


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "P", "I;16"])
def test_images_that_a_png_does_not_hold_are_sent_in_colour(mode, serve, lm, instances, documents):
    server = serve(echo)
    visual = [Image.new("RGB", (8, 8), "red").convert(mode if mode != "I;16" else "L").convert(mode)]
    assert len(list(lm(server).generate_until(instances([{}], visual=lambda document: visual)))) == 1


def test_a_server_that_fails_now_and_then_answers_in_the_end(serve, lm, instances):
    """Every third request fails in one way or another; each is asked again until it is answered."""
    ways = [failure(500), failure(429), failure(503), Response(close=True)]

    def now_and_then(number, request):
        return ways[number // 3 % len(ways)] if number % 3 == 0 else echo(number, request)

    server = serve(now_and_then)
    requests = instances([{"max_new_tokens": 8}] * 12)
    answers = [result.text for result in lm(server, num_concurrent=4).generate_until(requests)]
    assert answers == [f"you said {instance.args[0]}" for instance in requests]
    assert 1 < server.most_at_once <= 4


def test_a_request_without_an_answer_stops_the_run_and_is_no_answer(serve, lm, instances):
    """The fourth document never gets one. lmms-eval's cache keeps what was yielded and is not empty."""

    def all_but_one(number, request):
        return failure(500) if prompt_of(request).endswith("Answer 3") else echo(number, request)

    requests = instances([{"max_new_tokens": 8}] * 12)
    yielded = []
    with pytest.raises(
        UserError, match=r"openai:m@.*: 1 of 12 requests were not answered \(the first: .*failing with 500"
    ):
        for result in lm(serve(all_but_one), max_retries=1).generate_until(requests):
            yielded.append(result.text)
    kept = [bool(text) for text in yielded]
    assert kept == [number != 3 for number in range(11)]
    assert not any("LMMS_EVAL" in text for text in yielded)


def test_a_server_that_answers_nothing_is_left_at_once(serve, lm, instances):
    server = serve(lambda *_: failure(404))
    with pytest.raises(UserError, match=r"2 of 2 requests were not answered .*failing with 404"):
        list(lm(server, num_concurrent=1).generate_until(instances([{}] * 2)))
    assert len(server.requests) == 2  # a client's mistake is not asked again


def test_a_window_without_any_answer_ends_the_run(serve, lm, instances):
    """A server that dies: after eight requests, those under way at a time, nothing more is asked."""
    server = serve(lambda *_: failure(400))
    with pytest.raises(UserError, match=r"8 of 8 requests"):
        list(lm(server, num_concurrent=1).generate_until(instances([{}] * 30)))
    assert len(server.requests) == 8


def test_a_hang_is_given_up_and_asked_again(serve, lm, instances):
    server = serve(lambda number, request: reply("late", hang_s=1.0) if number == 0 else echo(number, request))
    (result,) = lm(server, timeout=0.2).generate_until(instances([{}]))
    assert result.text == "you said What is it? Answer 0"


def test_a_server_that_says_nothing_has_said_the_empty_text(serve, lm, instances):
    (result,) = lm(serve(lambda *_: usage(reply(None)))).generate_until(instances([{}]))
    assert result.text == ""


def usage(response: Response) -> Response:
    body = json.loads(response.body) | {"usage": {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}}
    return Response(200, json.dumps(body), response.headers)


def test_labels_are_scored_by_the_log_probabilities_of_the_prompt(serve, lm, instances):
    """The prompt has two tokens after the first, each label its words: the first letter's place in the alphabet / 10.

    " a dog" loses (1 + 4) / 10 nats in two tokens, of which the second is not the likeliest.
    """

    def vllm(number, request):
        assert request["prompt_logprobs"] == 0
        words = [turn["content"] for turn in request["messages"] if turn["role"] == "assistant"]
        ended = bool(words)
        assert (request["add_generation_prompt"], request["continue_final_message"]) == (not ended, ended)
        tokens = ["p", "q", *(words[0].split() if ended else ())]
        known = [
            {"7": {"logprob": -(ord(token[0]) - 96) / 10, "rank": 1 if token[0] < "d" else 2, "decoded_token": token}}
            for token in tokens
        ]
        body = json.loads(reply("").body) | {"prompt_logprobs": [None, *known]}
        return Response(200, json.dumps(body), {"content-type": "application/json"})

    scored = lm(serve(vllm)).loglikelihood(instances([" a dog", " cab"], "loglikelihood", each=2))
    assert scored == [(pytest.approx(0.5), (False, 2, None)), (pytest.approx(0.3), (True, 1, None))]


def test_a_server_without_log_probabilities_is_told_from_one_with(serve, lm, instances):
    with pytest.raises(UserError, match=r"gives no log-probabilities of prompts \(vLLM does\)"):
        lm(serve(echo_text)).loglikelihood(instances([" cat"], "loglikelihood"))


def echo_text(*_):
    return reply("hello")


@pytest.mark.parametrize(
    ("name", "kind", "read"),
    [
        ("openai:org/m@http://h:1/v1", None, ("openai", "org/m", "http://h:1/v1")),
        ("openai:/models/m@2@https://h/v1", None, ("openai", "/models/m@2", "https://h/v1")),
        ("vllm:org/m", None, ("vllm", "org/m", None)),
        ("org/m", "sglang", ("sglang", "org/m", None)),
        ("litellm:anthropic/x", "emt_vlm", ("litellm", "anthropic/x", None)),
    ],
)
def test_names_of_served_models(name, kind, read):
    found = engines.read(name, kind)
    assert (found.engine.name, found.model, found.url) == read


@pytest.mark.parametrize("name", ["org/model", "C:/models/m", "ViT-L-14/openai", "emt:tiny", "models/openai"])
def test_other_names_are_not_served_models(name):
    assert engines.read(name) is None


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("openai:", "no model in it; expected openai:MODEL@URL"),
        ("openai:@http://h/v1", "no model in it"),
        ("vllm:m@http://h/v1", "for a server of it: openai:m@http://h/v1"),
        ("openai:a,b@http://h/v1", ", cannot be in"),
    ],
)
def test_faulty_names_say_what_is_expected(name, says):
    with pytest.raises(UserError, match=says):
        engines.read(name)


def test_a_key_is_never_an_argument(serve, documents):
    from emt_tasks.models.served import EmtServed

    with pytest.raises(UserError, match=r"api_key: not among the arguments, which are logged; set \$OPENAI_API_KEY"):
        EmtServed(model="m", api_key="secret")


def test_an_engine_that_is_not_installed_says_how_to_get_it():
    from emt_tasks.models.served import EmtServed

    with pytest.raises(UserError, match="vllm:m: needs vllm; install it: pip install vllm"):
        EmtServed(engine="vllm", model="m")


def test_a_checkpoints_own_code_is_not_run_by_engines():
    assert all(not engine.defaults["trust_remote_code"] for engine in engines.ENGINES.values() if not engine.remote)


TWICE = """
import sys
from emt_tasks.commands.app import main

codes = [main(sys.argv[1:]) for _ in range(2)]
print(codes)
"""


def test_a_repeated_run_asks_only_for_what_is_missing(serve, tmp_path):
    """Through lmms-eval, twice: the third of six requests is not answered, and then is."""
    failed = []

    def once(number, request):
        if number == 2:
            failed.append(prompt_of(request))
        return failure(500) if number == 2 else echo(number, request)

    server = serve(once)
    arguments = ["eval", f"openai:m@{server.url}", "--tasks", "demo_digits", "--limit", "6", "-o", tmp_path / "run"]
    more = ["--cache", tmp_path / "cache", "--model-args", "num_concurrent=1,max_retries=0"]
    done = subprocess.run(
        [sys.executable, "-c", TWICE, *map(str, [*arguments, *more])], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[2, 0]"
    assert "1 of 6 requests were not answered" in done.stderr
    assert len(server.requests) == 7
    assert failed == [prompt_of(server.requests[-1])]
    (samples,) = (tmp_path / "run").glob("*_samples_demo_digits.jsonl")
    assert not [line for line in samples.read_text().splitlines() if "LMMS_EVAL" in line]


def test_nobody_at_the_address_is_known_before_anything_is_loaded():
    with pytest.raises(UserError, match=r"no server answers at http://127.0.0.1:9/v1/"):
        engines.read("openai:m@http://127.0.0.1:9/v1").reach(timeout_s=1)

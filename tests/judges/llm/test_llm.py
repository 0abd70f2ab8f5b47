"""LLM judges against a real HTTP server on this machine: what is asked, how often, and what a failure costs."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from emt_core.errors import UserError
from judges import Classification, MultipleChoice, ShortAnswer, find_vocabulary, get_judge
from judges.llm.judge import LLMJudge, category_judge, paper_judge
from judges.settings import LLMSettings
from tests.support.chat_server import ChatServer, Response, failure, reply

CAT = Classification("cat", find_vocabulary("cifar10"))


@pytest.fixture
def serve() -> Iterator:
    """Start servers that are stopped when the test ends."""
    servers: list[ChatServer] = []

    def start(behave) -> ChatServer:
        servers.append(ChatServer(behave if callable(behave) else lambda *_: behave))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def build(tmp_path) -> Iterator:
    """Build judges that are closed when the test ends; all share one cache."""
    judges: list[LLMJudge] = []

    def make(server: ChatServer, factory=category_judge, **settings) -> LLMJudge:
        defaults = {"max_retries": 1, "timeout_s": 5.0, "cache": str(tmp_path / "cache.sqlite"), "structured": "off"}
        judges.append(factory(LLMSettings(model="m", base_url=server.url, **(defaults | settings))))
        return judges[-1]

    yield make
    for judge in judges:
        judge.close()


def test_the_last_verdict_counts_and_the_reply_is_kept(serve, build):
    server = serve(reply("VERDICT: incorrect\nWait, a tabby is a cat.\n**VERDICT: correct**"))
    verdict = build(server).judge("a tabby", CAT)
    assert (verdict.category, verdict.judge) == ("correct", "llm:m")
    assert verdict.raw == "VERDICT: incorrect\nWait, a tabby is a cat.\n**VERDICT: correct**"


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        "correct",
        "",
        "VERDICT: unscored",
        "VERDICT: wonderful",
        "VERDICT: correct, because it is a cat",
        "VERDICT: <one of correct, incorrect, intrinsic, extrinsic>",
        "VERDICT: correct\nVERDICT: maybe",
        "我认为正确",
    ],
)
def test_an_answer_off_the_format_is_unscored_and_kept(serve, build, text):
    verdict = build(serve(reply(text))).judge("a tabby", CAT)
    assert (verdict.category, verdict.raw, verdict.confidence) == ("unscored", text, 0.0)
    assert set(verdict.metrics().values()) == {None, 1.0}


def test_a_short_answer_is_never_intrinsic(serve, build):
    server = serve(reply("VERDICT: intrinsic"))
    assert build(server).judge("1998 or 1999", ShortAnswer("1998")).category == "unscored"
    assert "intrinsic" not in server.prompts[0]


def test_identical_questions_are_asked_once_by_all_threads(serve, build):
    server = serve(reply("VERDICT: correct", hang_s=0.05))
    judge = build(server, concurrency=4)
    answers = [f"a tabby number {n % 10}" for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda answer: judge.judge(answer, CAT), answers))
    assert {verdict.category for verdict in verdicts} == {"correct"}
    assert len(server.requests) == 10
    assert server.most_at_once <= 4
    # Another label is another question.
    judge.judge(answers[0], Classification("dog", CAT.vocabulary))
    assert len(server.requests) == 11


def test_many_keep_their_order(serve, build):
    def behave(_number, request):
        kind = re.search(r"picture (\d+)", request["messages"][0]["content"])
        # The earlier the question, the later its reply.
        return reply(f"VERDICT: {('correct', 'incorrect')[int(kind[1]) % 2]}", hang_s=0.2 - 0.01 * int(kind[1]))

    judge = build(serve(behave), concurrency=20)
    verdicts = judge.judge_many((f"picture {n}", CAT) for n in range(20))
    assert [verdict.category for verdict in verdicts] == ["correct", "incorrect"] * 10


def test_answers_come_from_the_cache_next_time(serve, build):
    server = serve(reply("VERDICT: correct"))
    first, second = build(server), build(server)
    assert first.judge("a tabby", CAT) == second.judge("a tabby", CAT)
    assert len(server.requests) == 1
    estimate = build(server).estimate([("a tabby", CAT), ("a lynx", CAT), ("a lynx", CAT)])
    assert (estimate.answers, estimate.calls, estimate.cached) == (3, 1, 1)
    assert len(server.requests) == 1


def test_what_is_off_the_format_is_asked_again_next_time(serve, build):
    server = serve(lambda number, _: reply("Meow." if number == 0 else "VERDICT: correct"))
    assert build(server).judge("a tabby", CAT).category == "unscored"
    assert build(server).judge("a tabby", CAT).category == "correct"


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_passing_failures_are_retried(serve, build, status):
    server = serve(lambda number, _: failure(status) if number < 2 else reply("VERDICT: correct"))
    judge = build(server, max_retries=2)
    assert judge.judge("a tabby", CAT).category == "correct"
    assert (len(server.requests), judge.chat.calls, judge.chat.failures) == (3, 1, 0)


HTML = Response(200, "<html>Welcome to the gateway</html>", {"content-type": "text/html"})
NO_JSON = Response(200, '{"choices": [', {"content-type": "application/json"})
OTHER_JSON = Response(200, '{"detail": "out of order"}', {"content-type": "application/json"})
NO_CHOICES = Response(200, '{"choices": []}', {"content-type": "application/json"})


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (failure(429), "RateLimitError"),
        (failure(500), "InternalServerError"),
        (failure(401), "AuthenticationError"),
        (Response(close=True), "APIConnectionError"),
        (reply("VERDICT: correct", hang_s=1.0), "APITimeoutError"),
        (HTML, "not a chat completion"),
        (NO_JSON, "not JSON"),
        (OTHER_JSON, "not a chat completion"),
        (NO_CHOICES, "not a chat completion"),
        (reply(None), "without text"),
    ],
    ids=["429", "500", "401", "closes", "hangs", "html", "broken-json", "other-json", "no-choices", "no-text"],
)
def test_a_server_that_keeps_failing_leaves_the_answer_unscored(serve, build, response, reason):
    verdict = build(serve(response), timeout_s=0.2).judge("a tabby", CAT)
    assert verdict.category == "unscored"
    assert reason in verdict.reason
    assert "\n" not in verdict.reason


def test_nothing_listens(build):
    server = ChatServer(lambda *_: reply("VERDICT: correct"))
    server.stop()
    verdict = build(server).judge("a tabby", CAT)
    assert verdict.category == "unscored"
    assert "APIConnectionError" in verdict.reason


def test_a_dead_server_is_given_up_soon_and_the_next_run_resumes(serve, build):
    """Of 40 questions the server answers the first 10, then it is dead; the second run asks for the other 30 only."""
    server = serve(lambda number, _: reply("VERDICT: correct") if number < 10 else failure(500))
    items = [(f"answer {n}", CAT) for n in range(40)]
    dying = build(server, max_retries=0, concurrency=1, give_up_after=5)
    first = list(dying.judge_many(items))
    assert [verdict.category for verdict in first] == ["correct"] * 10 + ["unscored"] * 30
    assert len(server.requests) == 15
    assert (dying.chat.calls, dying.chat.failures) == (40, 30)
    assert "failed 5 times in a row" in first[-1].reason

    server.behave = lambda *_: reply("VERDICT: correct")
    assert {verdict.category for verdict in build(server).judge_many(items)} == {"correct"}
    assert len(server.requests) == 15 + 30


def test_no_more_calls_than_allowed(serve, build):
    server = serve(reply("VERDICT: correct"))
    verdicts = list(build(server, max_calls=3).judge_many((f"answer {n}", CAT) for n in range(5)))
    assert [verdict.category for verdict in verdicts] == ["correct"] * 3 + ["unscored"] * 2
    assert "limit of 3 calls" in verdicts[-1].reason
    assert len(server.requests) == 3


def test_the_papers_request_is_to_the_letter(serve, build):
    """EMT appendix C.1: prompt and sampling."""
    server = serve(reply("Yes."))
    build(server, paper_judge).judge("The object is a cat", CAT)
    request = server.requests[0]
    assert request["messages"] == [
        {
            "role": "user",
            "content": 'Please only answer the question in yes or no. Is the "Prediction" correctly predicting the '
            'right "Label"? Label: cat; Prediction: The object is a cat.',
        }
    ]
    sampling = ("temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty")
    assert [request[name] for name in sampling] == [0.2, 64, 1, 0, 0]


@pytest.mark.parametrize(
    ("prediction", "text", "category"),
    [
        ("a dog", "Yes.", "correct"),
        ("a dog", "No, it does not.", "incorrect"),
        ("a cat or a dog", "no", "intrinsic"),
        ("I cannot tell.", "**No**", "extrinsic"),
        # The rules find nothing wrong here, so that the paper's "no" has no kind of error but the general one.
        ("a cat", "No.", "incorrect"),
        ("a cat", "Yes or no.", "unscored"),
        ("a cat", "The answer is yes", "unscored"),
        ("a cat", "Nothing.", "unscored"),
    ],
)
def test_the_papers_no_takes_the_rules_kind_of_error(serve, build, prediction, text, category):
    assert build(serve(reply(text)), paper_judge).judge(prediction, CAT).category == category


def test_a_server_that_says_yes_to_everything_makes_nothing_wrong(serve, build):
    server = serve(reply("Yes."))
    items = [(answer, CAT) for answer in ("a cat", "a dog", "", "a cat or a dog")]
    assert {verdict.category for verdict in build(server).judge_many(items)} == {"unscored"}


def test_matches_are_those_of_the_rules(serve, build):
    target = MultipleChoice("B", ("cat", "dog", "fox", "cow"))
    verdict = build(serve(reply("VERDICT: incorrect"))).judge("(C)", target)
    assert [match.label for match in verdict.matches] == ["C"]


def test_without_a_model_or_server_it_says_what_to_set(monkeypatch):
    with pytest.raises(UserError, match="set EMT_JUDGE_MODEL, and EMT_JUDGE_BASE_URL or OPENAI_API_KEY"):
        category_judge(LLMSettings(model="m", cache=None))


def test_the_key_goes_to_the_server_and_into_no_message(serve, build):
    server = serve(failure(401))
    judge = build(server, api_key="secret-key", max_retries=0)
    verdict = judge.judge("a tabby", CAT)
    assert server.requests[0]["authorization"] == "Bearer secret-key"
    assert "secret-key" not in repr(verdict) + repr(judge.chat.settings) + judge.signature


def test_closing_waits_for_no_reply_and_the_judge_opens_again(serve, build):
    server = serve(lambda number, _: reply("VERDICT: correct", hang_s=3.0 if number == 0 else 0.0))
    judge = build(server, concurrency=1)
    questions = [judge.ask(answer, CAT, get_judge().judge(answer, CAT)) for answer in ("a", "b")]
    while not server.requests:
        time.sleep(0.01)
    started = time.monotonic()
    judge.close()
    assert time.monotonic() - started < 1.0
    assert questions[1].cancelled()
    assert judge.judge("b", CAT).category == "correct"


def test_the_interpreter_does_not_wait_for_a_reply(serve, tmp_path):
    server = serve(reply("VERDICT: correct", hang_s=20.0))
    settings = {"model": "m", "base_url": server.url, "cache": str(tmp_path / "cache.sqlite")}
    script = f"""
from judges import ShortAnswer, get_judge
target = ShortAnswer("y")
get_judge("llm", **{settings!r}).ask("x", target, get_judge().judge("x", target))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=15)

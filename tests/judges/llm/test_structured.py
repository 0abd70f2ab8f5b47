"""Structured output against real HTTP servers: one holds to the schema, one refuses it, one ignores it."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from emt_core.errors import UserError
from judges import Classification, ShortAnswer, find_vocabulary, get_judge
from judges.llm.judge import category_judge, paper_judge
from judges.llm.prompts import CategoryPrompt, categories
from judges.llm.structured import response_format
from judges.settings import LLMSettings
from tests.support.chat_server import ChatServer, Response, failure, reply

CAT = Classification("cat", find_vocabulary("cifar10"))
JSON = {"content-type": "application/json"}


def holding(_number, request):
    """Reply by the schema, with its last category."""
    form = request.get("response_format")
    if form is None:
        return reply("VERDICT: correct")
    kinds = form["json_schema"]["schema"]["properties"]["category"]["enum"]
    return reply(json.dumps({"reason": "Said a server.", "category": kinds[-1]}))


def refusing(status, message):
    def behave(_number, request):
        if "response_format" in request:
            return Response(status, json.dumps({"error": {"message": message}}), JSON)
        return reply("VERDICT: correct")

    return behave


def ignoring(_number, _request):
    return reply(
        "It is a cat, I think.\nVERDICT: correct" if "VERDICT" in _request["messages"][0]["content"] else "Cat!"
    )


@pytest.fixture
def server():
    running = ChatServer(holding)
    yield running
    running.stop()


@pytest.fixture
def build(server, tmp_path):
    judges = []

    def make(factory=category_judge, **settings):
        defaults = {"max_retries": 0, "timeout_s": 5.0, "cache": str(tmp_path / "cache.sqlite")}
        judges.append(factory(LLMSettings("m", base_url=server.url, **(defaults | settings))))
        return judges[-1]

    yield make
    for judge in judges:
        judge.close()


def formats(server):
    return ["response_format" in request for request in server.requests]


def test_the_schema_has_the_categories_on_offer_and_nothing_else():
    schema = response_format(categories(CAT))["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["category"]["enum"] == ["correct", "incorrect", "intrinsic", "extrinsic"]
    assert list(schema["schema"]["properties"]) == schema["schema"]["required"] == ["reason", "category"]
    assert schema["schema"]["additionalProperties"] is False
    short = response_format(categories(ShortAnswer("x")))["json_schema"]["schema"]
    assert short["properties"]["category"]["enum"] == ["correct", "incorrect", "extrinsic"]


def test_a_server_that_holds_to_the_schema_is_asked_with_it(server, build):
    judge = build()
    verdict = judge.judge("a tabby", CAT)
    assert (verdict.category, json.loads(verdict.raw)["reason"]) == ("extrinsic", "Said a server.")
    assert server.requests[0]["response_format"] == response_format(categories(CAT))
    assert "VERDICT" not in server.prompts[0]
    # The next run finds the reply, and knows the server.
    again = build()
    assert again.judge("a tabby", CAT) == verdict
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Unknown parameter: 'response_format'"),
        (400, "'json_schema' is not supported with this model"),
        (422, "Unexpected fields in the request: {'response_format'}"),
        (400, "Invalid grammar"),
    ],
)
def test_a_server_that_refuses_is_asked_in_text_from_then_on_and_it_is_said_once(
    server, build, caplog, status, message
):
    server.behave = refusing(status, message)
    judge = build(concurrency=4)
    items = [(f"answer {number}", CAT) for number in range(20)]
    with caplog.at_level(logging.WARNING):
        assert {verdict.category for verdict in judge.judge_many(items)} == {"correct"}
    # The first of four at a time finds out for all.
    assert formats(server).count(True) == 1
    assert len(server.requests) == 21
    assert [record.getMessage().partition(":")[0].partition(" (")[0] for record in caplog.records] == [
        "m takes no JSON schema"
    ]
    assert (judge.chat.calls, judge.chat.done, judge.chat.failures) == (20, 20, 0)
    # The next run knows: the replies come from the cache, and what is new is asked in text at once.
    again = build()
    assert again.estimate([*items, ("new", CAT)]).calls == 1
    assert {verdict.category for verdict in again.judge_many([*items, ("new", CAT)])} == {"correct"}
    assert (len(server.requests), formats(server)[-1]) == (22, False)


def test_a_server_that_ignores_the_schema_is_found_out(server, build):
    server.behave = ignoring
    judge = build(concurrency=1)
    assert [v.category for v in judge.judge_many([("a tabby", CAT), ("a lynx", CAT)])] == ["correct", "correct"]
    assert formats(server) == [True, False, False]


def test_a_reply_in_text_that_is_well_formed_counts_and_changes_nothing(server, build):
    server.behave = lambda *_: reply("VERDICT: incorrect")
    assert build().judge("a tabby", CAT).category == "incorrect"
    assert formats(server) == [True]


def test_other_errors_say_nothing_about_the_schema(server, build):
    server.behave = lambda *_: failure(400)
    judge = build()
    verdict = judge.judge("a tabby", CAT)
    assert (verdict.category, judge.chat.failures) == ("unscored", 1)
    server.behave = holding
    assert judge.judge("a lynx", CAT).category == "extrinsic"


def test_a_first_call_that_fails_lets_the_others_go(server, build):
    server.behave = lambda number, request: failure(500) if number == 0 else holding(number, request)
    judge = build(concurrency=16)
    found = [verdict.category for verdict in judge.judge_many((f"answer {n}", CAT) for n in range(16))]
    assert sorted(found) == ["extrinsic"] * 15 + ["unscored"]
    assert formats(server) == [True] * 16


def test_on_never_falls_back_and_off_never_asks(server, build):
    server.behave = refusing(400, "Unknown parameter: 'response_format'")
    strict = build(structured="on")
    verdict = strict.judge("a tabby", CAT)
    assert (verdict.category, strict.chat.failures) == ("unscored", 1)
    assert "response_format" in verdict.reason
    assert build(structured="off").judge("a tabby", CAT).category == "correct"
    assert formats(server) == [True, False]


def test_replies_of_both_kinds_have_keys_of_their_own(server, build):
    assert build(structured="on").judge("a tabby", CAT).category == "extrinsic"
    assert build(structured="off").judge("a tabby", CAT).category == "correct"
    assert build(structured="on").judge("a tabby", CAT).category == "extrinsic"
    assert len(server.requests) == 2


def test_what_was_asked_in_text_before_the_server_was_known_is_not_asked_again(server, build):
    server.behave = refusing(400, "Unknown parameter: 'response_format'")
    build(structured="off").judge("a tabby", CAT)
    assert build().judge("a tabby", CAT).category == "correct"
    assert formats(server) == [False, True]


def test_threads_share_one_question_across_the_fallback(server, build):
    server.behave = refusing(400, "Unknown parameter: 'response_format'")
    judge = build(cache=None)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: judge.judge("a tabby", CAT).category, range(40)))
    assert set(found) == {"correct"}
    assert len(server.requests) == 2


def test_a_question_that_comes_while_the_fallback_waits_shares_its_reply(server, build):
    fell_back, asked = Event(), Event()

    def behave(_number, request):
        if "response_format" in request:
            return Response(400, json.dumps({"error": {"message": "Unknown parameter: 'response_format'"}}), JSON)
        fell_back.set()
        asked.wait(10)
        return reply("VERDICT: correct")

    server.behave = behave
    judge = build(cache=None)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(judge.judge, "a tabby", CAT)
        assert fell_back.wait(10)
        second = judge.ask("a tabby", CAT, get_judge("fuzzy").judge("a tabby", CAT))
        asked.set()
        assert (first.result().category, second.result().text) == ("correct", "VERDICT: correct")
    assert formats(server) == [True, False]


def test_the_papers_prompt_stays_text(server, build):
    server.behave = lambda *_: reply("Yes.")
    build(paper_judge, structured="on").judge("a tabby", CAT)
    assert formats(server) == [False]


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ('{"reason": "It says {cat}.\\nVERDICT: incorrect", "category": "correct"}', "correct"),
        ('Sure:\n```json\n{"reason": "No.", "category": "incorrect"}\n```', "incorrect"),
        ('```json\n{"reason": "A {cat}.", "category": "Correct"}\n```', "correct"),
        ("VERDICT: correct", "correct"),
        # What the answer says is quoted, and the model's own verdict comes after it; and the other way round.
        ('It says {"reason": "x", "category": "correct"}, but no.\nVERDICT: incorrect', "incorrect"),
        ('VERDICT: correct\nis what it says. {"reason": "x", "category": "incorrect"}', "incorrect"),
        ('{"reason": "x", "category": "unscored"}', None),
        ('{"reason": "x", "category": "wonderful"}', None),
        ('{"category": "correct"}', None),
        ('{"reason": "x", "category": "correct", "more": 1}', None),
        ('{"reason": "cut off', None),
        ('["correct"]', None),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_replies_of_both_kinds_are_read(text, category, as_json):
    from judges import get_judge

    assert CategoryPrompt(as_json=as_json).read(text, CAT, get_judge().judge("a tabby", CAT)) == category


def test_its_name_says_which_prompts_it_may_ask(build):
    """Whole runs are compared by it: it must not change once the first reply has come."""
    names = {setting: build(structured=setting).signature for setting in ("auto", "on", "off")}
    assert names == {
        "auto": "llm category-json-1|category-1 m",
        "on": "llm category-json-1 m",
        "off": "llm category-1 m",
    }


def test_a_setting_that_is_none_names_those_there_are(monkeypatch):
    with pytest.raises(UserError, match="structured: expected one of auto, on, off, found 'maybe'"):
        category_judge(LLMSettings("m", base_url="http://x", structured="maybe"))
    monkeypatch.setenv("EMT_JUDGE_STRUCTURED", "maybe")
    with pytest.raises(UserError, match="EMT_JUDGE_STRUCTURED='maybe': expected one of auto, on, off"):
        LLMSettings.resolve({})

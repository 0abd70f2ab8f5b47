"""A panel of models against a real HTTP server: how votes decide, what is kept, what failures and limits do."""

from __future__ import annotations

import re

import pytest

from emt_core.errors import UserError
from judges import Classification, find_vocabulary, get_judge
from judges.llm.panel import PanelJudge, majority
from judges.settings import PanelSettings
from tests.support.chat_server import ChatServer, failure, reply

CAT = Classification("cat", find_vocabulary("cifar10"))
C, W, N, E, U = "correct", "incorrect", "intrinsic", "extrinsic", "unscored"


@pytest.fixture
def server():
    """Each model says what its name says; `broken` fails, `mute` is off the format."""

    def behave(_number, request):
        model = request["model"]
        if model == "broken":
            return failure(500)
        return reply("Meow." if model == "mute" else f"VERDICT: {re.sub('[0-9]', '', model)}")

    running = ChatServer(behave)
    yield running
    running.stop()


@pytest.fixture
def panel(server, tmp_path):
    judges = []

    def make(*models, **settings):
        defaults = {"base_url": (server.url,), "max_retries": 0, "cache": str(tmp_path / "c.sqlite")}
        judges.append(PanelJudge(PanelSettings(models, **(defaults | settings))))
        return judges[-1]

    yield make
    for judge in judges:
        judge.close()


@pytest.mark.parametrize(
    ("votes", "decided"),
    [
        ((C, C, C), C),
        ((C, W, C), C),
        ((C, W, N), None),
        ((C, C, U), C),
        ((C, W, U), None),
        ((C, U, U), None),  # one of three is no majority of the panel
        ((C, C), C),
        ((C, U), None),
        ((C, C, W, W), None),
        ((C, C, W, N, U), None),  # two of four votes
        ((C, C, W, U, U), C),  # two of three votes, and three of five voted
        ((C, C, None), C),
        ((U, U, U), None),
        ((), None),
    ],
)
def test_majority(votes, decided):
    assert majority(votes) == decided


def test_the_majority_decides_and_each_vote_is_kept(panel):
    verdict = panel("correct1", "incorrect", "correct2").judge("a tabby", CAT)
    assert (verdict.category, verdict.confidence) == (C, pytest.approx(2 / 3, abs=1e-6))
    assert verdict.judge == "panel:correct1,incorrect,correct2"
    assert verdict.reason == "correct: correct1, correct2; incorrect: incorrect; the rules say correct."
    assert [(vote.judge, vote.category, vote.raw) for vote in verdict.votes] == [
        ("llm:correct1", C, "VERDICT: correct"),
        ("llm:incorrect", W, "VERDICT: incorrect"),
        ("llm:correct2", C, "VERDICT: correct"),
    ]
    assert verdict.as_dict()["votes"][1]["raw"] == "VERDICT: incorrect"
    assert [match.label for match in verdict.matches] == ["cat"]


def test_who_fails_or_is_off_the_format_does_not_vote(panel):
    judge = panel("correct1", "broken", "correct2")
    verdict = judge.judge("a tabby", CAT)
    assert (verdict.category, verdict.confidence) == (C, 1.0)
    assert [vote.category for vote in verdict.votes] == [C, U, C]
    assert "InternalServerError" in verdict.votes[1].reason
    assert [chat.failures for chat in judge.chats] == [0, 1, 0]
    muted = panel("correct1", "mute", "broken").judge("a tabby", CAT)
    assert (muted.category, muted.confidence) == (U, 0.0)
    assert muted.reason == "No majority (correct: correct1; unscored: mute, broken)."
    assert muted.votes[1].raw == "Meow."


def test_without_a_majority_it_is_unscored(panel):
    verdict = panel("correct", "incorrect", "extrinsic").judge("a tabby", CAT)
    assert verdict.category == U
    assert verdict.reason == "No majority (correct: correct; incorrect: incorrect; extrinsic: extrinsic)."
    assert set(verdict.metrics().values()) == {None, 1.0}


def test_the_estimate_is_the_sum_and_the_cache_is_shared_with_each_model_alone(panel, server):
    items = [("a tabby", CAT), ("a lynx", CAT), ("a lynx", CAT)]
    judge = panel("correct1", "correct2", "incorrect", price_in=(1.0, 2.0, 3.0))
    cost = judge.estimate(items)
    alone = [member.estimate(items) for member in judge.members]
    assert (cost.answers, cost.calls, cost.cached) == (3, 6, 0)
    assert cost.prompt_tokens == sum(one.prompt_tokens for one in alone) == 3 * alone[0].prompt_tokens
    assert cost.money == pytest.approx(6 * alone[0].money)
    assert len(list(judge.judge_many(items))) == 3
    assert len(server.requests) == 6
    # Another model joins: only it is asked.
    assert panel("correct1", "correct2", "extrinsic").estimate(items).calls == 2
    single = get_judge("llm", model="correct1", base_url=server.url, cache=judge.settings.cache)
    assert single.estimate(items).calls == 0
    single.close()


def test_no_more_calls_than_allowed_by_all_models_together(panel, server):
    verdicts = list(panel("correct1", "correct2", max_calls=3).judge_many((f"answer {n}", CAT) for n in range(3)))
    assert [verdict.category for verdict in verdicts] == [C, U, U]
    assert "limit of 3 calls" in verdicts[2].votes[0].reason
    assert len(server.requests) == 3


def test_each_model_may_have_its_own_server_and_key_and_no_server_gets_anothers(server, monkeypatch):
    other = ChatServer(lambda *_: reply("VERDICT: correct"))
    for name, value in {
        "MODEL": "correct1, correct2,correct3",
        "BASE_URL": f"{server.url},{other.url},{server.url}",
        "API_KEY": "first,,third",
        "PRICE_IN": "1,2,3",
        "PRICE_OUT": "4",
        "CACHE": "off",
        "RETRIES": "0",
    }.items():
        monkeypatch.setenv(f"EMT_JUDGE_{name}", value)
    judge = get_judge("panel")
    assert [(chat.settings.price_in, chat.settings.price_out) for chat in judge.chats] == [(1, 4), (2, 4), (3, 4)]
    assert judge.judge("a tabby", CAT).category == C
    judge.close()
    other.stop()
    assert {(request["model"], request["authorization"]) for request in server.requests} == {
        ("correct1", "Bearer first"),
        ("correct3", "Bearer third"),
    }
    assert [(request["model"], request["authorization"]) for request in other.requests] == [("correct2", "Bearer none")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ()}, "expected two models or more, found nothing"),
        ({"model": ("a",)}, "expected two models or more, found a"),
        ({"model": ("a", "b", "a")}, "expected models of different names, found 'a', 'b', 'a'"),
        ({"model": ("a", "")}, "expected models of different names, found 'a', ''"),
        ({"base_url": ("http://x", "http://y")}, "base_url: expected 1 value, or one for each model, found 2"),
        ({"base_url": ("http://x", "http://y", "http://x"), "api_key": ("k",)}, "1 API key for 2 servers"),
    ],
)
def test_what_does_not_fit_is_one_line(settings, message):
    given = {"model": ("a", "b", "c"), "base_url": ("http://x",), **settings}
    with pytest.raises(UserError, match=f"^panel: {message}"):
        PanelSettings(**given).members()


def test_its_name_tells_the_models_and_their_prompts(panel):
    assert panel("a", "b", structured="on").signature == "panel llm category-json-1 a + llm category-json-1 b"

"""The cascade: how seldom it asks a language model, and what stands when it cannot."""

from __future__ import annotations

import random

import pytest

from judges import Classification, find_vocabulary, get_judge
from judges.llm.cascade import CascadeJudge
from judges.settings import CascadeSettings
from tests.support.chat_server import ChatServer, failure, reply

CIFAR = find_vocabulary("cifar10")
RULES = get_judge("fuzzy")
# The rules' confidence tells sure from unsure; the threshold between these two is found, not assumed.
SURE, UNSURE = "a dog", "It resembles some kind of ungulate, perhaps"


def settings(server=None, **given) -> CascadeSettings:
    defaults = {"model": "m", "base_url": server.url if server else None, "cache": None, "max_retries": 0}
    return CascadeSettings(**(defaults | given))


@pytest.fixture
def server():
    running = ChatServer(lambda *_: reply("VERDICT: incorrect"))
    yield running
    running.stop()


def target(label="dog"):
    return Classification(label, CIFAR)


def confidence(prediction):
    return RULES.judge(prediction, target()).confidence


def test_only_what_the_rules_are_unsure_of_is_asked(server):
    between = (confidence(SURE) + confidence(UNSURE)) / 2
    judge = CascadeJudge(settings(server, threshold=between))
    sure, unsure = judge.judge_many([(SURE, target()), (UNSURE, target())])
    judge.close()
    assert (sure.category, sure.judge) == ("correct", "fuzzy")
    assert (unsure.category, unsure.judge) == ("incorrect", "llm:m")
    assert len(server.requests) == 1
    assert UNSURE in server.prompts[0]


def test_ten_thousand_answers_of_a_fine_tuned_model(server):
    """A fine-tuned model says few distinct things; at most 2 % as many calls as answers are allowed."""
    drawn = random.Random(0)
    plain = [f"The object in the image is a {name}." for name in CIFAR.names]
    odd = [f"The image shows something blurry, number {n}" for n in range(40)]
    items = [
        (drawn.choice(odd) if drawn.random() < 0.3 else drawn.choice(plain), target(drawn.choice(CIFAR.names[:3])))
        for _ in range(10_000)
    ]
    judge = CascadeJudge(settings(server, threshold=confidence(odd[0]) + 1e-6))
    verdicts = list(judge.judge_many(items))
    judge.close()
    asked = {(p, t.label) for p, t in items if RULES.judge(p, t).confidence < judge.settings.threshold}
    assert len(asked) == 120  # 40 odd answers × 3 labels
    assert len(server.requests) == len(asked) <= 0.02 * len(items)
    assert [v.category for v in verdicts] == [
        "incorrect" if (p, t.label) in asked else RULES.judge(p, t).category for p, t in items
    ]


def test_without_a_server_the_rules_stand_and_it_says_what_it_would_have_asked(caplog):
    judge = CascadeJudge(settings(threshold=2.0))
    items = [(SURE, target()), (UNSURE, target()), (UNSURE, target())]
    assert list(judge.judge_many(items)) == [RULES.judge(*item) for item in items]
    assert judge.estimate(items).calls == 0
    judge.close()
    judge.close()
    assert [record.getMessage().split(" and no LLM")[0] for record in caplog.records] == [
        "cascade: the rules were unsure of 2 distinct answers"
    ]


def test_where_the_server_fails_the_answer_is_unscored(server):
    server.behave = lambda *_: failure(500)
    judge = CascadeJudge(settings(server, threshold=2.0))
    verdict = judge.judge(UNSURE, target())
    judge.close()
    assert verdict.category == "unscored"
    assert "InternalServerError" in verdict.reason


def test_where_the_limit_of_calls_is_reached_the_rules_stand(server):
    judge = CascadeJudge(settings(server, threshold=2.0, max_calls=1))
    first, second = judge.judge_many([(UNSURE, target()), (SURE, target())])
    judge.close()
    assert (first.judge, second) == ("llm:m", RULES.judge(SURE, target()))


def test_the_estimate_is_what_happens(server):
    judge = CascadeJudge(settings(server, threshold=2.0))
    items = [(SURE, target()), (UNSURE, target()), (UNSURE, target())]
    estimate = judge.estimate(items)
    assert server.requests == []
    list(judge.judge_many(items))
    judge.close()
    assert (estimate.answers, estimate.calls) == (3, len(server.requests)) == (3, 2)

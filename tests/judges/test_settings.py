"""Settings of the judges: given, from the environment, by default."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from judges import get_judge
from judges.llm.chat import Chat
from judges.settings import CascadeSettings, EmbeddingSettings, JudgeSettings, LLMSettings, PanelSettings

VARIABLES = ("EMT_JUDGE_MODEL", "EMT_JUDGE_BASE_URL", "OPENAI_BASE_URL", "EMT_JUDGE_API_KEY", "OPENAI_API_KEY")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_defaults(tmp_path):
    settings = LLMSettings.resolve({})
    assert (settings.model, settings.base_url, settings.api_key) == (None, None, None)
    assert settings.cache == str(tmp_path / "emt-eval" / "judge.sqlite")
    assert not settings.configured


def test_what_is_given_goes_before_the_environment_and_ours_before_openais(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://openai/v1")
    assert LLMSettings.resolve({}).base_url == "http://openai/v1"
    monkeypatch.setenv("EMT_JUDGE_BASE_URL", "http://ours/v1")
    assert LLMSettings.resolve({"base_url": None}).base_url == "http://ours/v1"
    assert LLMSettings.resolve({"base_url": "http://given/v1"}).base_url == "http://given/v1"


@pytest.mark.parametrize(
    ("given", "configured"),
    [
        ({"model": "m"}, False),
        ({"base_url": "http://x"}, False),
        ({"model": "m", "base_url": "http://x"}, True),
        ({"model": "m", "api_key": "k"}, True),
    ],
)
def test_configured(given, configured):
    assert LLMSettings.resolve(given).configured is configured


def test_values_are_read_by_their_type(monkeypatch):
    for name, text in [("CACHE", "off"), ("TIMEOUT", "2.5"), ("MAX_CALLS", "0"), ("THRESHOLD", "0.9")]:
        monkeypatch.setenv(f"EMT_JUDGE_{name}", text)
    settings = CascadeSettings.resolve({})
    assert (settings.cache, settings.timeout_s, settings.max_calls, settings.threshold) == (None, 2.5, 0, 0.9)
    monkeypatch.setenv("EMT_JUDGE_EMBEDDING", "some/model")
    assert EmbeddingSettings.resolve({}).model == "some/model"


def test_a_panel_has_a_value_for_each_model_or_one_for_all(monkeypatch):
    for name, text in [("MODEL", "a, b,c"), ("BASE_URL", "http://x"), ("API_KEY", "k"), ("PRICE_IN", "1,2,0.5")]:
        monkeypatch.setenv(f"EMT_JUDGE_{name}", text)
    settings = PanelSettings.resolve({"max_calls": 7})
    assert (settings.model, settings.base_url, settings.price_out) == (("a", "b", "c"), ("http://x",), (0.0,))
    assert settings.members() == tuple(
        LLMSettings(model, "http://x", "k", price, cache=settings.cache, max_calls=7)
        for model, price in (("a", 1.0), ("b", 2.0), ("c", 0.5))
    )
    assert "'k'" not in repr(settings)
    # Given values may be lists, or one value; they come before the environment.
    assert PanelSettings.resolve({"model": ["d", "e"], "base_url": "http://y"}).base_url == ("http://y",)


def test_a_judge_of_one_model_takes_one(monkeypatch):
    assert LLMSettings.resolve({"model": ["a"]}).model == "a"
    with pytest.raises(UserError, match="judge 'llm': model: expected one, found 2: a, b; 'panel' takes several"):
        get_judge("llm", model=["a", "b"])
    monkeypatch.setenv("EMT_JUDGE_MODEL", "a,b")
    with pytest.raises(
        UserError, match="EMT_JUDGE_MODEL='a,b': expected one model; only the judge 'panel' asks several"
    ):
        LLMSettings.resolve({})


@pytest.mark.parametrize(
    ("name", "text"), [("TIMEOUT", "soon"), ("TIMEOUT", "nan"), ("RETRIES", "-1"), ("CONCURRENCY", "1.5")]
)
def test_a_wrong_number_names_its_variable(monkeypatch, name, text):
    monkeypatch.setenv(f"EMT_JUDGE_{name}", text)
    with pytest.raises(UserError, match=f"EMT_JUDGE_{name}='{text}': expected a non-negative number"):
        LLMSettings.resolve({})


def test_an_unknown_setting_names_those_that_exist():
    with pytest.raises(UserError, match="unknown setting 'modle'; choose from model, base_url"):
        LLMSettings.resolve({"modle": "m"})
    with pytest.raises(UserError, match="judge 'fuzzy': unknown setting 'model'; choose from none"):
        get_judge("fuzzy", model="m")
    assert JudgeSettings.resolve({}) == JudgeSettings()


def test_a_base_url_without_scheme_is_named():
    with pytest.raises(UserError, match="base URL 'localhost:8000/v1' of the LLM judge: expected http"):
        Chat(LLMSettings(model="m", base_url="localhost:8000/v1"))

"""The recipe as it is printed: valid YAML, each reason above its field, each source in full once."""

from __future__ import annotations

import yaml

from finetune.advice.recipe import COMMENT, WIDTH, propose, written
from finetune.recipes.files import read
from tests.finetune.advice.test_rules import facts


def test_reading_it_gives_what_was_proposed(tmp_path) -> None:
    proposals, fields = propose(facts(), ["steps=70", "schedule.warmup=0.1", "regularise={}"])
    text = written(fields, proposals, ["Advice", "", "- a line"])
    assert yaml.safe_load(text) == fields
    file = tmp_path / "advised.yaml"
    file.write_text(text)
    recipe = read(str(file))
    assert recipe.steps == 70 and recipe.schedule.warmup == 0.1
    assert max(map(len, text.splitlines())) <= WIDTH
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= COMMENT


def test_a_reason_stands_above_its_field_and_a_source_once() -> None:
    proposals, fields = propose(facts(), [])
    lines = written(fields, proposals, ["Advice"]).splitlines()
    start = lines.index("train:")
    assert lines[start - 1].startswith("#   ")
    block = lines[:start][::-1]
    assert any(line.startswith("# The language model's attention alone, here 30.0 % of the weights") for line in block)
    whole = " ".join(line.lstrip("# ") for line in lines)
    assert whole.count("+24.9 and -0.6") == 1
    assert "arXiv 2603.14493, figure 2: as above." in whole


def test_what_is_given_is_said_with_the_advice_that_it_replaces() -> None:
    proposals, fields = propose(facts(), ["train=projector", "probe.stop=1", "steps=10"])
    text = " ".join(line.lstrip("# ") for line in written(fields, proposals, []).splitlines())
    assert "train=projector is given. The advice was train: {llm_attention: {}}. The language model's" in text
    assert "probe.stop=1 is given. Watches a task" in text
    assert "steps=10 is given. The advice was epochs: 1." in text
    assert "epochs:" not in yaml.safe_load(written(fields, proposals, []))


def test_what_is_left_out_says_why() -> None:
    proposals, fields = propose(facts(watched=(), evaluated=()), [])
    text = written(fields, proposals, [])
    assert "# No probe: nothing to watch" in text
    assert "probe" not in yaml.safe_load(text)

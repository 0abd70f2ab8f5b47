"""The summary in Markdown: the verdict, the picture and the table, and nothing of a name is markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from emt_core.runs import read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.summary import summarise
from leaderboards.gate.annotations import workflow_commands
from leaderboards.gate.decide import GateResult, decide
from leaderboards.gate.policy import Policy
from leaderboards.gate.untested import Untested
from leaderboards.report.charts import make_axis
from leaderboards.report.forest import Forest, Line, as_svg, as_text, of_comparison, of_gate, of_run
from leaderboards.report.summary import as_markdown
from leaderboards.statistics import Interval
from tests.support.synthetic_runs import judged_sample, write_run

HOSTILE = "<img src=x onerror=alert(1)> |`]*_ ``` [a](javascript:b) &lt; \r\n::error::x"


@pytest.fixture(scope="module")
def gated(tmp_path_factory) -> GateResult:
    """Of 400 answers of one task the candidate lost 100, of the other none; one more task has no data."""
    folder = tmp_path_factory.mktemp("runs")
    odd = "odd <b>|`*_"
    for name, lost in (("base", 0), ("tuned", 100)):
        rows = [judged_sample(i, "incorrect" if i < lost else "correct") for i in range(400)]
        other = [judged_sample(i, "correct") for i in range(400)]
        write_run(folder / name, {"flowers102": rows, odd: other}, name=name)
    comparison = compare(read_run(folder / "base"), read_run(folder / "tuned"))
    result = decide(comparison, Policy(margin=5.0))
    return replace(result, untested=(Untested("imagenet_vqa", "idt_idi", "accept <its> terms"),))


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)


def test_a_picture_in_characters_to_the_column():
    # The axis runs from 0 to 44: a point is a column.
    axis = make_axis([0.0, 44.0])
    axis = replace(axis, low=0.0, high=44.0, ticks=(0.0, 22.0, 44.0))
    value = Interval(10.0, 8.0, 12.0, 100, 0.9, "exact")
    picture = as_text(Forest("points", (Line("a", value, 5.0, "forgetting"), Line("bb", None)), axis))
    assert picture.splitlines() == [
        "✗ a   10.0 (8.0 to 12.0)  │    ┊  ━━●━━",
        "  bb                   –  │",
        "                          ┴─────────────────────┴─────────────────────┴",
        "                          0                    22                    44",
        "                          points",
    ]


def test_a_name_stays_in_its_row():
    """In the summary the picture is fenced: a row that began with three backticks would end it."""
    axis = make_axis([0.0, 10.0])
    rows = Forest("points", (Line("a\n```\n" + "b" * 40, None),), axis)
    assert as_text(rows).splitlines()[0] == "  a ``` " + "b" * 21 + "…  –  │"
    assert len(as_text(rows).splitlines()) == 1 + 3


def test_the_table_has_each_task_and_what_was_not_tested(gated):
    text = as_markdown([("tuned", gated)])
    lines = text.splitlines()
    assert lines[0] == "## ❌ FORGETTING: tuned"
    assert lines[2].startswith(
        "FAIL: tuned forgot more than is allowed on flowers102. NOT TESTED, for lack of data: idt"
    )
    rows = [line.replace("\N{NO-BREAK SPACE}", " ").split(" | ")[:2] for line in lines if line.startswith("| ")]
    assert rows[2:] == [
        ["| flowers102", "❌ **FORGETTING**"],
        ["| odd \\<b\\>\\|\\`\\*\\_", "✅ pass"],
        ["| imagenet\\_vqa", "⚠️ **NOT TESTED**"],
    ]
    assert "- NOT TESTED: imagenet\\_vqa (idt\\_idi): accept \\<its\\> terms" in lines


def test_a_name_is_text_wherever_it_stands(gated):
    html = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(as_markdown([(HOSTILE, gated)]))
    assert Tags(html).found <= {
        *("h2", "p", "pre", "code", "table", "thead", "tbody", "tr", "th", "td", "strong"),
        *("details", "summary", "ul", "li", "em"),
    }
    svg = as_svg(of_gate(replace(gated, units=tuple(replace(unit, name=HOSTILE) for unit in gated.units))))
    assert "img" not in Tags(svg).found
    commands = list(workflow_commands([(HOSTILE, gated)]))
    assert all(command.startswith("::") and "\n" not in command and "\r" not in command for command in commands)
    assert [command.split(" ")[0] for command in commands] == ["::error", "::error", "::warning"]


def test_pictures_of_comparisons_and_runs_have_a_row_for_each_task(gated):
    for forest in (of_gate(gated), of_comparison(gated.comparison), of_run(summarise(gated.comparison.base))):
        svg = as_svg(forest, standalone=False)
        assert svg.count("<circle") == 2
        assert "currentColor" in svg
        assert len(as_text(forest).splitlines()) == 2 + 3

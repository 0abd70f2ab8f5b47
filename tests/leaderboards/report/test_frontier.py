"""The frontier as a picture: well-formed, each model on it, and nothing taken as markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from leaderboards.report.frontier import Point, draw
from leaderboards.statistics import Interval

SVG = "{http://www.w3.org/2000/svg}"


def about(estimate: float, half: float | None = 0.0) -> Interval:
    lower, upper = (None, None) if half is None else (estimate - half, estimate + half)
    return Interval(estimate, lower, upper, 100, 0.95, "by hand")


def named(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The models' groups by the names in their titles; the legend's have none."""
    return {
        title.text.split(":")[0]: group
        for group in root.iter(f"{SVG}g")
        if (title := group.find(f"{SVG}title")) is not None
    }


def test_places_and_bars_by_hand():
    """Learned from 0 to 100 and losses from 0 to 10 fill a picture of 640 by 360: 50 and 5 are its middle."""
    points = [
        Point("base", about(0.0), about(0.0), 100, True, label="base"),
        Point("half", about(50.0, 10.0), about(5.0, 1.0), 100, False, chosen=True, label="chosen"),
        Point("candidate", about(100.0), about(10.0, None), 32, False, label="candidate"),
    ]
    root = ElementTree.fromstring(draw(points, 4.0))
    groups = named(root)
    circles = {name: group.find(f"{SVG}circle") for name, group in groups.items()}
    assert {name: (float(one.get("cx")), float(one.get("cy"))) for name, one in circles.items()} == {
        "base": (0.0, 0.0),
        "half": (320.0, 180.0),
        "candidate": (640.0, 360.0),
    }
    across, up = groups["half"].findall(f"{SVG}line")
    assert [float(across.get(key)) for key in ("x1", "x2")] == pytest.approx([256.0, 384.0])  # 40 and 60 %
    assert [float(up.get(key)) for key in ("y1", "y2")] == pytest.approx([216.0, 144.0])  # 6 and 4 points lost
    assert len(groups["candidate"].findall(f"{SVG}line")) == 1  # what it lost has no interval
    # The chosen one on top; those that may not pass are hollow.
    assert [group.get("class") for group in groups.values()] == ["all", "few open", "chosen open"]
    (margin,) = [line for line in root.iter(f"{SVG}line") if line.get("class") == "margin"]
    assert float(margin.get("y1")) == pytest.approx(144.0)
    (within,) = [area for area in root.iter(f"{SVG}rect") if area.get("class") == "within"]
    assert (float(within.get("y")), float(within.get("height"))) == (0.0, pytest.approx(144.0))


def test_without_one_margin_nothing_is_marked():
    root = ElementTree.fromstring(draw([Point("base", about(0.0), about(0.0), 10, True)], None))
    assert not {"margin", "within"} & {one.get("class") for one in root.iter()}


def test_a_margin_of_nothing_is_drawn():
    """At 0, where nothing may be lost, and not taken for no margin."""
    root = ElementTree.fromstring(draw([Point("candidate", about(90.0), about(10.0), 10, False)], 0.0))
    (margin,) = [line for line in root.iter(f"{SVG}line") if line.get("class") == "margin"]
    assert float(margin.get("y1")) == 0.0


def test_a_name_is_text():
    root = ElementTree.fromstring(draw([Point("<script>&", about(1.0), about(0.0), 10, True, label="<b>")], None))
    assert not list(root.iter(f"{SVG}script")) and "<b>" in {text.text for text in root.iter(f"{SVG}text")}

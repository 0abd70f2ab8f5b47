"""The frontier as a picture: well-formed, each model on it, and nothing taken as markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from leaderboards.report.frontier import Point, draw

SVG = "{http://www.w3.org/2000/svg}"


def test_places_and_bars_by_hand():
    """Learned from 0 to 100 and changes from -10 to 0 fill a picture of 640 by 360: 50 and -5 are its middle."""
    points = [
        Point("base", 0.0, 0.0, 0.0, 0.0, 100, label="base"),
        Point("half", 50.0, -5.0, 10 / 1.96, 1 / 1.96, 100, chosen=True, label="chosen"),
        Point("candidate", 100.0, -10.0, 0.0, 0.0, 32, label="candidate"),
    ]
    root = ElementTree.fromstring(draw(points, 4.0))
    groups = {group.find(f"{SVG}title").text.split(":")[0]: group for group in root.iter(f"{SVG}g")}
    circles = {name: group.find(f"{SVG}circle") for name, group in groups.items()}
    assert {name: (float(one.get("cx")), float(one.get("cy"))) for name, one in circles.items()} == {
        "base": (0.0, 0.0),
        "half": (320.0, 180.0),
        "candidate": (640.0, 360.0),
    }
    across, up = groups["half"].findall(f"{SVG}line")
    assert [float(across.get(key)) for key in ("x1", "x2")] == pytest.approx([256.0, 384.0])  # 40 and 60 %
    assert [float(up.get(key)) for key in ("y1", "y2")] == pytest.approx([216.0, 144.0])  # -6 and -4 points
    assert [group.get("class") for group in groups.values()] == ["all", "few", "chosen"]  # the chosen one on top
    (margin,) = [line for line in root.iter(f"{SVG}line") if line.get("class") == "margin"]
    assert float(margin.get("y1")) == pytest.approx(144.0)


def test_a_name_is_text():
    root = ElementTree.fromstring(draw([Point("<script>&", 1.0, 0.0, 0.0, 0.0, 10, label="<b>")], None))
    assert not list(root.iter(f"{SVG}script")) and "<b>" in {text.text for text in root.iter(f"{SVG}text")}

"""The leaderboard: its table, its command, and the page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import parse_candidates
from leaderboards.site.build import build_site
from tests.support.synthetic_runs import judged_sample, write_run


def _run(folder: Path, name: str, **right: int) -> str:
    rows = {
        task: [judged_sample(i, "correct" if i < n else "unscored" if i == 199 else "incorrect") for i in range(200)]
        for task, n in right.items()
    }
    return str(write_run(folder / name, rows, name="<i>model").parent)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two candidates against a base, beside the published results."""
    base = _run(tmp_path, "base", emt_mnist=100, imagenet_vqa=120)
    good = _run(tmp_path, "good", emt_mnist=100, imagenet_vqa=190)
    bad = _run(tmp_path, "bad", emt_mnist=20, imagenet_vqa=190)
    named = parse_candidates([base, good, bad])
    out = tmp_path / "site"
    written = build_site(named[1:], out, base=named[0], policy=Policy(margin=5.0))
    assert [path.relative_to(out).as_posix() for path in written] == [
        "index.html",
        "reports/01-good.html",
        "reports/02-bad.html",
    ]
    return out


def test_the_page_needs_no_other_file(site: Path) -> None:
    page = (site / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src)\s*=|@import|url\(""", page)
    links = set(re.findall(r'href="([^"]+)"', page))
    assert links == {
        "reports/01-good.html",
        "reports/02-bad.html",
        "https://arxiv.org/abs/2309.10313v3",
        "https://arxiv.org/abs/2603.14493",
    }
    assert "&lt;i&gt;model" in page
    assert "<i>model" not in page


def test_it_sorts_filters_and_links(site: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(site / "index.html")
    rows = page.locator("#board tbody tr:visible")
    assert rows.count() == 53
    first = rows.first.inner_text()
    assert "base" in first
    # 100 of 199 scored: 50.3 %, Wilson's interval 43.4 to 57.1.
    assert "50.3\n43.4 to 57.1\nn = 199, 1 unscored" in first
    page.locator("#board th", has_text="emt_mnist").get_by_role("button").click()
    values = [
        float(value) for value in page.locator("#board tbody tr td:nth-child(4)").evaluate_all(_VALUES) if value != ""
    ]
    assert values == sorted(values, reverse=True)
    assert len(values) == 53
    page.uncheck("#published")
    assert page.inner_text("#shown") == "3 of 53 models"
    page.fill("#search", "bad")
    assert rows.count() == 1
    assert "forgetting" in rows.first.inner_text()
    assert rows.first.locator("a").get_attribute("href") == "reports/02-bad.html"
    assert (site / "reports" / "02-bad.html").is_file()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_it_fits(site: Path, open_page: Callable[..., Any], width: int, scheme: str) -> None:
    page = open_page(site / "index.html", width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_base_or_the_papers(tmp_path: Path) -> None:
    runs = parse_candidates([_run(tmp_path, "only", emt_mnist=10)])
    (index,) = build_site(runs, tmp_path / "site", published=False)
    page = index.read_text(encoding="utf-8")
    assert "published" not in page.split("</style>")[1].split("<script>")[0].lower().replace("published numbers", "")
    assert "arXiv" not in page


def test_an_existing_site_is_kept(site: Path, tmp_path: Path) -> None:
    runs = parse_candidates([str(tmp_path / "good")])
    with pytest.raises(UserError, match=r"index\.html already exists"):
        build_site(runs, site)
    build_site(runs, site, overwrite=True)


_VALUES = "cells => cells.map((cell) => cell.dataset.value)"

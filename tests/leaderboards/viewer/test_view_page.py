"""The page in a real headless Chromium, served by the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.leaderboards.viewer.conftest import TASK
from tests.support.hostile import HOSTILE
from tests.support.layout import WIDTHS, faint, faults


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The page's address, as `emt view` prints it."""
    yield from _view(folder)


def _view(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "emt_tasks", "view", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr
    try:
        line = process.stderr.readline()
        found = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/#token=[\w-]{32}) and press Ctrl-C here when done\n", line)
        assert found, line + process.stderr.read()
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (0, "")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


class Tab:
    """One tab, of which errors and requests to elsewhere are kept."""

    def __init__(self, chromium: Any, address: str, query: str = "", width: int = 1440, scheme: str = "light") -> None:
        self.expect = pytest.importorskip("playwright.sync_api").expect
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        self.page = self.context.new_page()
        self.faults: list[str] = []
        url, _, token = address.partition("#")
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        self.page.on(
            "request",
            lambda request: None if request.url.startswith((url, f"blob:{url}")) else self.faults.append(request.url),
        )
        self.page.goto(f"{url}{query}#{token}")

    def _hear(self, said: Any) -> None:
        if not said.text.startswith("Failed to load resource"):  # an image that is not there, which the page says
            self.faults.append(f"console: {said.text}")

    def counts(self, text: str) -> None:
        """Wait until so many samples are counted."""
        self.expect(self.page.locator("#count")).to_have_text(text, timeout=60_000)

    def documents(self) -> list[str]:
        return [link.inner_text().removeprefix("doc_id ") for link in self.page.locator(".flip .id a").all()]

    def close(self) -> None:
        self.context.close()
        assert self.faults == []


def test_the_page_from_the_printed_address_to_a_download(address: str, chromium: Any, tmp_path: Path) -> None:
    tab = Tab(chromium, address)
    page = tab.page
    tab.counts("33 of 33 samples")
    assert "token" not in page.url
    tab.expect(page.locator(".flip img")).to_have_count(3)  # of rows 0 to 2
    unread = page.locator(".flip .noimage").first
    unread.scroll_into_view_if_needed()
    tab.expect(unread).to_have_text("No image: the image cannot be read")

    # Filters, and the address that brings them back.
    page.locator("#tasks tbody tr", has_text=TASK).locator("button", has_text="3").click()
    tab.counts("3 of 33 samples")
    page.select_option("select[name=candidate]", "extrinsic")
    tab.counts("2 of 33 samples")
    assert tab.documents() == ["3", "9"]
    page.keyboard.press("/")
    page.keyboard.type("says 9")
    tab.counts("1 of 33 samples")
    again = Tab.__new__(Tab)
    again.page, again.expect = tab.context.new_page(), tab.expect
    again.page.goto(page.url)  # the same browser needs no token again
    again.counts("1 of 33 samples")
    assert again.page.input_value("input[name=text]") == "says 9"
    page.keyboard.press("Escape")
    page.go_back()
    tab.counts("3 of 33 samples")

    # What is filtered, as a file.
    with page.expect_download() as download:
        page.click("button[data-format=parquet]")
    assert download.value.suggested_filename == "check-samples.parquet"
    download.value.save_as(tmp_path / "some.parquet")
    assert pl.read_parquet(tmp_path / "some.parquet")["doc_id"].to_list() == [3, 6, 9]
    with page.expect_download() as download:
        page.click("button[data-format=csv]")
    assert Path(download.value.path()).read_text().count("\n") == 4

    # A sample's own address.
    page.locator(".flip .id a", has_text="doc_id 6").click()
    tab.counts("1 of 33 samples")
    assert f"task={TASK}" in page.url
    assert "doc=6" in page.url
    tab.close()


def test_keys(address: str, chromium: Any) -> None:
    tab = Tab(chromium, address)
    tab.counts("33 of 33 samples")
    focused = ".flip:focus .id a"
    for keys, expected in (("j", "0"), ("jj", "2"), ("k", "1"), ("k" * 3, "0")):
        for key in keys:
            tab.page.keyboard.press(key)
        assert tab.page.inner_text(focused) == f"doc_id {expected}"
    for _ in range(20):
        tab.page.keyboard.press("j")
    tab.expect(tab.page.locator(focused)).to_have_text("doc_id 20")  # on the second page
    assert "page=1" in tab.page.url
    tab.page.keyboard.press("k")
    tab.expect(tab.page.locator(focused)).to_have_text("doc_id 19")
    tab.page.keyboard.press("]")
    tab.expect(tab.page.locator("#place")).to_have_text("21–33 of 33")
    tab.page.keyboard.press("[")
    tab.expect(tab.page.locator("#place")).to_have_text("1–20 of 33")
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("jk")  # in the search, they are letters
    tab.counts("No such sample")
    tab.close()


def test_without_the_token_the_page_shows_nothing(address: str, chromium: Any) -> None:
    tab = Tab(chromium, address.partition("#")[0] + "#token=guessed")
    tab.expect(tab.page.locator("#failed")).to_have_text(
        "not from this page: open the address that the command printed"
    )
    assert tab.page.locator("section.card:visible").count() == 0
    tab.context.close()


@pytest.fixture
def hostile(folder: Path, tmp_path: Path) -> Iterator[str]:
    """A check whose answers, labels, models, tasks and folders are what a page must not obey."""
    texts = list(HOSTILE.values())
    word = "Donaudampfschifffahrtsgesellschaft" * 5
    name = "<img src=x onerror=alert(1)>'\" & more"
    for side in ("base", "candidate"):
        (results,) = (folder / side).glob("*_results.json")
        (samples,) = (folder / side).glob(f"*_samples_{TASK}.jsonl")
        rows = [json.loads(line) for line in samples.read_text().splitlines()]
        for row in rows:
            text = [*texts, word][row["doc_id"] % (len(texts) + 1)]
            row |= {"filtered_resps": text, "target": f"<b>{row['target']}</b>{text[:60]}", "input": text[:5000]}
            row["verdict"]["reason"] = text[:400]
        samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = json.loads(results.read_text())
        data["model_name"] = name
        results.write_text(json.dumps(data))
    root = tmp_path / "<script>alert(1)"
    shutil.move(folder, root / name)
    shutil.copytree(root / name / "candidate", root / name / "<i>other")
    yield from _view(root.parent / root.name)


def test_what_a_model_or_a_file_is_called_is_only_ever_text(hostile: str, chromium: Any) -> None:
    tab = Tab(chromium, hostile)
    tab.counts("33 of 33 samples")
    page = tab.page
    assert page.evaluate("window.owned") is None
    assert page.locator("script").count() == 1
    assert page.locator("main img:not([src^='blob:']), main b, main i:not(.swatch), main textarea").count() == 0
    assert "<i>other" in page.inner_text("#checks")
    shown = "".join(page.locator("bdi.foreign").all_inner_texts())
    assert "<script>document.title = 'owned'" in shown
    assert "1\u202f080\u202f000 characters, the first 2\u202f000 shown" in page.inner_text("#samples")
    with page.expect_download() as download:
        page.click("button[data-format=csv]")
    assert re.fullmatch(r"[\w.-]+-samples\.csv", download.value.suggested_filename)
    tab.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits(hostile: str, chromium: Any, width: int) -> None:
    tab = Tab(chromium, hostile, width=width, scheme="dark" if width == 768 else "light")
    tab.counts("33 of 33 samples")
    assert faults(tab.page) == []
    assert faint(tab.page) == []
    tab.close()

"""What the tests of pages share: a real browser, offline, and pictures for it to show."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, one for all tests; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file: `open_page(path, width=1440, scheme="light")`. Errors and requests of the page fail the test.

    `scripts=False` turns JavaScript off.
    """
    contexts, faults = [], []

    def open_file(path: Path, *, width: int = 1440, scheme: str = "light", scripts: bool = True) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, java_script_enabled=scripts
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda said: faults.append(f"console: {said.text}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: None if _local(request.url, path) else faults.append(request.url[:100]))
        page.goto(path.resolve().as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert faults == []


def _local(url: str, path: Path) -> bool:
    return url.split("#")[0] == path.resolve().as_uri() or url.startswith(
        ("data:image/jpeg;base64,", "data:image/png;base64,")
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A data set of five rows, as `load_dataset("parquet")` reads it: a photo, the same again, a digit, junk, None."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def encoded(size: int, colour: str) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (size, size // 2), colour).save(buffer, "PNG")
        return buffer.getvalue()

    photo = encoded(400, "navy")
    values = [{"bytes": data, "path": None} for data in (photo, photo, encoded(28, "white"), b"no image", None)]
    path = tmp_path / "data" / "toy" / "test.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"image": pa.array(values)}), path, row_group_size=2)
    return path

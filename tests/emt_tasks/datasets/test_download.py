"""`emt data get` against a server that speaks the hub's API: whole, cut off, gated, missing, miscounted, damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from emt_core.errors import UserError
from emt_tasks.commands.app import main
from emt_tasks.datasets import catalog
from emt_tasks.datasets.download import download
from tests.support import sample_data
from tests.support.hub_server import TOKEN, HubServer, Repository, here

FLOWERS = ("datasets", "dpdl-benchmark/oxford_flowers102")
IMAGENET = ("datasets", "ILSVRC/imagenet-1k")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    return sample_data.write_all(tmp_path_factory.mktemp("drawn"), size=12)


@pytest.fixture
def flowers(drawn, tmp_path) -> Repository:
    """The twelve flowers in two files, as the hub has larger sets, and a file of another split."""
    table = pq.read_table(drawn / "flowers102" / "test.parquet")
    files = {}
    for number, part in enumerate((table.slice(0, 5), table.slice(5))):
        pq.write_table(part, tmp_path / "part.parquet")
        files[f"data/test-0000{number}-of-00002.parquet"] = (tmp_path / "part.parquet").read_bytes()
    return Repository(files | {"data/train-00000-of-00001.parquet": b"another split", "README.md": b"flowers"})


@pytest.fixture
def hub(flowers, tmp_path, monkeypatch):
    server = HubServer({FLOWERS: flowers})
    here(monkeypatch, server, tmp_path / "home")
    for name in ("HF_TOKEN", "EMT_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)  # between its attempts
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # bytes that it writes at a time
    yield server
    server.stop()


@pytest.fixture
def row():
    return replace(catalog.get("flowers102"), rows={"test": 12})


def test_one_split_comes_as_one_file_with_its_classes(hub, row, drawn, tmp_path):
    file = download(row, tmp_path / "data")
    assert file == tmp_path / "data" / "flowers102" / "test.parquet"
    expected = pq.read_table(drawn / "flowers102" / "test.parquet")
    assert pq.read_table(file).equals(expected)
    assert pq.read_schema(file).metadata == expected.schema.metadata  # where `datasets` finds the columns' types
    assert [path.name for path in file.parent.iterdir()] == ["test.parquet"]
    assert not any("train" in asked.path for asked in hub.asked)
    before = len(hub.asked)
    assert download(row, tmp_path / "data") == file
    assert len(hub.asked) == before, "a file that is there was asked for again"


def ranges(hub: HubServer) -> list[str | None]:
    return [asked.range for asked in hub.asked if "resolve" in asked.path]


def test_a_connection_that_is_cut_resumes(hub, flowers, row, drawn, tmp_path):
    flowers.cuts = [1000]
    file = download(row, tmp_path / "data")
    assert ranges(hub) == [None, "bytes=1000-", None]
    assert pq.read_table(file).equals(pq.read_table(drawn / "flowers102" / "test.parquet"))


def test_a_download_that_failed_resumes_with_the_next_one(hub, flowers, row, drawn, tmp_path):
    flowers.cuts = [1000] * 7  # the client tries six times, and from the second on nothing new arrives
    with pytest.raises(UserError, match=r"flowers102: peer closed .*; then: emt data get flowers102"):
        download(row, tmp_path / "data")
    assert not (tmp_path / "data" / "flowers102" / "test.parquet").exists()
    hub.asked.clear()
    flowers.cuts = []
    file = download(row, tmp_path / "data")
    assert ranges(hub) == ["bytes=1000-", None]
    assert pq.read_table(file).equals(pq.read_table(drawn / "flowers102" / "test.parquet"))


def test_what_is_damaged_on_the_way_is_not_kept(hub, flowers, row, tmp_path):
    name = "data/test-00000-of-00002.parquet"
    whole = flowers.files[name]
    flowers.cuts = [1000] * 7
    with pytest.raises(UserError, match="peer closed"):
        download(row, tmp_path / "data")
    (partial,) = (tmp_path / "data" / "flowers102" / ".test.parts").glob("*.partial")
    partial.write_bytes(b"x" * 1000)
    flowers.cuts = []
    with pytest.raises(UserError, match=r"data/test-00000-of-00002\.parquet arrived damaged \(its SHA-256 differs\)"):
        download(row, tmp_path / "data")
    assert not partial.exists()
    download(row, tmp_path / "data")
    assert flowers.files[name] == whole


def test_a_gated_set_says_where_to_accept_its_terms_and_comes_with_a_token(hub, drawn, tmp_path, monkeypatch):
    data = (drawn / "imagenet1k" / "validation.parquet").read_bytes()
    hub.repositories[IMAGENET] = Repository({"data/validation-00000-of-00001.parquet": data}, gated=True)
    gated = replace(catalog.get("imagenet1k"), rows={"validation": 12})
    with pytest.raises(UserError) as error:
        download(gated, tmp_path / "data")
    assert str(error.value) == (
        "imagenet1k: gated: accept its terms at hf.co/datasets/ILSVRC/imagenet-1k, then: hf auth login; "
        "then: emt data get imagenet1k"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert pq.read_metadata(download(gated, tmp_path / "data")).num_rows == 12


def test_a_set_that_is_not_there(hub, row, tmp_path):
    del hub.repositories[FLOWERS]
    with pytest.raises(UserError, match=r"flowers102: the hub has no dataset dpdl-benchmark/oxford_flowers102 that"):
        download(row, tmp_path / "data")
    hub.repositories[FLOWERS] = Repository({"README.md": b""})
    with pytest.raises(UserError, match=r"has no file data/test-\*; it has README\.md"):
        download(row, tmp_path / "data")


def test_a_wrong_count_is_refused_and_nothing_is_left(hub, tmp_path):
    with pytest.raises(UserError, match=r"oxford_flowers102 has 12 rows, expected the published 6,149; nothing was"):
        download(catalog.get("flowers102"), tmp_path / "data")
    assert not (tmp_path / "data" / "flowers102" / "test.parquet").exists()


def test_a_file_that_is_there_with_a_wrong_count_is_told(row, drawn, tmp_path):
    file = tmp_path / "flowers102" / "test.parquet"
    file.parent.mkdir()
    pq.write_table(pq.read_table(drawn / "flowers102" / "test.parquet").slice(0, 5), file)
    with pytest.raises(UserError, match=r"test\.parquet has 5 rows, expected the published 12"):
        download(row, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagewikiqa", r"imagewikiqa: not on the hub, see github\.com/yuhui-zh15/VLMClassifier; accept the terms of"),
        ("demo_digits", "demo_digits: is generated; there is nothing to download"),
    ],
)
def test_what_is_on_no_hub(name, message, tmp_path):
    with pytest.raises(UserError, match=message):
        download(catalog.get(name), tmp_path)


def test_the_command_takes_what_it_can_and_tells_the_rest(hub, tmp_path, capsys):
    assert main(["data", "get", "idt_oodi", "imagewikiqa", "-o", str(tmp_path / "data")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-3] == f"for the tasks to find it: export EMT_DATA_DIR={tmp_path / 'data'}"
    assert "has 12 rows, expected the published 6,149" in told[-2]
    assert told[-1].startswith("emt: imagewikiqa: not on the hub")
    assert main(["data", "get", "flowers102"]) == 2
    assert "--output: not given and EMT_DATA_DIR is not set" in capsys.readouterr().err


def test_a_set_of_the_users_own_goes_to_its_folder_through_the_command(hub, flowers, tmp_path):
    """By a process of its own, as users start it; how many rows there are is not published."""
    folder = tmp_path / "mine"
    folder.mkdir()
    row = "petals:\n  kind: classification\n  vocabulary: flowers102\n  hub: lab/petals\n"
    (folder / "datasets.yaml").write_text(row)
    hub.repositories["datasets", "lab/petals"] = flowers
    environment = {**os.environ, **hub.environment(tmp_path / "home"), "EMT_INCLUDE": str(folder)}
    command = [sys.executable, "-m", "emt_tasks", "data", "get", "petals"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{folder / 'petals' / 'test.parquet'}\n"), done.stderr
    assert pq.read_metadata(folder / "petals" / "test.parquet").num_rows == 12

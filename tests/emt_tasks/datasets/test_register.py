"""A data set of one's own: one row in the catalog, and its hooks, checks and training examples are there."""

from __future__ import annotations

import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow

from emt_core.errors import UserError
from emt_tasks.datasets import catalog
from emt_tasks.datasets.checks import availability
from emt_tasks.tasks import hooks
from finetune.data.sources import open_source
from finetune.recipes.schema import SourceEntry


def test_one_row_is_enough(tmp_path, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(catalog, "SOURCES", dict(catalog.SOURCES))
    monkeypatch.setattr(hooks, "SOURCES", catalog.SOURCES)
    toy = catalog.Source("toy", ("photo", "kind"), "test", vocabulary="cifar10", question="What?", answer="A {label}.")
    catalog.register(toy)
    rows = {"photo": [Pillow.new("RGB", (4, 4))] * 2, "kind": ["ship", "cat"]}
    table = Dataset.from_dict(rows, features=Features(photo=Image(), kind=Value("string")))
    (tmp_path / "toy").mkdir()
    table.to_parquet(tmp_path / "toy" / "test.parquet")

    assert availability(toy).problem is None
    assert [hooks.toy_target(document) for document in hooks.toy_documents(table)] == ["ship", "cat"]
    assert open_source(SourceEntry(data="toy", split="test")).turn(1).answer == "A cat."
    with pytest.raises(UserError, match="data set 'toy' is in the catalog already"):
        catalog.register(toy)

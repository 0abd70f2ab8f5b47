"""Tasks as lmms-eval asks them, for what is measured beside its own runs: each document's prompt, image and scoring."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import datasets
from lmms_eval.api.instance import Instance

from emt_core.errors import UserError
from emt_tasks import plugin
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.models.documents import Request
from emt_tasks.tasks import registry
from emt_tasks.tasks.documents import Document


@dataclass(frozen=True)
class Asked:
    """A task, with one request for each of its documents."""

    name: str
    task: Any
    requests: list[Request]

    @cached_property
    def dataset(self) -> Dataset | None:
        """The data set, if it is one that we know."""
        return registry.dataset_of(self.name)

    @cached_property
    def documents(self) -> list[Document]:
        """The documents asked about, without their images."""
        split = self.requests[0].split
        table = self.task.dataset[split].select([request.doc_id for request in self.requests])
        kept = [name for name, kind in table.features.items() if not isinstance(kind, datasets.Image)]
        return list(table.select_columns(kept))

    def instance(self, request: Request, kind: str, payload: Any, index: int = 0) -> Instance:
        """Return what a model takes of a request: `kind` as lmms-eval names it, with generation settings or a text."""
        return Instance(
            request_type=kind,
            arguments=(request.context, payload, request.visual, request.doc_id, request.task, request.split),
            idx=index,
            metadata={"task": request.task, "doc_id": request.doc_id, "repeats": 1},
        )


def ask(names: Sequence[str], limit: int | None = None) -> dict[str, Asked]:
    """Return the tasks that generate answers, by name, groups expanded; the first `limit` documents of each.

    The others are left out, and named on standard error.

    Raises:
        UserError: none of them generates answers.
    """
    found: dict[str, Asked] = {}
    with redirect_stdout(sys.stderr):
        for name, task in plugin.load_tasks(names).items():
            task.build_all_requests(limit=limit, rank=0, world_size=1)
            if all(instance.request_type == "generate_until" for instance in task.instances):
                found[name] = Asked(name, task, [Request.from_arguments(one.args) for one in task.instances])
            else:
                print(f"{name} is left out: it does not generate answers")  # noqa: T201
    if not found:
        raise UserError(f"--tasks {','.join(names)}: none of these tasks generates answers")
    return found

"""The leaderboard's table: models down, tasks and quadrants across."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leaderboards.comparison.matrix import QUADRANTS
from leaderboards.comparison.summary import RunSummary
from leaderboards.gate.decide import Outcome
from leaderboards.published import Publication, PublishedRow, read_publications
from leaderboards.report.text import printable
from leaderboards.report.view import QUADRANT_NAMES
from leaderboards.statistics import Interval

_ROLES = {"encoder": "vision encoder", "mllm": "MLLM"}


@dataclass(frozen=True, slots=True)
class Column:
    """One task or quadrant."""

    name: str
    title: str
    quadrant: bool


@dataclass(frozen=True, slots=True)
class RateCell:
    """One accuracy in percent. `rate` has no interval and an `n` of 0 if a paper gives none."""

    rate: Interval
    unscored: int


@dataclass(frozen=True, slots=True)
class Link:
    """Where a run's report is, from the site's page, and what its gate said."""

    href: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a published row comes from."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model; a `source` marks it as published. `about` says in a few words what it is."""

    model: str
    about: str
    source: Citation | None
    cells: tuple[RateCell | None, ...]
    link: Link | None


@dataclass(frozen=True, slots=True)
class Table:
    """The whole table; `publications` are the papers, including those without numbers."""

    columns: tuple[Column, ...]
    rows: tuple[ModelRow, ...]
    publications: tuple[Publication, ...]
    reports: bool


def make_table(runs: Sequence[tuple[str, RunSummary]], links: Mapping[str, Link], *, published: bool = True) -> Table:
    """Return the table of labelled runs and, if wanted, of the published results below them."""
    publications = read_publications() if published else ()
    printed = [(publication, row) for publication in publications for row in publication.rows()]
    tasks = dict.fromkeys(task.task.name for _, summary in runs for task in summary.tasks)
    tasks |= dict.fromkeys(task for _, row in printed for task in row.accuracy)
    present = {group.name for _, summary in runs for group in summary.quadrants}
    quadrants = [name for name in QUADRANTS if name in present]
    columns = [Column(name, printable(QUADRANT_NAMES[name]), quadrant=True) for name in quadrants]
    columns += [Column(name, printable(name), quadrant=False) for name in tasks]
    rows = [_run_row(label, summary, columns, links.get(label)) for label, summary in runs]
    rows += [_published_row(publication, row, columns) for publication, row in printed]
    return Table(tuple(columns), tuple(rows), publications, bool(links))


def _run_row(label: str, summary: RunSummary, columns: Iterable[Column], link: Link | None) -> ModelRow:
    cells: dict[tuple[str, bool], RateCell] = {
        (task.task.name, False): RateCell(task.accuracy, task.unscored) for task in summary.tasks if task.accuracy
    }
    cells |= {(group.name, True): RateCell(group.accuracy, 0) for group in summary.quadrants}
    arguments = summary.run.model_args or summary.run.name
    row = tuple(cells.get((column.name, column.quadrant)) for column in columns)
    return ModelRow(printable(label), printable(arguments), None, row, link)


def _published_row(publication: Publication, row: PublishedRow, columns: Iterable[Column]) -> ModelRow:
    def cell(column: Column) -> RateCell | None:
        value = None if column.quadrant else row.accuracy.get(column.name)
        return None if value is None else RateCell(Interval(value, None, None, 0, 0.95, "as printed"), 0)

    about = [_ROLES[row.role]]
    about += [f"on {row.encoder}"] if row.encoder else []
    source = Citation(f"{publication.short}, table {row.table}", publication.url)
    return ModelRow(row.model, " ".join(about), source, tuple(cell(column) for column in columns), None)

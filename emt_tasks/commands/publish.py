"""`emt publish`: results and report to a model's repository on the hub, a leaderboard to a Space or a static host."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from emt_core.errors import UserError
from emt_core.folders import made_folder
from emt_core.runs import read_run
from emt_tasks.commands.options import (
    MarginOption,
    MatrixOption,
    MetricOption,
    PolicyOption,
    choose_policy,
    parse_pairs,
    tell_progress,
)
from leaderboards.comparison.matrix import read_matrix

if TYPE_CHECKING:
    from emt_core.hub import RepoType
    from leaderboards.exports import ExportSettings
    from leaderboards.exports.push import Repository
    from leaderboards.gate.policy import Policy
    from leaderboards.report.candidates import Candidate

MADE_BY = "emt publish"

# Without rich, whose help formatter costs 0.2 s of the half second that --help may take.
publish = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


class Place(Protocol):
    """Where files go: a repository on the hub, or a static host."""

    @property
    def card(self) -> str | None:
        """The card that is there."""

    @property
    def names(self) -> Sequence[str]:
        """The files that are there."""

    def push(self, files: Mapping[str, bytes], stale: Sequence[str] = ()) -> str:
        """Write the files, remove the stale ones, and return the address of what was made."""


@dataclass(frozen=True, slots=True)
class _Comparing:
    """How runs are compared with their base, and whether that becomes a report."""

    base: Candidate | None
    rules: Policy
    matrix: dict[str, tuple[str, ...]] | None
    metrics: dict[str, str]
    report: bool


@publish.command(name="publish", context_settings={"help_option_names": ["-h", "--help"]})
def publish_command(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="The model's run; a leaderboard takes several.")],
    to: Annotated[
        str,
        typer.Option("--to", help="OWNER/NAME on the hub; or a static host's folder, such as s3://BUCKET/FOLDER."),
    ],
    space: Annotated[
        bool, typer.Option("--space", help="A static Space with the leaderboard, instead of a model's repository.")
    ] = False,
    base: Annotated[Path | None, typer.Option(help="The run before fine-tuning: adds what was forgotten.")] = None,
    margin: MarginOption = None,
    policy: PolicyOption = None,
    metric: MetricOption = None,
    matrix: MatrixOption = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="TASK=ORG/NAME: a task's data set on the hub, if the run does not say.")
    ] = None,
    report: Annotated[
        bool, typer.Option(help="Publish the report too: it shows answers that changed, with their images.")
    ] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also leave the files in this folder.")] = None,
    push: Annotated[bool, typer.Option("--push", help="Push; without it, only say what would be pushed.")] = False,
    pull_request: Annotated[bool, typer.Option("--pull-request", help="Push as a pull request on the hub.")] = False,
    private: Annotated[bool, typer.Option("--private", help="A new Space is private.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --output's earlier files.")] = False,
) -> None:
    """Push a model's results to its repository on the hub, or a leaderboard to a static Space or any static host.

    Without --push, it only says what it would push. A model gets .eval_results, a model-index and a section in its
    card, which is otherwise kept; with --base also what it forgot, as a picture and a report.

    Example: emt publish runs/tuned --base runs/base --to my-org/my-model

    A Space: emt publish runs/lora runs/full --base runs/base --to my-org/forgetting --space --push

    A static host: emt publish runs/lora runs/full --base runs/base --to s3://my-bucket/forgetting --push
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.exports import ExportSettings
    from leaderboards.exports.hosts import is_address, open_host
    from leaderboards.exports.publish import CARD, stale_files
    from leaderboards.report.candidates import parse_candidates

    hosted = is_address(to)
    push = push or pull_request
    if hosted and (space or pull_request or private):
        raise UserError(f"--to {to}: --space, --pull-request and --private are for the hub; expected OWNER/NAME")
    if not hosted and not (to.count("/") == 1 and all(to.split("/"))):
        raise UserError(f"--to {to}: expected OWNER/NAME on the hub, or an address such as s3://BUCKET/FOLDER")
    if len(runs) > 1 and not (space or hosted):
        raise UserError(f"{len(runs)} runs: a model's repository takes one; several are a leaderboard: add --space")
    rules, quadrants = choose_policy(margin, policy), read_matrix(matrix) if matrix else None
    metrics = parse_pairs("--metric", "TASK=NAME", metric)
    place: Place = (
        open_host(to) if hosted else _repository(to, "space" if space else "model", pull_request, private, push)
    )
    reference, *named = parse_candidates([str(base or runs[0]), *runs])
    comparing = _Comparing(reference if base else None, rules, quadrants, metrics, report)
    if space or hosted:
        files = _site(to, named, comparing, place)
    else:
        settings = ExportSettings(model=to, datasets=parse_pairs("--dataset", "TASK=ORG/NAME", dataset))
        files = _model(named[0], comparing, settings, place.card)
    stale = stale_files(place.names, files, site=space or hosted)
    if output is not None:
        _leave(files, output, overwrite=overwrite)
    for path, content in sorted(files.items()):
        typer.echo(f"{path}  {len(content):,} bytes")
    for path in stale:
        typer.echo(f"{path}  removed")
    if push:
        typer.echo(place.push(files, stale))
        return
    for line in _changes(place.card or "", files.get(CARD, b"").decode()):
        typer.echo(line)
    typer.echo(f"Nothing was pushed. To push it to {place}, add --push", err=True)


def _repository(to: str, kind: RepoType, pull_request: bool, private: bool, required: bool) -> Repository:
    """Return the repository; where nothing is to be pushed, a hub out of reach stops nobody."""
    from leaderboards.exports.push import Repository, open_repository

    try:
        found = open_repository(to, kind, pull_request=pull_request, private=private)
    except UserError as error:
        if required:
            raise
        typer.echo(f"{error}; shown as if there were no card yet", err=True)
        return Repository(to, kind)
    if found.commit is None and kind == "model":
        missing = (
            f"--to {to}: the hub has no model {to} that you may see; upload the model first, or log in: hf auth login"
        )
        if required:
            raise UserError(missing)
        typer.echo(missing, err=True)
    return found


def _leave(files: Mapping[str, bytes], output: Path, *, overwrite: bool) -> None:
    with made_folder(output, MADE_BY, overwrite=overwrite) as folder:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


def _model(
    candidate: Candidate, comparing: _Comparing, settings: ExportSettings, card: str | None
) -> Mapping[str, bytes]:
    """Return the files of a model's repository, and tell what could not be made."""
    from leaderboards.comparison.summary import summarise
    from leaderboards.exports.publish import Tested, model_files
    from leaderboards.report.page import compare_all, write_report

    matrix, metrics, base = comparing.matrix, comparing.metrics, comparing.base
    summary = summarise(read_run(candidate.path), matrix=matrix, metrics=metrics, progress=tell_progress)
    tested = None
    with TemporaryDirectory() as scratch:
        if base is not None:
            page = Path(scratch) / "report.html" if comparing.report else None
            results = compare_all(
                base, [candidate], policy=comparing.rules, matrix=matrix, metrics=metrics, progress=tell_progress
            )
            if page is not None:
                write_report(base, [candidate], results, page)
            tested = Tested(results[0], page)
        files, notes = model_files(summary, settings, card, tested)
    for note in notes:
        typer.echo(note, err=True)
    return files


def _site(to: str, candidates: list[Candidate], comparing: _Comparing, place: Place) -> Mapping[str, bytes]:
    """Return the files of a leaderboard, with the card that makes a Space of them."""
    from leaderboards.exports.publish import site_files, space_files
    from leaderboards.exports.push import Repository
    from leaderboards.site.build import build_site

    with TemporaryDirectory() as scratch:
        build_site(
            candidates,
            Path(scratch),
            base=comparing.base,
            reports=comparing.report,
            policy=comparing.rules,
            matrix=comparing.matrix,
            metrics=comparing.metrics,
            progress=tell_progress,
        )
        is_space = isinstance(place, Repository)
        return space_files(Path(scratch), to, place.card) if is_space else site_files(Path(scratch))


def _changes(before: str, after: str) -> list[str]:
    """Return how the card changes, as a diff; empty where it does not."""
    if not after:
        return []
    return list(
        difflib.unified_diff(before.splitlines(), after.splitlines(), "README.md", "README.md", lineterm="", n=1)
    )

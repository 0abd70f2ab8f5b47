"""`emt view`: a local page over running and finished checks, and every sample of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from emt_core.errors import UserError

# Without rich, whose help formatter costs 0.2 s of the half second that --help may take.
view = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@view.command(name="view", context_settings={"help_option_names": ["-h", "--help"]})
def view_command(
    folder: Annotated[Path, typer.Argument(help="A folder of emt check, or one with several checks or runs in it.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The page's port; 0 for a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Also open the page in the browser.")] = False,
) -> None:
    """Look at checks while they run and when they are done: progress, verdicts, and every sample with its image.

    Prints the page's address; only this machine and whoever has the address can open it, and Ctrl-C ends it. Samples
    are filtered by task, change, category, cause, class and text; what is filtered can be downloaded as CSV or parquet.
    The page's address says what it shows: with a fixed --port, bookmarks stay good.

    Example: emt view emt-check
    """
    # What is freed after an index is given back in seconds; at once, each search would pay for it again.
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:3000")
    # On a large machine polars would buffer for each of its cores; a page is as fast with a few.
    os.environ.setdefault("POLARS_MAX_THREADS", str(min(4, os.cpu_count() or 1)))
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from leaderboards.viewer.server import serve

    try:
        server = serve(folder, port, _tell)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror or error}; choose another, or 0 for a free one") from error
    typer.echo(f"Open {server.address} and press Ctrl-C here when done", err=True)
    if browser:
        import webbrowser

        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def _tell(task: str) -> None:
    """Say on a terminal what is being indexed."""
    if sys.stderr.isatty():
        sys.stderr.write(f"indexing {task}\n")

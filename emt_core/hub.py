"""What the client of the Hugging Face hub raises, in a few words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

from emt_core.errors import UserError, one_line

RepoType = Literal["model", "dataset", "space"]

_PAGES: dict[RepoType, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def page(repository: str, kind: RepoType) -> str:
    """Return the address of a repository's page, without the scheme."""
    return f"hf.co/{_PAGES[kind]}{repository}"


@contextmanager
def told(repository: str, kind: RepoType, *, prefix: str = "", suffix: str = "") -> Iterator[None]:
    """Turn failures of the hub, the network and the disk into one line.

    Raises:
        UserError: there was one: `prefix`, what is in the way, `suffix`.
    """
    try:
        yield
    except Exception as error:
        what = obstacle(error, repository, kind)
        if what is None:
            raise
        raise UserError(f"{prefix}{what}{suffix}") from error


def obstacle(error: Exception, repository: str, kind: RepoType) -> str | None:
    """Return what an error says is in the way; None if it is of another kind."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The base error of the HTTP client, which differs between releases of huggingface_hub.
    http_errors = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    if isinstance(error, GatedRepoError):
        return f"gated: accept its terms at {page(repository, kind)}, then: hf auth login"
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return f"the hub has no {kind} {repository} that you may see (hf auth login, if it is private)"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, HfHubHTTPError) and error.response is not None and error.response.status_code == 412:
        return "it was changed meanwhile; run it again"
    return one_line(error) if isinstance(error, (*http_errors, OSError)) else None

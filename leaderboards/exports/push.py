"""Read a card from the hub, and push files to it in one commit. Tokens are the client's business, and never printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

from emt_core.errors import UserError
from emt_core.hub import RepoType, told
from leaderboards.exports.publish import CARD


def read_card(repository: str, kind: RepoType) -> str | None:
    """Return a repository's card; None if it has none, or does not exist.

    Raises:
        UserError: the hub cannot be reached, or does not let us read it.
    """
    with _told(repository, kind):
        try:
            return Path(hf_hub_download(repository, CARD, repo_type=kind)).read_text(encoding="utf-8")
        except (RemoteEntryNotFoundError, RepositoryNotFoundError):
            return None
    return None


def push(
    repository: str,
    kind: RepoType,
    files: Mapping[str, bytes],
    *,
    pull_request: bool = False,
    private: bool = False,
) -> str:
    """Commit the files, and return the address of the commit or the pull request.

    A Space is made if there is none of that name; a model's repository must be there.

    Raises:
        UserError: nobody is logged in, the repository is not there, or the hub refuses.
    """
    if get_token() is None:
        raise UserError("--push: not logged in to the hub; run: hf auth login")
    api = HfApi()
    with _told(repository, kind):
        if kind == "space":
            api.create_repo(repository, repo_type="space", space_sdk="static", private=private, exist_ok=True)
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(path, content) for path, content in sorted(files.items())],
            commit_message="Add results of emt-eval",
            repo_type=kind,
            create_pr=pull_request,
        )
    return str(commit.pr_url or commit.commit_url)


@contextmanager
def _told(repository: str, kind: RepoType) -> Iterator[None]:
    with told(repository, kind, prefix=f"--to {repository}: "):
        yield

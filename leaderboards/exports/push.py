"""A repository on the hub: what it has, and pushing files to it in one commit.

Tokens are the client's business, and never printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

from emt_core.errors import UserError
from emt_core.hub import RepoType, told
from leaderboards.exports.publish import CARD

_PATIENCE = 20.0
"""Seconds that the hub has for its first answer."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A model's repository or a Space, as it was when we looked: its card, its files' names, and their commit.

    Without a `commit` it is not there, or could not be seen. `private` is for a Space that is made.
    """

    name: str
    kind: RepoType
    card: str | None = None
    names: Sequence[str] = ()
    commit: str | None = None
    pull_request: bool = False
    private: bool = False

    def __str__(self) -> str:
        return f"the {self.kind} {self.name}"

    def push(self, files: Mapping[str, bytes], stale: Sequence[str] = ()) -> str:
        """Commit the files without the stale ones, and return the address of the commit or the pull request.

        A Space is made if there is none of that name; a model's repository must be there.

        Raises:
            UserError: nobody is logged in, the repository is not there or has changed since we looked, or the hub
                refuses.
        """
        if get_token() is None:
            raise UserError("--push: not logged in to the hub; run: hf auth login")
        api = HfApi()
        with _told(self.name, self.kind):
            if self.kind == "space" and self.commit is None:
                api.create_repo(self.name, repo_type="space", space_sdk="static", private=self.private, exist_ok=True)
            commit = api.create_commit(
                self.name,
                [
                    *(CommitOperationAdd(path, content) for path, content in sorted(files.items())),
                    *(CommitOperationDelete(path) for path in stale),
                ],
                commit_message="Add results of emt-eval",
                repo_type=self.kind,
                create_pr=self.pull_request,
                # Without this, what somebody pushed to the card meanwhile would be lost.
                parent_commit=self.commit,
            )
        return str(commit.pr_url or commit.commit_url)


def open_repository(name: str, kind: RepoType, *, pull_request: bool = False, private: bool = False) -> Repository:
    """Return a repository with what it has.

    Raises:
        UserError: the hub cannot be reached, or does not let us read it.
    """
    with _told(name, kind):
        try:
            about = HfApi().repo_info(name, repo_type=kind, timeout=_PATIENCE)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return Repository(name, kind, pull_request=pull_request, private=private)
        card = _card(name, kind, about.sha)
    # Other kinds of repositories that the client knows have none.
    names = [sibling.rfilename for sibling in getattr(about, "siblings", None) or ()]
    return Repository(name, kind, card, names, about.sha, pull_request, private)


def _card(name: str, kind: RepoType, commit: str | None) -> str | None:
    try:
        file = hf_hub_download(name, CARD, repo_type=kind, revision=commit)
    except EntryNotFoundError:
        return None
    return Path(file).read_text(encoding="utf-8")


@contextmanager
def _told(name: str, kind: RepoType) -> Iterator[None]:
    with told(name, kind, prefix=f"--to {name}: "):
        yield

"""What the plug-in changes in lmms-eval."""

from __future__ import annotations

from importlib.metadata import version

from lmms_eval import utils

from emt_tasks import plugin


def test_a_commit_of_the_user_s_does_not_lose_answers(monkeypatch):
    """The environment often lies in a repository; the version that answers are kept by is lmms-eval's alone."""
    plugin.manifests()
    found = []
    for commit in ("0123abc", "4567def", None):
        monkeypatch.setattr(utils, "get_git_commit_hash", lambda commit=commit: commit)
        found.append(utils.get_lmms_eval_cache_version())
    assert found == [version("lmms-eval")] * 3

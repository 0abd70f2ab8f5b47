"""A local server that speaks the part of the Hugging Face hub's API that downloads and uploads use, and fails as told.

Set HF_ENDPOINT to its `url` for a process of its own; for this process: `monkeypatch.setattr` of the client's constants
(see `here`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from tests.support.chat_server import Server

TOKEN = "hf_test_secret"

_RESOLVE = re.compile(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)")
_API = re.compile(r"/api/(models|datasets|spaces)/([^/]+/[^/?]+)(?:/([a-z-]+))?(?:/[^/?]+)?(?:/([^?]*))?")


@dataclass
class Repository:
    """One repository: its files, whether it is gated, and the bytes at which the next downloads are cut off."""

    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    cuts: list[int] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)
    proposed: int = 0

    @property
    def commit(self) -> str:
        """The commit's hash: another one for other files."""
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


@dataclass
class Asked:
    """A request: its method, its path, the range that it asks for, and whether it came with the right token."""

    method: str
    path: str
    range: str | None
    authorised: bool


class HubServer:
    """Serves repositories on a free port, by kind (models, datasets, spaces) and name."""

    def __init__(self, repositories: dict[tuple[str, str], Repository] | None = None) -> None:
        self.repositories = repositories or {}
        self.asked: list[Asked] = []
        self._server = Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, home: object) -> dict[str, str]:
        """What a command needs to take this for the hub."""
        return {"HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self._note()
                if found := _RESOLVE.fullmatch(self.path):
                    self._resolve(found[1] or "models", found[2], found[3])
                elif self.path.startswith("/api/whoami-v2"):
                    self._json(
                        {"name": "lab", "type": "user"} if self._authorised else {}, 200 if self._authorised else 401
                    )
                elif found := _API.match(self.path):
                    self._api(found[1], found[2], found[3], found[4] or "")
                else:
                    self._json({"error": "not found"}, 404)

            do_HEAD = do_GET

            def do_POST(self):
                self._note()
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.path == "/api/validate-yaml":
                    self._json({"errors": [], "warnings": []})
                elif self.path == "/api/repos/create":
                    self._create(json.loads(body))
                elif found := _API.match(self.path):
                    self._write(found[1], found[2], found[3], body)
                else:
                    self._json({"error": "not found"}, 404)

            @property
            def _authorised(self):
                return self.headers.get("authorization") == f"Bearer {TOKEN}"

            def _note(self):
                hub.asked.append(Asked(self.command, self.path, self.headers.get("range"), self._authorised))

            def _repository(self, kind, name):
                found = hub.repositories.get((kind, name))
                if found is None:
                    self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
                return found

            def _refused(self, repository):
                if repository.gated and not self._authorised:
                    self._json({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
                    return True
                return False

            def _api(self, kind, name, what, below):
                repository = self._repository(kind, name)
                if repository is None or (what == "auth-check" and self._refused(repository)):
                    return
                if what == "auth-check":
                    self._json({})
                elif what == "tree":
                    self._json(_tree(repository.files, below, recursive="recursive=true" in self.path.lower()))
                else:
                    siblings = [_sibling(*item) for item in repository.files.items()]
                    about = {"id": name, "sha": repository.commit, "siblings": siblings, "tags": [], "private": False}
                    self._json(about)

            def _resolve(self, kind, name, path):
                repository = self._repository(kind, name)
                if repository is None or self._refused(repository):
                    return
                if path not in repository.files:
                    self._json({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
                    return
                data = repository.files[path]
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
                start = int(asked[1]) if asked else 0
                self.send_response(206 if asked else 200)
                if asked:
                    self.send_header("content-range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                for header, value in {
                    "content-length": len(data) - start,
                    "etag": f'"{hashlib.sha256(data).hexdigest()}"',
                    "x-repo-commit": repository.commit,
                    "accept-ranges": "bytes",
                }.items():
                    self.send_header(header, str(value))
                self.end_headers()
                if self.command == "HEAD":
                    return
                end = len(data)
                if repository.cuts:
                    end, self.close_connection = repository.cuts.pop(0), True
                self.wfile.write(data[start:end])

            def _create(self, wanted):
                kind = f"{wanted.get('type') or 'model'}s"
                name = f"{wanted.get('organization') or 'lab'}/{wanted['name']}"
                if not self._authorised:
                    self._json({"error": "Invalid username or password."}, 401)
                    return
                existed = (kind, name) in hub.repositories
                hub.repositories.setdefault((kind, name), Repository())
                self._json({"url": f"{hub.url}/{name}", "name": name}, 409 if existed else 200)

            def _write(self, kind, name, what, body):
                repository = self._repository(kind, name)
                if repository is None:
                    return
                if what != "paths-info" and not self._authorised:
                    self._json({"error": "Forbidden"}, 403)
                elif what == "paths-info":
                    wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
                    self._json([_entry(path, repository.files[path]) for path in wanted if path in repository.files])
                elif what == "preupload":
                    files = [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                        for file in json.loads(body)["files"]
                    ]
                    self._json({"files": files})
                elif what == "commit":
                    lines = [json.loads(line) for line in body.splitlines() if line]
                    if lines[0]["value"].get("parentCommit") not in (None, repository.commit):
                        self._json({"error": "A commit has happened since. Please refresh and try again."}, 412)
                        return
                    commit = {"summary": lines[0]["value"]["summary"], "files": []}
                    if "create_pr=1" in self.path:
                        self._propose(repository, name)
                        return
                    for line in lines[1:]:
                        value = line["value"]
                        if line["key"] == "file":
                            repository.files[value["path"]] = base64.b64decode(value["content"])
                            commit["files"].append(value["path"])
                        elif line["key"] == "deletedFile":
                            repository.files.pop(value["path"], None)
                    repository.commits.append(commit)
                    self._json(
                        {
                            "commitUrl": f"{hub.url}/{name}/commit/{repository.commit}",
                            "commitOid": repository.commit,
                            "success": True,
                        }
                    )
                else:
                    self._json({})

            def _propose(self, repository, name):
                """Answer as if there were a pull request: the files of the main branch stay."""
                repository.proposed += 1
                self._json(
                    {
                        "commitUrl": f"{hub.url}/{name}/commit/{repository.commit}",
                        "commitOid": repository.commit,
                        "pullRequestUrl": f"{hub.url}/{name}/discussions/{repository.proposed}",
                        "success": True,
                    }
                )

            def _json(self, value, status=200, headers=None):
                data = json.dumps(value).encode()
                self.send_response(status)
                for header, content in (headers or {}).items():
                    self.send_header(header, content)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler


def _sibling(path: str, data: bytes) -> dict[str, Any]:
    return {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest(), "lfs": _lfs(data)}


def _tree(files: dict[str, bytes], below: str, *, recursive: bool) -> list[dict[str, Any]]:
    """What is in a folder: all of it, or its own files and folders."""
    prefix = f"{below}/" if below else ""
    found = {path: data for path, data in files.items() if path.startswith(prefix)}
    own = {path: data for path, data in found.items() if recursive or "/" not in path.removeprefix(prefix)}
    folders = {prefix + path.removeprefix(prefix).split("/")[0] for path in found.keys() - own.keys()}
    return [_entry(*item) for item in own.items()] + [
        {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest()} for path in sorted(folders)
    ]


def _entry(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(data).hexdigest()
    return {
        "type": "file",
        "path": path,
        "size": len(data),
        "oid": oid,
        "lfs": {"oid": _lfs(data)["sha256"], **_lfs(data)},
    }


def _lfs(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}


def here(monkeypatch, server: HubServer, home: object) -> None:
    """Make this process take the server for the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )

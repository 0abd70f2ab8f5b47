"""What a model's answers depend on, as a cache key: other weights never share a key."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from huggingface_hub import hf_hub_download

from emt_tasks.models.loading import adapter_base, folder_or_name

PACKAGES = ("emt-eval", "lmms-eval", "transformers", "peft", "open_clip_torch", "torch")
"""Other versions of these may answer differently."""

DATA_VARIABLE = "EMT_DATA_DIR"

_SUFFIXES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py")

_HASHED_UP_TO = 64 * 1024 * 1024
"""Bytes. Larger files, usually weights, are identified by size and time: reading them would take minutes."""


def key(model_kind: str, arguments: str) -> str:
    """Return a hash of files, arguments and versions that changes whenever a model's answers may change.

    Prompts, decoding and the tasks' YAML files are not included: lmms-eval has them in the key of each answer.

    Args:
        model_kind: the model class.
        arguments: lmms-eval's `--model_args`. Everything that they name counts: checkpoint, adapter, chat template.

    Raises:
        UserError: `peft` is not an adapter folder.
    """
    named = dict(part.partition("=")[::2] for part in arguments.split(","))
    local = {path: found for value in named.values() for path, found in states(value).items()}
    base = adapter_base(named["peft"]) if "peft" in named else None
    models = [model for model in (named.get("pretrained"), base) if model and model_kind == "emt_vlm"]
    decides = {
        "kind": model_kind,
        "arguments": arguments,
        "files": local | {model: state(model) or _commit(model, named.get("revision", "main")) for model in models},
        "data": data_state(),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def data_state() -> str | None:
    """Return a hash that changes with the data sets in $EMT_DATA_DIR; None where it is not set."""
    data = os.environ.get(DATA_VARIABLE)
    return _state(sorted(Path(data).glob("*/*.parquet"))) if data else None


def states(value: str) -> dict[str, str | None]:
    """Return the state of each path that an argument names: itself, or behind a prefix (auto:FOLDER, ViT-L-14/FILE)."""
    named = (value, value.partition(":")[2], value.partition("/")[2])
    return {path: state(path) for path in named if path and Path(folder_or_name(path)).exists()}


def state(model: str) -> str | None:
    """Return a hash that changes with a folder or a file; None for a name on the hub.

    For a folder it covers weights, configuration, processor, tokenizer, chat template and code.
    """
    path = Path(folder_or_name(model))
    if path.is_dir():
        return _state(sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES))
    return _state([path]) if path.is_file() else None


def _state(files: Iterable[Path]) -> str:
    return hashlib.sha256(repr([(file.name, _file_state(file)) for file in files]).encode()).hexdigest()[:16]


def _file_state(file: Path) -> str | tuple[int, int]:
    found = file.stat()
    if found.st_size > _HASHED_UP_TO:
        return found.st_size, found.st_mtime_ns
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _commit(name: str, revision: str) -> str | None:
    """The commit that a hub name refers to, from the hub or, without a network, from its cache."""
    for file in ("config.json", "adapter_config.json"):
        try:
            return Path(hf_hub_download(name, file, revision=revision)).parent.name
        except (OSError, ValueError):  # no such model or file, or no network
            continue
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

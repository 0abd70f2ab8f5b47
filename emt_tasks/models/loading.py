"""Checkpoints and adapters from disk or hub; each fault is one line, before anything runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from emt_core.errors import UserError, one_line

ADAPTER_CONFIG = "adapter_config.json"
"""The file that makes a folder a PEFT adapter."""

DTYPES = ("auto", "float32", "bfloat16", "float16")

PROCESSOR_FILES = {
    "image processor": ("processor_config.json", "preprocessor_config.json"),
    "tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"),
}
"""One file of each group is in every checkpoint folder that has a processor."""


AUTO = "auto"
"""The batch size that grows to what memory has room for."""

TINY = "emt:tiny"
"""The name of the small model in this package."""


def folder_or_name(pretrained: str) -> str:
    """Return the name or path for transformers to load; `emt:tiny` is a folder in this package."""
    from emt_tasks.demo.tiny import PATH

    return str(PATH) if pretrained == TINY else pretrained


def accelerator_for(device: str | None) -> Any:
    """Return the accelerator of this process; over gloo if several processes run on a CPU."""
    from accelerate import Accelerator

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return Accelerator(cpu=True) if several and device == "cpu" else Accelerator()


def device_for(device: str | None, accelerator: Any) -> Any:
    """Return the torch device of this process: each of several processes gets its own, of the kind asked for.

    Raises:
        UserError: no such device.
    """
    import torch

    if device is None:
        return accelerator.device
    try:
        several = device == "cuda" and accelerator.num_processes > 1
        found = torch.device("cuda", accelerator.local_process_index) if several else torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={device}: cannot be used ({one_line(error)}); expected cpu, cuda or cuda:N") from error
    return found


def load_processor(pretrained: str, *, revision: str, trust_remote_code: bool) -> Any:
    """Return a checkpoint's processor: tokenizer and image processor in one.

    Raises:
        UserError: there is none, or only half of one.
    """
    from transformers import AutoProcessor

    _refuse_non_checkpoint(pretrained)
    if Path(pretrained).is_dir():
        for part, files in PROCESSOR_FILES.items():
            if not any((Path(pretrained) / name).is_file() for name in files):
                _no_processor(pretrained, f"no {part} files, expected {' or '.join(files)}")
    try:
        processor = AutoProcessor.from_pretrained(pretrained, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(f"pretrained={pretrained}: the processor cannot be loaded ({one_line(error)})") from error
    for part in PROCESSOR_FILES:  # AutoProcessor falls back to a bare tokenizer or a bare image processor
        if getattr(processor, part.replace(" ", "_"), None) is None:
            _no_processor(pretrained, f"no {part} in what was found, {type(processor).__name__}")
    return processor


def _no_processor(pretrained: str, found: str) -> NoReturn:
    raise UserError(
        f"pretrained={pretrained}: {found}; save the base model's processor beside the weights "
        "(processor.save_pretrained)"
    )


def load_model(
    pretrained: str,
    *,
    revision: str,
    dtype: str,
    attn_implementation: str | None,
    device: Any,
    device_map: str | None,
    trust_remote_code: bool,
    quantization: Any = None,
) -> Any:
    """Return an image-text-to-text model in evaluation mode, on its device.

    Args:
        pretrained: folder, or name on the hub.
        revision: branch, tag or commit on the hub.
        dtype: one of `DTYPES`; `auto` is float32 on a CPU and the checkpoint's dtype elsewhere.
        attn_implementation: as transformers names it (`sdpa`, `eager`, `flash_attention_2`).
        device: a torch device; not used with `device_map`.
        device_map: spreads the model over devices, such as `auto`.
        trust_remote_code: run a checkpoint's own code.
        quantization: a transformers quantization config; transformers then puts the model on its device.

    Raises:
        UserError: no such checkpoint, the wrong kind, or weights that are missing or of another shape.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText

    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype}: expected one of {', '.join(DTYPES)}")
    _refuse_non_checkpoint(pretrained)
    on_cpu = not device_map and device.type == "cpu"
    try:
        model, info = AutoModelForImageTextToText.from_pretrained(
            pretrained,
            revision=revision,
            dtype=torch.float32 if dtype == "auto" and on_cpu else dtype,
            attn_implementation=attn_implementation,
            device_map=device_map if quantization is None else {"": device},
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            **({} if quantization is None else {"quantization_config": quantization}),
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        raise UserError(f"pretrained={pretrained}: no model can be loaded ({one_line(error)})") from error
    lost = sorted(info["missing_keys"])
    if lost:  # transformers silently fills them with random numbers
        raise UserError(
            f"pretrained={pretrained}: {len(lost)} weights are missing, the first {lost[0]}; "
            f"expected all of {type(model).__name__}"
        )
    return (model if device_map or quantization is not None else model.to(device)).eval()


def is_adapter(path: str | Path) -> bool:
    """Whether this is the folder of a PEFT adapter."""
    return (Path(path) / ADAPTER_CONFIG).is_file()


def adapter_config(peft: str) -> dict[str, Any]:
    """Return the settings of an adapter folder, as PEFT wrote them.

    Raises:
        UserError: not an adapter folder, or its settings cannot be read.
    """
    config = Path(peft) / ADAPTER_CONFIG
    if not config.is_file():
        raise UserError(f"peft={peft}: expected a PEFT adapter folder, found no adapter_config.json there")
    try:
        return dict(json.loads(config.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{config}: not JSON as PEFT writes it ({one_line(error)})") from error


def adapter_base(peft: str) -> str | None:
    """Return the base model that an adapter folder was trained on, if it says so.

    Raises:
        UserError: not an adapter folder.
    """
    base = adapter_config(peft).get("base_model_name_or_path")
    return str(base) if base else None


def check_adapter_base(peft: str, pretrained: str) -> None:
    """Refuse an adapter that was trained on another model.

    Folders are compared by their resolved paths, hub names as they are. If the adapter names a folder that no longer
    exists, or one of the two is a hub name and the other a folder, the last part of the names decides.

    Raises:
        UserError: the two differ.
    """
    base = adapter_base(peft)
    if base is None or base == pretrained:
        return
    if Path(base).is_dir() and Path(pretrained).is_dir():
        same = Path(base).resolve() == Path(pretrained).resolve()
    elif Path(base).is_dir() or Path(pretrained).is_dir() or Path(base).is_absolute():
        same = _short_name(base) == _short_name(pretrained)
    else:
        same = base.strip("/").casefold() == pretrained.strip("/").casefold()
    if not same:
        raise UserError(
            f"peft={peft}: the adapter was trained on {base}, not on pretrained={pretrained}; "
            "leave pretrained out, or name the adapter's base (base_model_name_or_path in adapter_config.json)"
        )


def _refuse_non_checkpoint(pretrained: str) -> None:
    """Refuse what is clearly not a checkpoint, before asking the hub."""
    path = Path(pretrained)
    if path.is_dir():
        if not (path / "config.json").is_file():
            hint = "it contains an adapter: pass it as peft=" if is_adapter(path) else "expected a checkpoint folder"
            raise UserError(f"pretrained={pretrained}: no config.json in this folder; {hint}")
    elif path.is_file() or path.is_absolute() or pretrained.startswith((".", "~")) or pretrained.count("/") > 1:
        raise UserError(f"pretrained={pretrained}: no such folder; expected a checkpoint folder or a name on the hub")


def _short_name(name: str) -> str:
    """Return the last part of a path or hub name; of a file in the hub's cache, the repository's name."""
    parts = Path(name).parts
    for part in parts:
        if part.startswith("models--"):
            return part.rsplit("--", 1)[-1].casefold()
    return parts[-1].casefold() if parts else ""

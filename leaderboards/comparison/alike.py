"""Differences in how two runs were made, as lmms-eval recorded them: settings, versions, judges."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from emt_core.errors import UserError
from emt_core.public_names import public_name
from emt_core.runs import Run

FLAG = "--allow-different"

_ABSENT = "none"
_LONGEST = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not alike in two runs.

    `name` is what `--allow-different` takes, `field` the setting as lmms-eval names it. `task` is None where all tasks
    are concerned. One that `stops` keeps the gate from a verdict; one that is `allowed` would, were it not accepted.
    """

    name: str
    field: str
    base: str
    candidate: str
    stops: bool
    task: str | None = None
    allowed: bool = False

    def __str__(self) -> str:
        """Describe it in one line."""
        if self.name == SAME_RUN:
            return f"base and candidate are the same run, {self.base}"
        where = "" if self.task is None else f"task {self.task}: "
        field = "" if self.field == self.name else f" ({self.field})"
        return f"{where}{self.name}{field} is {self.base} in base, {self.candidate} in candidate"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as users think of it; `fields` lists the results file's fields and model arguments that hold it."""

    name: str
    fields: str
    stops: bool


SETTINGS = (
    Setting("model-class", "model_class", True),
    Setting("system-prompt", "system_instruction system_prompt", True),
    Setting(
        "chat-template",
        "chat_template apply_chat_template fewshot_as_multiturn conv_template conv_mode pre_prompt post_prompt "
        "reasoning_prompt enable_thinking interleave_visuals",
        True,
    ),
    Setting(
        "quantisation",
        "load_in_4bit load_in_8bit load_4bit load_8bit quantization quantization_config bitsandbytes "
        "bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_4bit_use_double_quant",
        True,
    ),
    Setting(
        "pixels",
        "max_pixels min_pixels total_pixels image_size max_image_size image_aspect_ratio max_num max_num_frames "
        "max_frames_num num_frames nframes fps max_slice_nums",
        True,
    ),
    Setting(
        "decoding",
        "gen_kwargs max_new_tokens max_tokens do_sample temperature top_p top_k num_beams repetition_penalty",
        True,
    ),
    Setting("scoring", "reasoning_tags", True),
    Setting("dtype", "dtype torch_dtype", False),
    Setting("attention", "attn_implementation use_flash_attention_2", False),
    Setting("seed", "random_seed numpy_seed torch_seed fewshot_seed seed", False),
    Setting("lmms-eval", "lmms_eval_version", False),
    Setting("transformers", "transformers_version", False),
)
"""One row per setting. A model argument that is in no row goes by its own name, and stops the gate."""

OF_TASKS = ("version", "prompt", "decoding", "scoring", "judge", "data")
"""What may differ task by task; see `pairing`."""

SAME_RUN = "same-run"

_WEIGHTS = {
    *("pretrained", "peft", "delta", "lora", "adapter", "model", "model_name", "model_id", "model_version"),
    *("model_path", "model_base", "path", "engine", "revision", "peft_revision", "tokenizer"),
}
"""Arguments that say which model it is: they are meant to differ."""

_HOW_IT_RUNS = {
    *("batch_size", "max_batch_size", "device", "device_map", "trust_remote_code", "low_cpu_mem_usage", "cache_dir"),
    *(
        "tensor_parallel_size",
        "data_parallel_size",
        "gpu_memory_utilization",
        "max_num_seqs",
        "enforce_eager",
        "threads",
    ),
    *("num_concurrent", "timeout", "max_retries", "retry_backoff_s", "base_url", "api_key", "disable_log_stats"),
}
"""Arguments that say where and how fast a model runs."""

_DEFAULTS = {"dtype": "auto", "torch_dtype": "auto"}

_TOP = ("system_instruction", "chat_template", "lmms_eval_version", "transformers_version")
_CONFIG = ("gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
_COMMAND = ("apply_chat_template", "fewshot_as_multiturn", "reasoning_tags")
_IF_BOTH_SAY = {"lmms_eval_version", "transformers_version", "model_class", *_CONFIG[1:], *_COMMAND}
"""Fields that not every version of lmms-eval writes: left out by one run, they say nothing."""

_EMPTY = {"", "none", "null", "false", "{}", "[]"}


def compare_settings(base: Run, candidate: Run) -> tuple[Difference, ...]:
    """Return what differs between two runs as a whole, in the order of `SETTINGS`; other arguments come last."""
    sides = [_facts(run) for run in (base, candidate)]
    homes = {field: setting for setting in SETTINGS for field in setting.fields.split()}
    found = []
    for field in dict.fromkeys((*homes, *sides[0], *sides[1])):
        if field in _IF_BOTH_SAY and not all(field in side for side in sides):
            continue
        one, other = (_meaning(field, side.get(field)) for side in sides)
        if one != other:
            setting = homes.get(field) or Setting(field, field, stops=True)
            found.append(Difference(setting.name, field, *shown(one, other), stops=setting.stops))
    return (*_same_run(base, candidate), *found)


def accept(differences: Iterable[Difference], allow: Collection[str]) -> tuple[Difference, ...]:
    """Mark those that the user accepts: they no longer stop the gate."""
    return tuple(
        replace(found, stops=False, allowed=True) if found.stops and found.name in allow else found
        for found in differences
    )


def check_allowed(allow: Iterable[str], base: Run, candidate: Run) -> None:
    """Refuse unknown names: a misspelt one would silently accept nothing.

    Raises:
        UserError: a name is neither one of ours nor an argument of either model.
    """
    known = [SAME_RUN, *dict.fromkeys([*(setting.name for setting in SETTINGS), *OF_TASKS])]
    arguments = {name for run in (base, candidate) for name in _arguments(_config(run).get("model_args"))}
    for name in allow:
        if name not in known and name not in arguments:
            raise UserError(f"{FLAG} {name}: not known; expected {', '.join(known)} or the name of a model's argument")


def why_stopped(differences: Iterable[Difference]) -> str | None:
    """Return one line that names what stops the gate and the flag that accepts it; None where nothing does."""
    stopping = [found for found in differences if found.stops]
    if not stopping:
        return None
    more = f"; and {len(stopping) - 1} more" if len(stopping) > 1 else ""
    flags = " ".join(f"{FLAG} {name}" for name in dict.fromkeys(found.name for found in stopping))
    return f"the runs are not alike: {stopping[0]}{more}; make both alike, or accept it with {flags}"


def shown(one: Any, other: Any) -> tuple[str, str]:
    """Return two different values for a reader: short, without folders, and never with the same text."""
    texts = [_ABSENT if value is None else _short(_text(value)) for value in (one, other)]
    if texts[0] == texts[1]:
        texts = [
            f"{text} [{hashlib.sha256(_whole_text(value).encode('utf-8', 'replace')).hexdigest()[:8]}]"
            for text, value in zip(texts, (one, other), strict=True)
        ]
    return texts[0], texts[1]


def _facts(run: Run) -> dict[str, Any]:
    """Return what a results file says about how its answers were made: each field that it has."""
    config = _config(run)
    command = config.get("resolved_cli_args")
    facts = {name: run.results[name] for name in _TOP if run.results.get(name) is not None}
    facts |= {name: config[name] for name in _CONFIG if name in config}
    facts |= {name: command[name] for name in _COMMAND if name in command} if isinstance(command, Mapping) else {}
    facts |= {"model_class": config["model"]} if isinstance(config.get("model"), str) else {}
    arguments = _arguments(config.get("model_args"))
    return facts | {name: value for name, value in arguments.items() if name not in _WEIGHTS | _HOW_IT_RUNS}


def _config(run: Run) -> Mapping[str, Any]:
    config = run.results.get("config")
    return config if isinstance(config, Mapping) else {}


def _arguments(model_args: Any) -> dict[str, Any]:
    """Read a model's arguments as lmms-eval takes them; a comma without a name after it belongs to the value."""
    if isinstance(model_args, Mapping):
        return {str(name): value for name, value in model_args.items()}
    parts = re.split(r",(?=\s*\w+=)", model_args) if isinstance(model_args, str) else []
    pairs = (part.partition("=") for part in parts)
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def _meaning(field: str, value: Any) -> Any:
    """Return a value as comparable text; None for all that stands for "not set"."""
    text = value.strip() if isinstance(value, str) else _text(value)
    return None if text.casefold() in _EMPTY or text == _DEFAULTS.get(field) else text


def _text(value: Any) -> str:
    return public_name(value) if isinstance(value, str) and " " not in value.strip() else _whole_text(value)


def _whole_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def _same_run(base: Run, candidate: Run) -> Iterator[Difference]:
    """Yield a difference if one run, perhaps a copy or judged again, was given for both."""
    clocks = [[run.results.get(name) for name in ("start_time", "end_time", "date")] for run in (base, candidate)]
    same_clock = clocks[0] == clocks[1] and None not in clocks[0]
    if same_clock or base.path.resolve() == candidate.path.resolve():
        yield Difference(SAME_RUN, SAME_RUN, base.name, candidate.name, stops=True)


def compare_judges(
    task: str, base: Mapping[str, int], candidate: Mapping[str, int], changed: int
) -> tuple[Difference, ...]:
    """Return how the judges of one task's answers differ.

    `base` and `candidate` count the answers of each judge, `changed` the documents that had two different judges.
    If several judges judged the same documents in both runs, they are only listed; anything else stops the gate.
    """
    alike = set(base) == set(candidate) and not changed
    if alike and len(base) < 2:
        return ()
    texts = [", ".join(f"{name} ({count})" for name, count in sorted(side.items())) for side in (base, candidate)]
    return (Difference("judge", "judge", texts[0], texts[1], stops=not alike, task=task),)

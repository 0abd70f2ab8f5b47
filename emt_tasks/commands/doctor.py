"""`emt doctor`: check what the other commands need; a table, with a fix beside each problem.

Reads versions from the packages' metadata and runs separate programs for the rest, so that nothing heavy is
imported here. The check of lmms-eval takes as long as importing lmms-eval; `--quick` leaves it out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import httpx
import typer
from huggingface_hub import get_token
from huggingface_hub.constants import ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emt_core.errors import UserError, one_line
from emt_tasks.commands.app import PACKAGES
from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import DATA_DIR_VARIABLE, datasets
from emt_tasks.datasets.checks import availability
from emt_tasks.tasks import registry
from emt_tasks.tasks.scoring import JUDGE_VARIABLE
from judges import JUDGE_NAMES, MultipleChoice, Verdict
from judges.settings import LLMSettings, PanelSettings

doctor = typer.Typer()

DISTRIBUTION = "emt-eval"
SHOWN = ("lmms-eval", "torch", "transformers", "datasets", "accelerate", "peft", "huggingface_hub")
"""Packages whose versions are shown even if nothing is wrong with them."""

GIGABYTE = 10**9
LITTLE_SPACE_GB = 20
"""A checkpoint of 7 billion weights in 16 bits takes 14 GB."""

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[bold red]problem[/]"}


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked and found. A `problem` stops something; a `note` only limits what can be done."""

    name: str
    state: Literal["ok", "note", "problem"]
    found: str
    fix: str = ""


@doctor.command(
    name="doctor", context_settings={"help_option_names": ["-h", "--help"]}, epilog="Example: emt doctor --quick"
)
def doctor_command(
    quick: Annotated[bool, typer.Option("--quick", help="Skip the check that imports lmms-eval.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines instead of a table.")] = False,
) -> None:
    """Check that everything the other commands need is here, and say what to do about anything missing.

    Looks at versions, GPU, hub, data, judge, names, disk and lmms-eval. Exit code 0: no problem. 2: some.
    """
    waiting = Console(stderr=True).status("checking; lmms-eval takes a while to import") if not quick else nullcontext()
    with waiting:
        found = list(examine(quick=quick))
    if as_json:
        for check in found:
            typer.echo(json.dumps(asdict(check), ensure_ascii=False))
    else:
        _print(found)
    if any(check.state == "problem" for check in found):
        raise typer.Exit(2)


def examine(*, quick: bool = False) -> Iterator[Check]:
    """Yield all checks in the order in which they are shown; slow ones run side by side."""
    slow: list[Callable[[], Check]] = [hub, judge_server, *_data_checks(), *([] if quick else [lmms_eval_hook])]
    with ThreadPoolExecutor(max_workers=len(slow)) as pool:
        futures: list[Future[Check]] = [pool.submit(check) for check in slow]
        yield from (python_version(), versions(), names(), gpu(), disk())
        yield from (future.result() for future in futures)


def python_version() -> Check:
    """The interpreter against what the distribution requires."""
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Check("Python", "ok", found)
    return Check("Python", "problem", found, f"use Python {wanted}")


def versions() -> Check:
    """The installed packages against what the distribution requires."""
    wanted = [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or ()]
    unmet = [need for need in wanted if not (need.marker and not need.marker.evaluate({"extra": ""})) and _unmet(need)]
    if unmet:
        described = ", ".join(f"{need.name} {_version(need.name) or 'missing'}" for need in unmet)
        specifiers = " ".join(f"'{need.name}{need.specifier}'" for need in unmet)
        return Check("packages", "problem", described, f"pip install {specifiers}")
    return Check("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in SHOWN))


def names() -> Check:
    """Whether the import names of our packages resolve to ours: other distributions use some of them too."""
    ours = Path(__file__).parents[2]
    owners = importlib.metadata.packages_distributions()
    others = {name: sorted(set(owners.get(name, ())) - {DISTRIBUTION}) for name in PACKAGES}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        file = Path(spec.origin) if spec and spec.origin else None
        if file is None or file.parents[1] != ours:
            blame = " ".join(others[name]) or str(file)
            return Check("import names", "problem", f"{name} is {file}, not ours", f"pip uninstall {blame}")
    shared = [f"{name} (also in {', '.join(found)})" for name, found in others.items() if found]
    if shared:
        fix = "use a fresh environment: whichever is installed last overwrites the other's files"
        return Check("import names", "problem", ", ".join(shared), fix)
    return Check("import names", "ok", ", ".join(PACKAGES))


def gpu() -> Check:
    """The GPUs, and whether torch was built for them; torch itself is not imported."""
    if sys.platform == "darwin":
        return Check("GPU", "note", "macOS: torch may use mps", "")
    devices = _nvidia_devices()
    if not devices:
        small = "models run on the CPU: enough for emt demo, slow for anything else"
        return Check("GPU", "note", "none found by nvidia-smi", small)
    if _torch_cuda() is None:
        return Check("GPU", "problem", f"{', '.join(devices)}, but torch is built for CPUs", "install torch for CUDA")
    return Check("GPU", "ok", f"{', '.join(devices)}; torch for CUDA {_torch_cuda()}")


def disk() -> Check:
    """Free space here and in the hub's cache."""
    places = {Path.cwd(): "here", _existing(Path(HF_HUB_CACHE)): "for the hub's cache"}
    free = {path: shutil.disk_usage(path).free / GIGABYTE for path in places}
    found = ", ".join(f"{free[path]:.0f} GB free {what}" for path, what in places.items())
    least = min(free.values())
    if least < 1:
        return Check("disk", "problem", found, "free some space, or set HF_HOME to a larger disk")
    if least < LITTLE_SPACE_GB:
        return Check(
            "disk", "note", found, "a model of 7 billion weights takes 14 GB; HF_HOME may point to another disk"
        )
    return Check("disk", "ok", found)


def hub() -> Check:
    """Whether the hub answers, and whether the user is logged in."""
    if HF_HUB_OFFLINE:
        return Check("hub", "note", "HF_HUB_OFFLINE is set: only what is on disk", "unset HF_HUB_OFFLINE")

    try:
        httpx.head(ENDPOINT, timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        fix = "check network and proxy (HTTPS_PROXY); or work from disk: local checkpoints and EMT_DATA_DIR"
        return Check("hub", "note", f"{ENDPOINT} does not answer: {one_line(error)}", fix)
    if get_token() is None:
        return Check("hub", "note", f"{ENDPOINT} answers; not logged in", "for gated data and models: hf auth login")
    return Check("hub", "ok", f"{ENDPOINT} answers; logged in")


def judge_server() -> Check:
    """The judge that tasks use; a language model is asked to judge one answer, as in later runs."""
    name = os.environ.get(JUDGE_VARIABLE) or "fuzzy"
    if name not in JUDGE_NAMES:
        return Check("judge", "problem", f"{JUDGE_VARIABLE}={name}", f"set it to one of {', '.join(JUDGE_NAMES)}")
    try:
        models = _models(name)
        if not all(model.configured for model in models):
            if name in (*_ONE_MODEL, "panel"):
                return Check("judge", "problem", f"{JUDGE_VARIABLE}={name}, but no language model", LLMSettings.HOW)
            return Check("judge", "ok", f"{name}; no language model set, none needed")
        verdicts = [_judged_now(model) for model in models]
    except UserError as error:
        return Check("judge", "problem", str(error), "see: python -c 'import judges.settings; help(judges.settings)'")
    failed = [verdict.reason for verdict in verdicts if verdict.category == "unscored"]
    if failed:
        return Check("judge", "problem", "; ".join(failed), "start the server, or fix EMT_JUDGE_BASE_URL and _MODEL")
    answering = ", ".join(str(model.model) for model in models)
    return Check("judge", "ok", f"{name}; {answering} answer{'s' if len(models) == 1 else ''}")


_ONE_MODEL = ("llm", "emt-paper", "cascade")


def _models(judge: str) -> tuple[LLMSettings, ...]:
    """The models that are set: a panel's where the judge is one, or may become one by an option."""
    panel = PanelSettings.resolve({})
    if judge == "panel" or (judge not in _ONE_MODEL and len(panel.model) > 1):
        return panel.members()
    return (LLMSettings.resolve({}),)


def _judged_now(settings: LLMSettings) -> Verdict:
    """Ask one model to judge an answer, without cache and retry: does its server answer now?"""
    from judges.llm.judge import category_judge

    llm = category_judge(replace(settings, cache=None, max_retries=0, timeout_s=30.0))
    try:
        return llm.judge("The answer is B.", MultipleChoice("B", ("cat", "dog")))
    finally:
        llm.close()


def lmms_eval_hook() -> Check:
    """Whether plain lmms-eval, as its own program, knows our tasks."""
    fix = 'add to the command line of lmms-eval: --include_path "$(emt tasks path)"'
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lmms_eval", "--tasks", "list"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Check("lmms-eval", "problem", "did not list its tasks within 300 s", "run: lmms-eval --tasks list")
    listed = set(re.findall(r"^\s*- (\S+)$", done.stdout, re.MULTILINE))
    ours = set(registry.entries())
    if not listed:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        return Check("lmms-eval", "problem", f"cannot list its tasks: {last}", "run: lmms-eval --tasks list")
    if missing := sorted(ours - listed):
        return Check("lmms-eval", "problem", f"does not know {len(missing)} of our tasks, {missing[0]} first", fix)
    return Check("lmms-eval", "ok", f"knows our {len(ours)} tasks and groups")


def _data_checks() -> list[Callable[[], Check]]:
    """One check per data set, without the demo's, which need nothing."""
    root = os.environ.get(DATA_DIR_VARIABLE)
    if root and not Path(root).expanduser().is_dir():
        wrong = Check("data", "problem", f"{DATA_DIR_VARIABLE}={root}: no such folder", f"fix {DATA_DIR_VARIABLE}")
        return [lambda: wrong]
    kept = [name for name, row in datasets().items() if row.generator is None]
    return [lambda name=name: _data_set(name) for name in kept]  # type: ignore[misc]


def _data_set(name: str) -> Check:
    """Whether a data set is available; a missing one is a note, a broken one a problem."""
    found = availability(catalog.get(name))
    local = found.dataset.local_file(found.split)
    if found.problem is None:
        size = f", {found.documents:,} documents" if found.documents is not None else ""
        return Check(f"data: {name}", "ok", f"{found.origin}{size}")
    what, _, fix = found.problem.rpartition("; ")
    broken = local is not None and local.is_file()
    found_text = (what or found.problem).removeprefix(f"{name}: ")
    return Check(f"data: {name}", "problem" if broken else "note", found_text, fix.removeprefix("run: "))


def _unmet(need: object) -> bool:
    assert isinstance(need, Requirement)
    version = _version(need.name)
    return version is None or not need.specifier.contains(version, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nvidia_devices() -> list[str]:
    """Name and memory of each GPU, from the driver; empty if there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def _torch_cuda() -> str | None:
    """The CUDA version that torch was built for, read from its version file; None for a build without CUDA."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    built = re.search(r"^cuda(?:: [^=]+)? = '([^']+)'", text, re.MULTILINE)
    return built[1] if built else None


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _print(found: list[Check]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for check in found:
        table.add_row(_MARKS[check.state], *map(escape, (check.name, check.found, check.fix)))
    Console().print(table, highlight=False)
    problems = sum(check.state == "problem" for check in found)
    typer.echo(f"{problems} problem{'' if problems == 1 else 's'}" if problems else "no problems", err=True)

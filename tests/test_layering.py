"""Who may import whom, and what stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("emt_tasks", "judges", "finetune", "leaderboards")

ALLOWED = {
    "judges": set(),
    "leaderboards": {"judges"},
    "emt_tasks": {"judges"},
    "finetune": {"judges", "emt_tasks"},
}

# The lmms-eval side of emt_tasks, which training never touches; the evaluation at checkpoints, one module, may.
HARNESS_SIDE = {
    "emt_tasks.datasets.checks",
    "emt_tasks.commands.app",
    "emt_tasks.tasks.evaluator",
    "emt_tasks.models.clip",
    "emt_tasks.models.vlm",
    "emt_tasks.plugin",
    "emt_tasks.tasks.scoring",
}
EVALUATES = {"finetune/evaluation.py"}

# The command line mounts all packages, and the demo walks through all of them.
KNOWS_ALL = {"emt_tasks/cli.py", "emt_tasks/demo/story.py"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(file: Path) -> set[str]:
    """The full names of all that a module imports, at its top or inside its functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package):
    for file in modules(package):
        if file.relative_to(ROOT).as_posix() in KNOWS_ALL:
            continue
        others = {name.split(".")[0] for name in imports(file)} & set(PACKAGES) - {package}
        assert others <= ALLOWED[package], file


def test_training_leaves_the_harness_alone():
    for file in modules("finetune"):
        if file.relative_to(ROOT).as_posix() not in EVALUATES:
            used = {name for name in imports(file) if any(f"{name}.".startswith(f"{part}.") for part in HARNESS_SIDE)}
            assert not used, file


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_tests_benchmarks_or_tools(package):
    for file in modules(package):
        assert not {name.split(".")[0] for name in imports(file)} & {"tests", "benchmarks", "tools"}, file


@pytest.mark.parametrize("package", ["judges", "leaderboards", "emt_tasks", "emt_tasks.commands.app"])
def test_imports_are_light(package):
    heavy = ("torch", "transformers", "lmms_eval", "polars", "openai", "datasets")
    code = f"import sys, {package}; print(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_plugin_touches_lmms_evals_internals(package):
    """Models implement its interface; everything else of lmms-eval is reached from one module."""
    for file in modules(package):
        name = file.relative_to(ROOT).as_posix()
        if name == "emt_tasks/plugin.py" or name in EVALUATES | KNOWS_ALL:
            continue
        used = {found for found in imports(file) if found.split(".")[0] == "lmms_eval"}
        assert all(found.startswith("lmms_eval.api.") for found in used), (name, used)

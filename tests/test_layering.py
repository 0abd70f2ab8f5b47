"""Who may import whom, and what stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("emt_core", "judges", "leaderboards", "emt_tasks", "finetune")
COMMANDS = "emt_tasks.commands"

ALLOWED = {
    "emt_core": set(),
    "judges": {"emt_core"},
    "leaderboards": {"emt_core", "judges"},
    "emt_tasks": {"emt_core", "judges"},
    "finetune": {"emt_core", "judges", "emt_tasks"},
    COMMANDS: set(PACKAGES) | {COMMANDS},
}
"""What each layer may import; the commands are the application, above all packages."""

ENTRANCES = {"emt_tasks/__main__.py"}
"""`python -m emt_tasks` is the application too."""

# The lmms-eval side of emt_tasks, which training never touches; the evaluation at checkpoints, one module, may.
HARNESS_SIDE = {
    "emt_tasks.datasets.checks",
    "emt_tasks.models.clip",
    "emt_tasks.models.vlm",
    "emt_tasks.plugin",
    "emt_tasks.tasks.asked",
    "emt_tasks.tasks.evaluator",
    "emt_tasks.tasks.sampled",
    "emt_tasks.tasks.scoring",
}
EVALUATES = {"finetune/training/evaluation.py"}

_DOTTED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def layer(name: str) -> str:
    """The layer of a module's full name."""
    return COMMANDS if f"{name}.".startswith(f"{COMMANDS}.") else name.split(".")[0]


def own_layer(file: Path) -> str:
    relative = file.relative_to(ROOT).as_posix()
    return COMMANDS if relative in ENTRANCES else layer(relative.removesuffix(".py").replace("/", "."))


def imports(tree: ast.Module) -> set[str]:
    """The full names of all that a module imports, at its top or inside its functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def named_in_strings(tree: ast.Module) -> set[str]:
    """Our modules that a string names as a whole, alone or before a colon: what `import_module` and `-m` are given."""
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    names = {text.partition(":")[0] for text in texts}
    return {name for name in names if _DOTTED.fullmatch(name)}


def dependencies(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return imports(tree) | named_in_strings(tree)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package):
    for file in modules(package):
        own = own_layer(file)
        others = {layer(name) for name in dependencies(file) if name.split(".")[0] in PACKAGES} - {own}
        assert others <= ALLOWED[own], file


def test_a_dependency_by_string_is_seen():
    assert named_in_strings(ast.parse('x = ("leaderboards.gate.decide:decide", "not one. leaderboards.gate")')) == {
        "leaderboards.gate.decide"
    }


def test_training_leaves_the_harness_alone():
    for file in modules("finetune"):
        if file.relative_to(ROOT).as_posix() not in EVALUATES:
            used = dependencies(file)
            assert not {name for name in used if any(f"{name}.".startswith(f"{part}.") for part in HARNESS_SIDE)}, file


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_tests_benchmarks_or_tools(package):
    for file in modules(package):
        assert not {name.split(".")[0] for name in dependencies(file)} & {"tests", "benchmarks", "tools"}, file


def loaded_by(code: str, heavy: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh interpreter has loaded after some code."""
    shown = f"{code}\nimport sys; print(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("package", ["emt_core", "judges", "leaderboards", "finetune", "emt_tasks"])
def test_importing_a_package_is_light(package):
    heavy = ("torch", "transformers", "lmms_eval", "polars", "openai", "datasets")
    assert loaded_by(f"import {package}", heavy) == []


@pytest.mark.parametrize("package", ["emt_core", "judges", "leaderboards", COMMANDS])
def test_no_module_of_it_loads_torch_or_the_harness(package):
    files = modules(package.replace(".", "/"))
    names = [file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files]
    code = "\n".join(f"import {name.removesuffix('.__init__')}" for name in names)
    assert loaded_by(code, ("torch", "transformers", "lmms_eval")) == []


def test_help_loads_nothing_heavy():
    code = "from emt_tasks.commands.app import main\nmain(['--help'])"
    heavy = ("torch", "lmms_eval", "polars", "scipy", "emt_tasks.commands.gate", "emt_tasks.commands.demo")
    assert not set(heavy) & set(loaded_by(code, heavy))


def test_the_options_that_all_commands_share_load_nothing_heavy():
    heavy = ("torch", "lmms_eval", "polars", "scipy")
    assert not set(heavy) & set(loaded_by("import emt_tasks.commands.options", heavy))


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_plugin_touches_lmms_evals_internals(package):
    """Models implement its interface; everything else of lmms-eval is reached from one module."""
    for file in modules(package):
        name = file.relative_to(ROOT).as_posix()
        if name == "emt_tasks/plugin.py" or name in EVALUATES or own_layer(file) == COMMANDS:
            continue
        used = {found for found in dependencies(file) if found.split(".")[0] == "lmms_eval"}
        assert all(found.startswith("lmms_eval.api.") for found in used), (name, used)

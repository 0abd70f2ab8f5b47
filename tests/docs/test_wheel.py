"""The wheel holds every file of the five packages, and works where nothing but the wheel is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import sample_data

ROOT = Path(__file__).parents[2]
PACKAGES = ("emt_core", "emt_tasks", "finetune", "judges", "leaderboards")


def tracked(*paths: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "--", *paths], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git checkout")
    return {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build from a copy of the tracked files, so that no leftovers of the checkout get in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked(*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    command = [sys.executable, "-c", "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])", str(out)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    (file,) = out.glob("*.whl")
    return file


def test_the_wheel_holds_what_the_repository_holds(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == tracked(*PACKAGES)


def test_the_wheel_says_what_it_installs(wheel):
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    points = archive.read(f"{info}/entry_points.txt").decode()
    assert "emt = emt_tasks.commands.app:main" in points
    assert "emt = emt_tasks.plugin:manifests" in points
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert f"{info}/licenses/LICENSE" in archive.namelist()


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The scripts of a new environment that holds the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    # A plain path, after the new environment's own: no .pth file in it is read, so the checkout stays out of sight.
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (Path(site.stdout.strip()) / "dependencies.pth").write_text(f"{ours}\n")
    return folder / "bin"


@pytest.mark.slow
def test_the_installed_wheel_works_outside_the_checkout(installed, tmp_path):
    hidden = ("PYTHONPATH", "EMT_INCLUDE", "EMT_JUDGE")
    data = {"EMT_DATA_DIR": str(sample_data.write_all(tmp_path / "data", size=4)), "HF_HUB_OFFLINE": "1"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | data

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    where = f"import {', '.join(PACKAGES)}; print(*(one.__file__ for one in ({', '.join(PACKAGES)})))"
    assert run(installed / "python", "-c", where).count(str(installed.parent)) == len(PACKAGES)
    assert "emt_cifar10" in run(installed / "emt", "tasks", "list")
    tiny = "from emt_tasks.demo.tiny import PATH; print(*sorted(file.name for file in PATH.iterdir()))"
    assert "model.safetensors" in run(installed / "python", "-c", tiny)
    run(installed / "python", "-c", "from finetune import read; print(read('emt_linear').to_yaml())")

    run(installed / "emt", "demo", "--output", tmp_path / "demo")
    assert (tmp_path / "demo" / "report.html").is_file()

    model = ("--model", "emt_vlm", "--model_args", "pretrained=emt:tiny", "--device", "cpu")
    run(
        installed / "python",
        "-m",
        "lmms_eval",
        *model,
        "--tasks",
        "emt_cifar10",
        "--output_path",
        "run",
        "--log_samples",
    )
    (samples,) = (tmp_path / "run").rglob("*_samples_emt_cifar10.jsonl")
    assert len(samples.read_text().splitlines()) == 4

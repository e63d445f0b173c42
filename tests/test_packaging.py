"""What is built is what runs: a wheel, installed elsewhere, answers from any folder."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel without the network: the build backend is one of our development tools."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel in it, which sees the libraries of this one but not our checkout."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # noqa: S202  (our own wheel)
    # A .pth file appends: the wheel's package comes first. That folder's own .pth files, which would
    # lead to the checkout, are not read again.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


def test_the_wheel_carries_models_experiments_styles_and_types(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        "nodeportsim/py.typed",
        "nodeportsim/calibrate/measuring/probe.c",
        "nodeportsim/_data/models/kernel-6.18/profile.yaml",
        "nodeportsim/_data/experiments/examples/node-failure.yaml",
        "nodeportsim/_data/experiments/node_failure_retry/experiment.yaml",
        "nodeportsim/_data/experiments/client_choice/policies.py",
    }
    assert expected <= names
    style = ROOT / "sim" / "nodeportsim" / "report" / "style"
    assert {f"nodeportsim/report/style/{path.name}" for path in style.iterdir() if path.is_file()} <= names
    entry_points = next(name for name in names if name.endswith("entry_points.txt"))
    commands = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert "nodeportsim = nodeportsim.cli:main" in commands
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nodeportsim"}


def test_the_sdist_carries_what_a_packager_builds_and_tests(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    expected = {"pyproject.toml", "LICENSE", "constraints.txt", "sim/nodeportsim/cli/__init__.py"}
    assert expected | {"tests/test_packaging.py", "models/kernel-6.18/profile.yaml"} <= names
    assert not {name for name in names if name.startswith(("results/", ".ci/", "runs/", ".venv/"))}


def test_the_installed_command_answers_from_another_folder(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [installed / "bin" / "python", "-c", "import nodeportsim; print(nodeportsim.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    ).stdout
    assert where.startswith(str(installed))
    arguments = ["run", "--example", "node-failure", "--set", "run.duration=5s", "--engine", "simpy"]
    command = [installed / "bin" / "python", "-m", "nodeportsim", *arguments, "--replications", "1"]
    table = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert table.returncode == 0, table.stderr
    report = tmp_path / table.stdout.splitlines()[-1]
    assert report.is_file()
    summary = json.loads((report.parent / "summary.json").read_text())
    assert summary["requests"]["offered"] > 0


def test_the_installed_command_knows_its_data(installed: Path, tmp_path: Path) -> None:
    for what, name in (("examples", "node-failure"), ("profiles", "kernel-6.18")):
        command = [installed / "bin" / "python", "-m", "nodeportsim", "list", what]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        assert name in listed.split()

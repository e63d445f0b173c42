"""The rules of the house, held by machine: who may import whom, how long things may be, what may be said."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sim" / "nodeportsim"
MODULES = sorted(PACKAGE.rglob("*.py"))

BASE = {"errors", "units"}
FLOORS = {
    "errors": set(),
    "units": {"errors"},
    "draws": {"errors"},
    "kube": BASE,
    "kubeproxy": BASE | {"kube"},
    "scenario": BASE | {"kube", "kubeproxy", "draws"},
    "engine": BASE | {"scenario", "kubeproxy", "draws"},
    "theory": BASE,
    "metrics": BASE,
    "study": BASE | {"engine", "theory", "metrics", "scenario"},
    "calibrate": BASE | {"kubeproxy", "scenario", "study", "metrics"},
    "diagnose": BASE | {"kube", "scenario", "theory", "metrics"},
    "report": BASE | {"metrics"},
}
ROOFS = {"__init__", "__main__", "cli", "result"}  # These may import every floor.

# Which third-party package may stand where: prefixes of module paths below the package.
LIBRARIES = {
    "SALib": ("study.sensitivity",),
    "click": ("cli",),
    "distributed": ("study.workers",),
    "jinja2": ("report",),
    "joblib": ("study",),
    "llvmlite": ("engine.compiled",),
    "markupsafe": ("report",),
    "matplotlib": ("report",),
    "networkx": ("scenario.network",),
    "numba": ("engine.compiled",),
    "numpy": ("engine", "theory", "metrics", "study", "calibrate", "diagnose", "report"),
    "pandas": ("metrics", "study", "calibrate", "report", "result", "cli"),
    "pydantic": ("scenario", "study.experiment", "study.incidents"),
    "pydantic_core": ("scenario",),
    "rich": ("report", "cli"),
    "rich_click": ("cli",),
    "scipy": ("theory", "metrics", "study", "calibrate"),
    "simpy": ("engine",),
    "yaml": ("scenario", "study.experiment", "calibrate", "result"),
}
SLOW = {"SALib", "distributed", "scipy", "pandas", "matplotlib", "numba", "networkx"}
FILE_TOUCHERS = (
    "result",
    "scenario.read",
    "scenario.profile",
    "study.store",
    "study.folder",
    "study.results",
    "study.manifest",
    "calibrate",
    "report",
    "cli",
    "engine.cache",
)
FILE_CALLS = {
    "open",
    "read_text",
    "write_text",
    "read_bytes",
    "write_bytes",
    "unlink",
    "mkdir",
    "rmtree",
    "to_csv",
}

FILE_LINES = 400
FUNCTION_LINES = 50


def dotted(path: Path) -> str:
    """`sim/nodeportsim/study/run.py` is `study.run`, a package is its `__init__`'s folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports(path: Path) -> list[tuple[str, bool]]:
    """All imports of a module as (absolute name, at module level), without those only for types."""
    found: list[tuple[str, bool]] = []
    _walk(tree(path), path, found, top=True)
    return found


def _walk(node: ast.AST, path: Path, found: list[tuple[str, bool]], *, top: bool) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            found += [(alias.name, top) for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            found += [(name, top) for name in _absolute(child, path)]
        inner = top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        _walk(child, path, found, top=inner)


def _absolute(node: ast.ImportFrom, path: Path) -> list[str]:
    if node.level == 0:
        module = node.module or ""
    else:
        package = ("nodeportsim", *path.relative_to(PACKAGE).parent.parts)
        base = package[: len(package) - node.level + 1]
        module = ".".join((*base, *([node.module] if node.module else [])))
    # `from nodeportsim import kube` imports a floor by its name alone.
    whole = module == "nodeportsim"
    return [f"{module}.{alias.name}" for alias in node.names] if whole else [module]


def under(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring: words are free, code is not."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_only_the_floors_below_it(path: Path) -> None:
    floor = dotted(path).split(".")[0]
    if floor in ROOFS:
        return
    used = {name.split(".")[1] for name, _ in imports(path) if name.startswith("nodeportsim.")}
    strangers = used - FLOORS[floor] - {floor}
    assert not strangers, f"{floor} must not import {sorted(strangers)}"


def test_a_new_floor_must_be_given_its_place() -> None:
    floors = {dotted(path).split(".")[0] for path in MODULES}
    assert floors <= FLOORS.keys() | ROOFS


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_third_party_package_stands_only_where_it_may(path: Path) -> None:
    module = dotted(path)
    for name in {name.split(".")[0] for name, _ in imports(path)}:
        if name in sys.stdlib_module_names or name in {"nodeportsim", ""}:
            continue
        assert name in LIBRARIES, f"{name} has no place in the house yet"
        assert under(module, LIBRARIES[name]), f"{module} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_slow_packages_are_imported_where_they_are_used(path: Path) -> None:
    if under(dotted(path), ("engine.compiled",)):
        return  # This sub-package is itself imported only when the compiled engine is wanted.
    eager = {name.split(".")[0] for name, top in imports(path) if top} & SLOW
    assert not eager, f"import {sorted(eager)} inside the functions that need them"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_files_are_touched_only_at_the_edges(path: Path) -> None:
    if under(dotted(path), FILE_TOUCHERS):
        return
    calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
    names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}
    assert not names & FILE_CALLS


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module_says_what_it_is_and_stays_small(path: Path) -> None:
    assert (ast.get_docstring(tree(path)) or "").strip(), "a module starts with its docstring"
    assert len(path.read_text().splitlines()) <= FILE_LINES
    long = {f.name: body_lines(f) for f in functions(path) if body_lines(f) > FUNCTION_LINES}
    assert not long


def tracked() -> list[Path]:
    """All text files of the project: those git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


# Joined here, so that this file does not contain what it bans.
BANNED = tuple(
    "".join(parts)
    for parts in (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/op", "t/pypi"),
        ("/op", "t/wheels"),
        ("/tm", "p/brief"),
        ("files.python", "hosted"),
        ("pypi.", "org/simple"),
        ("--index", "-url"),
        ("--extra-index", "-url"),
        ("--find", "-links"),
        ("--trusted", "-host"),
    )
)


def test_no_file_names_the_machine_it_was_written_on() -> None:
    hits = []
    for path in tracked():
        text = path.read_text(errors="replace")
        hits += [f"{path.relative_to(ROOT)}: {word}" for word in BANNED if word in text]
    assert not hits


def test_nothing_imports_the_source_root() -> None:
    paths = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
    guilty = []
    for path in paths:
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            guilty += [str(path) for name in names if name.split(".")[0] == "sim"]
    assert not guilty
    assert not (ROOT / "sim" / "__init__.py").exists()

"""Files and results of every release keep working: golden scenarios, the schema, stored runs.

``python tests/test_old_files.py`` adds what a new golden file gives; what is there already it never changes.
A result that is meant to change (CHANGELOG.md says why): remove its entry by hand, then run it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from nodeportsim.cli import main
from nodeportsim.engine.codes import CAUSES
from nodeportsim.report.html import render
from nodeportsim.report.summary import as_csv, as_json, as_markdown
from nodeportsim.scenario.fields import ITEM, KEY, fields
from nodeportsim.scenario.read import read, write
from nodeportsim.scenario.schema import schema
from nodeportsim.study.run import run
from nodeportsim.study.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(path for path in (GOLDEN / "scenarios").iterdir() if path.is_dir())
FILES = sorted(path for version in VERSIONS for path in version.glob("*.yaml"))
RUNS = sorted(path for path in (GOLDEN / "runs").glob("*/*") if path.is_dir())

golden = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
stored_run = pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}/{path.name}")


def expected(version: Path) -> dict[str, Any]:
    file = version / "expected.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def dump(path: Path) -> dict[str, Any]:
    made: dict[str, Any] = read(path).model_dump(mode="json", by_alias=True)
    return made


def results(path: Path) -> dict[str, Any]:
    """Integers alone: they are the same on every machine, or something has changed."""
    replications = run(read(path), engine="simpy").replications
    errors = {cause: int(sum(r.errors[n] for r in replications)) for n, cause in enumerate(CAUSES)}
    return {
        "offered": [r.offered for r in replications],
        "succeeded": [r.succeeded for r in replications],
        "errors": {cause: count for cause, count in errors.items() if count},
        "latency_ns": [int(r.latency_sum_ns.sum()) for r in replications],
    }


# Scenarios.


@golden
def test_an_old_file_says_what_it_said(path: Path) -> None:
    lost = list(narrower_dump(expected(path.parent)[path.stem]["scenario"], dump(path)))
    assert not lost


@golden
def test_an_old_file_gives_the_same_integers(path: Path) -> None:
    assert results(path) == expected(path.parent)[path.stem]["results"]


@golden
def test_an_old_file_is_written_back_as_the_same_scenario(path: Path, tmp_path: Path) -> None:
    scenario = read(path)
    (tmp_path / "again.yaml").write_text(write(scenario))
    assert read(tmp_path / "again.yaml") == scenario


def narrower_dump(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Name what a stored scenario says that the same file says no longer; fields may have been added."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from (
                [f"{path}.{key} is gone"]
                if key not in new
                else narrower_dump(value, new[key], f"{path}.{key}")
            )
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, pair in enumerate(zip(old, new, strict=True)):
            yield from narrower_dump(*pair, f"{path}.{n}")
    elif old != new:
        yield f"{path} was {old!r}, is {new!r}"


def test_every_field_of_the_schema_stands_in_a_golden_file() -> None:
    used = {pattern for path in FILES for pattern in patterns(yaml.safe_load(path.read_text()), ())}
    missing = [str(field) for field in fields() if field.pattern not in used]
    assert not missing, f"give them a file in {VERSIONS[-1]}, then: python tests/test_old_files.py"


FREE = {field.pattern[:-1] for field in fields() if field.pattern[-1] == KEY}


def patterns(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Give the patterns of the fields a document uses, as `fields` writes them."""
    yield path
    if path == ("clients",) and isinstance(value, dict):
        value = [value]
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from patterns(inner, (*path, KEY if path in FREE else key))
    elif isinstance(value, list):
        for inner in value:
            yield from patterns(inner, (*path, ITEM))


# The schema.


def test_the_schema_only_ever_grows() -> None:
    old, new = json.loads((VERSIONS[-1] / "schema.json").read_text()), schema()
    assert not list(narrower(old, new, old, new, ""))


def test_a_schema_that_shrinks_is_noticed() -> None:
    old = json.loads((VERSIONS[-1] / "schema.json").read_text())
    proxy = old["$defs"]["Proxy"]["properties"]
    changes = {
        ".cluster.proxy.mode no longer takes 'ipvs'": lambda: proxy["mode"]["enum"].remove("ipvs"),
        ".cluster.proxy.syncPeriod is gone": lambda: proxy.pop("syncPeriod"),
        ".cluster.proxy.scheduler must be given now": lambda: old["$defs"]["Proxy"].update(
            required=["scheduler"]
        ),
        ".cluster.cores has another maximum": lambda: old["$defs"]["Cluster"]["properties"]["cores"].update(
            maximum=8
        ),
    }
    for words, change in changes.items():
        before = json.loads(json.dumps(old))
        change()
        assert list(narrower(before, old, before, old, "")) == [words]
        old.clear()
        old.update(before)
        proxy = old["$defs"]["Proxy"]["properties"]


def resolved(part: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference; what stands beside it counts too."""
    if "$ref" not in part:
        return part
    target: dict[str, Any] = whole["$defs"][part["$ref"].rpartition("/")[2]]
    return target | {key: value for key, value in part.items() if key != "$ref"}


def narrower(
    old: dict[str, Any], new: dict[str, Any], all_old: dict[str, Any], all_new: dict[str, Any], path: str
) -> Iterator[str]:
    """Name what the old schema takes and the new one does not."""
    old, new = resolved(old, all_old), resolved(new, all_new)
    for key, inner in old.get("properties", {}).items():
        there = new.get("properties", {}).get(key)
        yield from (
            [f"{path}.{key} is gone"]
            if there is None
            else narrower(inner, there, all_old, all_new, f"{path}.{key}")
        )
    yield from (
        f"{path}.{key} must be given now"
        for key in new.get("required", ())
        if key not in old.get("required", ())
    )
    yield from (
        f"{path} no longer takes {value!r}"
        for value in old.get("enum", ())
        if value not in new.get("enum", [value])
    )
    for bound, wider in (
        ("minimum", min),
        ("exclusiveMinimum", min),
        ("maximum", max),
        ("exclusiveMaximum", max),
    ):
        if bound in new and (bound not in old or wider(old[bound], new[bound]) != new[bound]):
            yield f"{path} has another {bound}"
    if old.get("pattern") != new.get("pattern"):
        yield f"{path} has another pattern"
    if "items" in old and "items" in new:
        yield from narrower(old["items"], new["items"], all_old, all_new, f"{path}.{ITEM}")
    choices = [resolved(part, all_new) for part in new.get("anyOf", [])]
    for part in old.get("anyOf", []):
        if not any(not list(narrower(part, choice, all_old, all_new, path)) for choice in choices):
            yield f"{path} no longer takes one of its forms"
    if old.get("type") != new.get("type"):
        yield f"{path} has another type"


# Results.


@stored_run
def test_a_stored_run_is_read_listed_and_verified(path: Path) -> None:
    verdict = verify(path, engine="simpy")
    assert verdict.answer in {"identical", "results differ"}, verdict.reasons
    listed = CliRunner().invoke(main, ["runs", str(path.parent), "-o", "json"])
    row = next(row for row in json.loads(listed.stdout) if row["run"] == path.name)
    assert (row["version"], row["state"]) == (
        path.parent.name,
        "" if (path / "manifest.json").exists() else "no manifest",
    )


@stored_run
def test_a_stored_run_can_be_reported_again(path: Path, tmp_path: Path) -> None:
    summary = json.loads((path / "summary.json").read_text())
    tables = {file.stem: pd.read_csv(file) for file in path.glob("*.csv")}
    render(summary, tables, tmp_path)
    assert summary["provenance"]["scenario"] in (tmp_path / "report.html").read_text()
    assert as_csv(summary)
    assert as_markdown(summary)
    assert json.loads(as_json(summary)) == summary
    assert CliRunner().invoke(main, ["verify", str(path), "--against", str(path)]).exit_code == 0


# Writing what a new file gives.


def refresh() -> None:
    """Add entries of new files; a schema that only grew becomes the stored one."""
    for version in VERSIONS:
        found = expected(version)
        for path in version.glob("*.yaml"):
            if path.stem not in found:
                found[path.stem] = {"scenario": dump(path), "results": results(path)}
        lines = [f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
        (version / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    file = VERSIONS[-1] / "schema.json"
    old, new = json.loads(file.read_text()) if file.exists() else {}, schema()
    if not list(narrower(old, new, old, new, "")):
        file.write_text(json.dumps(new, indent=1) + "\n")


if __name__ == "__main__":
    refresh()

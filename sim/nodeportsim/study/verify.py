"""Is a stored result what its question gives? Its files are checked, and it is simulated again.

A run is a function of its scenario and profile: the same version gives the same bytes, on any machine, with
either engine, for any number of processes. So a difference is a changed file, another version, another
profile, or a bug of ours; the verdict says which of them is known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nodeportsim.errors import InputError
from nodeportsim.metrics.versions import LEFT_OUT, differences
from nodeportsim.study.manifest import Stored, csv_text, stored
from nodeportsim.study.run import run

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.study.run import Outcome, Progress

Answer = Literal["identical", "files changed", "results differ", "cannot be verified"]
FREE = frozenset({"engine"})  # Entries of the provenance that may differ between runs of one question.
KINDS = ("run", "experiment")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What verification found.

    Parameters
    ----------
    folder
        The results.
    answer
        In a word or two.
    reasons
        Files that are not as they were written, tables that differ, why nothing could be said.
    notes
        What else differs and explains a difference: version, libraries, profile.
    rows
        Numbers of the summary that differ (see `nodeportsim.metrics.versions.differences`).
    """

    folder: str
    answer: Answer
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)


def verify(
    folder: Path, *, engine: Engine | None = None, jobs: int = 1, progress: Progress | None = None
) -> Verdict:
    """Check a folder of results and simulate it again. Errors are verdicts, not exceptions."""
    name = str(folder)
    try:
        found = stored(folder)
        if changed := found.changed():
            return Verdict(folder=name, answer="files changed", reasons=tuple(changed))
        again = _run if found.is_run else _experiment
        return again(found, engine, jobs, progress)
    except InputError as error:
        return Verdict(folder=name, answer="cannot be verified", reasons=(str(error),))


def against(folder: Path, other: Path) -> Verdict:
    """Compare two stored runs, neither simulated again.

    Raises
    ------
    InputError
        One of them cannot be read, or is no run.
    """
    pair = [stored(each) for each in (folder, other)]
    first, second = (each.summary() for each in pair)
    rows = differences(first, second)
    notes = _notes(first[LEFT_OUT], second[LEFT_OUT])
    reasons = tuple(f"{each.folder}: {change}" for each in pair for change in each.changed())
    answer: Answer = "files changed" if reasons else "results differ" if rows else "identical"
    return Verdict(folder=str(folder), answer=answer, reasons=reasons, notes=notes, rows=rows)


def _run(found: Stored, engine: Engine | None, jobs: int, progress: Progress | None) -> Verdict:
    from nodeportsim.scenario.read import read

    before = found.summary()
    scenario = read(found.folder / "scenario.yaml")
    outcome = run(scenario, engine=engine, jobs=jobs, progress=progress)
    after = json.loads(json.dumps(outcome.summary))
    tables = _tables(found, outcome)
    same = before[LEFT_OUT].get("version") == after[LEFT_OUT].get("version")
    rows = differences(before, after, added=same)
    return Verdict(
        folder=str(found.folder),
        answer="results differ" if rows or tables else "identical",
        reasons=tuple(f"table {name}.csv differs" for name in tables),
        notes=(*_unsealed(found), *_notes(before[LEFT_OUT], after[LEFT_OUT])),
        rows=rows,
    )


def _tables(found: Stored, outcome: Outcome) -> list[str]:
    """List the tables that differ; one that an older version did not write is not missed."""
    differing = []
    for name, table in outcome.tables.items():
        text = found.text(f"{name}.csv")
        if text is not None and text != csv_text(table):
            differing.append(name)
    return differing


def _experiment(found: Stored, engine: Engine | None, jobs: int, progress: Progress | None) -> Verdict:
    from nodeportsim.study.experiment import find, run_experiment

    about = found.manifest or {}
    if about.get("kind") != "experiment":
        raise InputError(f"must be a {' or an '.join(KINDS)}", field=str(found.folder), got=about.get("kind"))
    plan, home = find(str(about.get("experiment")))
    again = run_experiment(
        plan, home, replications=about.get("replications"), engine=engine, jobs=jobs, progress=progress
    )
    same = found.text("table.csv") == csv_text(again.table)
    return Verdict(
        folder=str(found.folder),
        answer="identical" if same else "results differ",
        reasons=() if same else ("table table.csv differs",),
        notes=_notes(about, about | versions()),
    )


def versions() -> dict[str, Any]:
    """Say which version of ours runs, on which libraries."""
    from importlib.metadata import version

    from nodeportsim.study.provenance import LIBRARIES

    return {"version": version("nodeportsim"), "libraries": {name: version(name) for name in LIBRARIES}}


def _unsealed(found: Stored) -> tuple[str, ...]:
    return () if found.manifest else ("no manifest: whether a file was changed since is not known",)


def _notes(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Say where the provenance differs, but for what may."""
    names = [name for name in dict.fromkeys([*before, *after]) if name not in FREE]
    return tuple(
        f"{name}: {_short(before.get(name))} -> {_short(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:119]}…"  # noqa: PLR2004  a line of a terminal

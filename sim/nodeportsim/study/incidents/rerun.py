"""Run incidents again, and say of every figure whether it lies in its band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nodeportsim.study.incidents.library import incident_path, read_incident
from nodeportsim.study.incidents.measures import measured
from nodeportsim.study.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.study.incidents.library import Incident, Quantity
    from nodeportsim.study.run import Outcome, Progress

    Row = dict[str, Any]

DIGITS = 4


def rerun(
    names: Sequence[str], *, engine: Engine | None = None, jobs: int = 1, progress: Progress | None = None
) -> list[Row]:
    """Simulate incidents again.

    Returns
    -------
    list of dict
        name, source, quantity, band (low, high), simulated, in_band: a row a figure.

    Raises
    ------
    InputError
        An incident cannot be used. All are read before the first is run.
    """
    read = [(path.stem, path, read_incident(path)) for path in map(incident_path, names)]
    rows: list[Row] = []
    for done, (name, path, incident) in enumerate(read, start=1):
        rows += _verdicts(name, path, incident, engine, jobs)
        if progress:
            progress(done, len(read))
    return rows


def _verdicts(name: str, path: Path, incident: Incident, engine: Engine | None, jobs: int) -> Iterator[Row]:
    """Give the rows of one incident; figures with the same settings share a run."""
    outcomes: dict[tuple[str, ...], Outcome] = {}
    for figure in incident.quantities:
        if figure.sets not in outcomes:
            outcomes[figure.sets] = _simulated(path, figure, engine, jobs)
        yield verdict(name, incident.source, figure, measured(outcomes[figure.sets], figure.measure))


def _simulated(path: Path, figure: Quantity, engine: Engine | None, jobs: int) -> Outcome:
    from nodeportsim.scenario.read import read

    return run(read(path, sets=figure.sets), engine=engine, jobs=jobs)


def verdict(name: str, source: str, figure: Quantity, simulated: float) -> Row:
    """Say whether a simulated figure lies in its band, edges included."""
    low, high = figure.band
    rounded = float(f"{simulated:.{DIGITS}g}")
    return {
        "name": name,
        "source": source,
        "quantity": figure.quantity,
        "band": [low, high],
        "simulated": rounded,
        "in_band": low <= rounded <= high,
    }

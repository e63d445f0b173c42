"""Published incidents, simulated again: every figure lies where its source puts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nodeportsim.cli import main
from nodeportsim.errors import InputError
from nodeportsim.scenario.read import read
from nodeportsim.study.incidents.library import Quantity, incident_path, incidents, read_incident
from nodeportsim.study.incidents.measures import measured
from nodeportsim.study.incidents.rerun import rerun, verdict
from nodeportsim.study.run import run

ROOT = Path(__file__).parents[2]
FIGURE = Quantity(quantity="a figure", measure="success_ratio", band=(0.25, 0.75))


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    """All incidents, once."""
    return rerun(incidents())


@pytest.mark.long
@pytest.mark.parametrize("name", incidents())
def test_every_figure_lies_in_the_band_of_its_source(name: str, rows: list[dict[str, Any]]) -> None:
    outside = [row for row in rows if row["name"] == name and not row["in_band"]]
    assert outside == []


@pytest.mark.long
def test_the_page_holds_the_figures_that_the_command_prints() -> None:
    printed = CliRunner().invoke(main, ["incidents", "-o", "markdown"]).stdout
    assert printed.strip() in (ROOT / "docs" / "incidents.md").read_text()


def test_there_are_at_least_twelve_incidents_each_with_its_source() -> None:
    assert len(incidents()) >= 12
    for name in incidents():
        assert read_incident(incident_path(name)).source


@pytest.mark.parametrize("name", incidents())
def test_the_file_of_an_incident_is_a_scenario_too_with_every_setting_of_its_figures(name: str) -> None:
    path = incident_path(name)
    for figure in read_incident(path).quantities:
        assert read(path, sets=figure.sets).name == name


@pytest.mark.parametrize(
    ("simulated", "inside"), [(0.2499, False), (0.25, True), (0.5, True), (0.75, True), (0.7501, False)]
)
def test_a_band_holds_its_edges_and_nothing_beyond(simulated: float, inside: bool) -> None:
    assert verdict("name", "source", FIGURE, simulated)["in_band"] is inside


def test_the_command_prints_one_object_a_figure_for_machines() -> None:
    ended = CliRunner().invoke(main, ["incidents", "eight-round-robins", "-o", "json"])
    (row,) = json.loads(ended.stdout)
    assert list(row) == ["name", "source", "quantity", "band", "simulated", "in_band"]
    assert row["in_band"] is True
    assert ended.exit_code == 0


def test_a_figure_outside_its_band_is_said_and_exits_with_1(tmp_path: Path) -> None:
    text = incident_path("eight-round-robins").read_text()
    beside = tmp_path / "mine.yaml"
    beside.write_text(text.replace("band: [13, 19]", "band: [18, 19]"))
    ended = CliRunner().invoke(main, ["incidents", str(beside), "-o", "json"])
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)[0]["in_band"] is False
    assert "1 of 1 lie outside their band" in ended.stderr


def test_both_engines_measure_the_same() -> None:
    assert rerun(["eight-round-robins"], engine="simpy") == rerun(["eight-round-robins"], engine="compiled")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            ("band: [13, 19]", "band: [19, 13]"),
            "quantities.0.band must rise (got [19.0, 13.0])",
        ),
        (("measure: most", "measure: mots"), "did you mean most?"),
        (("quantities:", "quantites:"), "mine.yaml:9:1: quantites is unknown"),
        (("kind: Incident", "kind: Incidents"), "must hold one incident, not 0"),
        (("scheduler: rr", "scheduler: rx"), "mine.yaml:14:52: cluster.proxy.scheduler must be"),
    ],
)
def test_a_mistake_in_an_incident_is_told_with_its_place(
    change: tuple[str, str], complaint: str, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(incident_path("eight-round-robins").read_text().replace(*change))
    with pytest.raises(InputError) as caught:
        rerun([str(mine)])
    assert complaint in str(caught.value)


def test_a_misspelt_incident_is_known_by_its_likeness() -> None:
    with pytest.raises(InputError, match="did you mean dead-endpoint"):
        incident_path("dead-endpoints")


def test_a_milestone_that_never_came_is_no_figure() -> None:
    outcome = run(read(incident_path("dead-endpoint"), sets=["run.replications=1", "run.duration=20s"]))
    with pytest.raises(InputError, match="is no milestone of these runs"):
        measured(outcome, "since_fault_s:pod evicted")

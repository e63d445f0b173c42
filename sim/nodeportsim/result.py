"""A run as its user holds it: numbers, tables, pictures, a folder.

`study` computes and `report` draws, and neither knows the other; this is where they meet.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.study.manifest import csv_text, write_manifest
from nodeportsim.study.provenance import scenario_sha256
from nodeportsim.study.run import Outcome, run
from nodeportsim.study.store import staged
from nodeportsim.study.verify import versions

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.figure import Figure

    from nodeportsim.engine.simulate import Engine
    from nodeportsim.scenario.spec import Scenario
    from nodeportsim.study.experiment import Experiment
    from nodeportsim.study.findings import Findings
    from nodeportsim.study.size import Answer


_AGAIN = "nodeportsim run scenario.yaml --out ."


class Result(Outcome):
    """What `simulate` returns: an `Outcome` that can draw and save itself."""

    @property
    def requests(self) -> pd.DataFrame:
        """Counts of requests, one row a replication."""
        return self.tables["requests"]

    @property
    def pods(self) -> pd.DataFrame:
        """Connections and requests, one row a replication and pod."""
        return self.tables["pods"]

    @property
    def nodes(self) -> pd.DataFrame:
        """Connections and requests, one row a replication and entry node."""
        return self.tables["nodes"]

    @property
    def timeline(self) -> pd.DataFrame:
        """Offered, succeeded and failed requests by second of their intended arrival."""
        return self.tables["timeline"]

    def figure(self, name: str) -> Figure:
        """Draw one of the report's figures: ``failure_timeline``, ``latency_ccdf``, ``shares`` ..."""
        from nodeportsim.report.figures import plot

        chosen = plot(name)
        frames = chosen.frames(self.summary, self.tables)
        if not frames:
            raise InputError("needs what this run does not carry", field="figure", got=name)
        return chosen.draw(**frames)

    def save(self, folder: str | Path) -> None:
        """Write the run folder: report, figures, tables, summary, provenance, the scenario itself."""
        with staged(Path(folder)) as staging:
            self.write(staging)

    def write(self, folder: Path) -> None:
        """Write everything into an existing folder; `save` is what makes it appear at once."""
        from nodeportsim.report.html import render
        from nodeportsim.report.summary import as_json
        from nodeportsim.scenario.read import write

        tables = self.tables
        render(self.summary, tables, folder, command=_AGAIN)
        for name, table in tables.items():
            (folder / f"{name}.csv").write_text(csv_text(table), encoding="utf-8", newline="\n")
        (folder / "summary.json").write_text(as_json(self.summary), encoding="utf-8")
        (folder / "provenance.json").write_text(as_json(self.summary["provenance"]), encoding="utf-8")
        (folder / "scenario.yaml").write_text(write(self.scenario), encoding="utf-8")
        kept = ("scenario", "scenario_sha256", "profile", "profile_sha256", "version", "seed", "libraries")
        about = {name: self.summary["provenance"][name] for name in kept}
        write_manifest(folder, {"kind": "run", "command": _AGAIN} | about)


def simulate(
    scenario: Scenario,
    *,
    engine: Engine | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run all replications of a scenario (see `nodeportsim.study.run.run`)."""
    outcome = run(scenario, engine=engine, jobs=jobs, progress=progress)
    return Result(**vars(outcome))


def run_folder(scenario: Scenario) -> Path:
    """Where a run goes by default: ``runs/<name>-<first 8 of its hash>``, the same for the same question."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", scenario.name).strip("-.") or "run"
    return Path("runs") / f"{name[:60]}-{scenario_sha256(scenario)[:8]}"


def write_findings(
    experiment: Experiment, findings: Findings, folder: Path, *, name: str, replications: int | None = None
) -> None:
    """Write an experiment's table, conclusions and figures into an existing folder.

    `name` is what it was found by, `replications` what was asked for instead of its own.
    """
    from nodeportsim.report.figures import write
    from nodeportsim.study.experiment import conclusions

    (folder / "table.csv").write_text(csv_text(findings.table), encoding="utf-8", newline="\n")
    (folder / "conclusions.md").write_text(conclusions(experiment, findings), encoding="utf-8")
    for figure, frame in findings.figures.items():
        write(figure, {"table": frame}, folder)
    about = {"kind": "experiment", "command": f"nodeportsim experiment {name} --out .", "experiment": name}
    write_manifest(folder, about | {"replications": replications} | versions())


def write_sizes(answer: Answer, folder: Path) -> None:
    """Write what `size` found into an existing folder: designs, what was tried, the figure, the patches."""
    import csv

    import yaml

    from nodeportsim.report.figures import write
    from nodeportsim.report.summary import as_json
    from nodeportsim.study.sized import as_rows, deployment_patch, frontier, service_patch

    rows, tried = as_rows(answer), frontier(answer)
    summary = {"designs": rows, "infeasible_because": answer.infeasible_because}
    (folder / "size.json").write_text(as_json(summary), encoding="utf-8")
    if not tried.empty:
        write("frontier", {"table": tried}, folder)
    if not rows:
        return
    with (folder / "size.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    best = answer.designs[0].design
    for kind, patch in (("deployment", deployment_patch), ("service", service_patch)):
        text = yaml.safe_dump(patch(answer.question.scenario, best), sort_keys=False)
        (folder / f"{kind}-patch.yaml").write_text(text, encoding="utf-8")

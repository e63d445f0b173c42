"""Play all cases and write how they compare: ``python -m nodeportsim.calibrate.live --out DIR`` (as root)."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nodeportsim.calibrate.live.cases import adjusted, all_cases, calmly, disturbance_s, overheads
from nodeportsim.calibrate.live.compare import compare, pooled, simulate
from nodeportsim.calibrate.live.lab import view
from nodeportsim.calibrate.live.seen import of_answers
from nodeportsim.calibrate.measuring import backends
from nodeportsim.calibrate.measuring.system import environment
from nodeportsim.calibrate.measuring.testbed import build
from nodeportsim.errors import NodePortSimError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodeportsim.calibrate.live.compare import Row
    from nodeportsim.calibrate.live.seen import Seen
    from nodeportsim.calibrate.measuring.testbed import Bed


def main() -> None:
    """Read the arguments, play, write."""
    parser = argparse.ArgumentParser(prog="nodeportsim.calibrate.live", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each case")
    parser.add_argument("--backends", default="iptables-legacy,nftables")
    given = parser.parse_args()
    try:
        with build() as bed:
            found = play(bed, given.backends.split(","), given.seconds)
    except NodePortSimError as error:
        raise SystemExit(str(error)) from None
    given.out.mkdir(parents=True, exist_ok=True)
    for name in ("comparison", "timeline", "pods"):
        _write(given.out / f"{name}.csv", found[name])
    (given.out / "run.json").write_text(json.dumps(found["run"], indent=2) + "\n")


def play(bed: Bed, names: Iterable[str], seconds: float) -> dict[str, Any]:
    """Play every case under every backend; give tables by name."""
    found: dict[str, Any] = {"comparison": [], "timeline": [], "pods": []}
    machine = overheads(bed)
    disturbed: dict[str, float] = {}
    say = partial(print, flush=True)
    calm: list[Row] = []
    for backend in names:
        if reason := backends.refusal(bed, backend, view(all_cases(backend, seconds)[0])):
            raise SystemExit(f"{backend} does not work here: {reason}")
        for scenario in all_cases(backend, seconds):
            label = f"{scenario.name} {backend}"
            answers = calmly(bed, backend, scenario, say)
            simulated = simulate(adjusted(scenario, machine))
            rows = compare(scenario, answers, simulated, machine, label=label)
            seen = of_answers(answers, scenario)
            disturbed[label] = round(disturbance_s(answers), 6)
            calm += rows if not scenario.events else []
            found["comparison"] += [_cells(row) for row in rows]
            found["timeline"] += _seconds(label, seen, simulated)
            found["pods"] += _pods(label, seen, simulated)
            say(label, "holds" if all(row.holds is not False for row in rows) else "misses")
    found["comparison"] += [_cells(row) for row in pooled(calm)]
    about = {"seconds": seconds, "overheads_s": asdict(machine), "disturbance_p99_s": disturbed}
    return found | {"run": environment("live") | about}


def _cells(row: Row) -> dict[str, Any]:
    numbers = {key: _short(value) for key, value in asdict(row).items()}
    return numbers | {"within_reach": row.within_reach, "holds": row.holds}


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _seconds(label: str, seen: Seen, simulated: list[Seen]) -> list[dict[str, Any]]:
    """Give the share that failed, second by second; simulated: over all runs."""
    every = np.sum([run.timeline for run in simulated], axis=0)
    return [
        {
            "case": label,
            "second": second,
            "live_offered": int(row[0]),
            "live_failed_ratio": _short(row[2] / max(1, row[0])),
            "simulated_failed_ratio": _short(both[2] / max(1, both[0])),
        }
        for second, (row, both) in enumerate(zip(seen.timeline, every, strict=True))
    ]


def _pods(label: str, seen: Seen, simulated: list[Seen]) -> list[dict[str, Any]]:
    every = np.sum([run.pods for run in simulated], axis=0)
    return [
        {
            "case": label,
            "pod": pod,
            "live_requests": int(count),
            "live_share": _short(float(count / seen.pods.sum())),
            "simulated_share": _short(float(both / every.sum())),
        }
        for pod, (count, both) in enumerate(zip(seen.pods, every, strict=True))
    ]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()

"""The plain path on seven simulators: customers per CPU second, and every mean against theory.

Usage: python benchmarks/peers/bench.py

Makes an environment of its own with the versions of requirements.txt, for this Python; a peer that has no
release for it is left out with a line that says so. Every peer runs in a process of its own. Writes
results/benchmarks/peers.csv and peers.md. Compare the ratios: the rates are this machine's.
"""

from __future__ import annotations

import csv
import json
import platform
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = ROOT / ".cache" / f"peers-{sys.version_info.major}.{sys.version_info.minor}"
RESULTS = ROOT / "results" / "benchmarks"

RUNS = 10
CUSTOMERS = {  # of one run: some seconds of CPU each
    "nodeportsim": 3_000_000,
    "cimba": 3_000_000,
    "simpy": 100_000,
    "asyncflow": 30_000,
    "ciw": 30_000,
    "happysim": 30_000,
    "salabim": 30_000,
}
PACKAGES = {"asyncflow": "asyncflow-sim"}  # where it is not named as its module
COLUMNS = {
    "tool": "",
    "version": "",
    "customers": ",.0f",
    "per_cpu_second": ",.0f",
    "ratio": ".4f",
    "mean_ms": ".4f",
    "error_ms": ".4f",
    "theory_ms": ".4f",
    "errors_off": "+.1f",
    "note": "",
}
HEADS = (
    *("tool", "version", "customers", "customers per CPU second", "ratio to nodeportsim", "mean (ms)"),
    *("standard error (ms)", "theory (ms)", "difference (standard errors)", "note"),
)
ABOUT = f"""\
# The plain path on seven simulators

Made by `make bench-peers` with Python {platform.python_version()}. Poisson customers (19,200/s) -> one of
10 nodes, 20 us -> one of 30 pods, 4 workers, exponential 5 ms; the code of each is in `benchmarks/peers/`.

The mean is of {RUNS} independent runs without their first 0.5 s, and so is its standard error. The difference
is Student's t with {RUNS - 1} degrees of freedom: outside +-2.3 in 5 % of all cases. CPU time is that of the
runs, after a small one that compiles. Theory is M/D/1 and M/M/4 where no note says otherwise.

"""


def install(peer: str) -> str | None:
    """Install a peer; what is missing if that cannot be done."""
    pins = (HERE / "requirements.txt").read_text(encoding="utf-8").split()
    pinned = [pin for pin in pins if pin.startswith(f"{PACKAGES.get(peer, peer)}==")]
    what = pinned or ["--editable", ROOT]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", HOME, "install"]
    done = subprocess.run(
        [*command, "--quiet", "--constraint", ROOT / "constraints.txt", *what],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return None if done.returncode == 0 else (lines or ["ERROR: pip failed"])[-1].removeprefix("ERROR: ")


def row_of(peer: str) -> dict[str, Any]:
    missing = install(peer)
    if missing:
        return {"tool": peer, "note": f"left out: {missing} (Python {platform.python_version()})"}
    command = [HOME / "bin" / "python", HERE / "measure.py", peer, str(CUSTOMERS[peer]), str(RUNS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"tool": peer, "note": f"left out: it ended with code {done.returncode}"}
    row: dict[str, Any] = json.loads(done.stdout)
    return row | {"errors_off": (row["mean_ms"] - row["theory_ms"]) / row["error_ms"]}


def cells(row: dict[str, Any]) -> list[str]:
    return [format(row[name], style) if name in row else "-" for name, style in COLUMNS.items()]


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [HEADS, ["---"] * 2 + ["---:"] * 7 + ["---"], *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    venv.create(HOME, with_pip=False)
    rows: list[dict[str, Any]] = []
    for peer in CUSTOMERS:
        rows.append(row_of(peer))
        own = rows[0].get("per_cpu_second")
        if own is None:
            sys.exit(f"nothing to compare with: nodeportsim {rows[0]['note']}")
        if "per_cpu_second" in rows[-1]:
            rows[-1]["ratio"] = rows[-1]["per_cpu_second"] / own
        print("  ".join(cells(rows[-1])), file=sys.stderr)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "peers.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (RESULTS / "peers.md").write_text(ABOUT + markdown(rows), encoding="utf-8")
    print(markdown(rows))


if __name__ == "__main__":
    main()

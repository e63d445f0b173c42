"""What the engine costs: ratios of one run, what grows with what, memory and start.

Usage: python benchmarks/bench.py [--rounds N] [--long] [ratios] [growth] [start] [imports]

Without names, all four. Everything is CPU time, the least of N rounds (default 5) in which the programs take
turns; only what says "clock" is not. Needs gcc and Linux. ``--long`` also simulates 10^8 requests; without
it that number is kept from before. Writes results/benchmarks/. Compare the ratios: the rates are those of
the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import charts
import growth
import imports
import ratios
import start
from cases import CASES
from words import RATIOS_MD, grid, start_md

from nodeportsim.report import canvas

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


def write_json(name: str, found: Any) -> None:
    (RESULTS / name).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def bench_ratios(options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for case in CASES:
        found = ratios.rows(case, options.rounds)
        print(*found, sep="\n", file=sys.stderr)
        rows += found
    write_json("ratios.json", rows)
    (RESULTS / "ratios.md").write_text(RATIOS_MD + grid(rows), encoding="utf-8")
    canvas.save(charts.ratios(rows=rows), RESULTS / "ratios")


def bench_growth(options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for what in growth.GROWTHS:
        found = growth.rows(what, options.rounds)
        print(*found, sep="\n", file=sys.stderr)
        rows += found
    with (RESULTS / "growth.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    canvas.save(charts.growth(rows=rows), RESULTS / "growth")


def bench_start(options: argparse.Namespace) -> None:
    file = RESULTS / "start.json"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = start.measure(options.rounds, kept, long=options.long)
    print(json.dumps(found, indent=2), file=sys.stderr)
    write_json("start.json", found)
    (RESULTS / "start.md").write_text(start_md(found), encoding="utf-8")


def bench_imports(options: argparse.Namespace) -> None:
    found = imports.measure(min(options.rounds, 2))
    print(*found, sep="\n", file=sys.stderr)
    write_json("imports.json", found)


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "ratios": bench_ratios,
    "growth": bench_growth,
    "start": bench_start,
    "imports": bench_imports,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="What the engine costs.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--long", action="store_true", help="also 10^8 requests: a minute more")
    options = parser.parse_args()
    for name in options.parts or PARTS:
        PARTS[name](options)


if __name__ == "__main__":
    main()

"""What stands around the numbers of `bench.py`."""

from __future__ import annotations

from typing import Any

from ratios import ORACLE_ROUNDS, ORACLE_S

from nodeportsim.report.words import NOTHING, count, significant, times

Found = dict[str, Any]

ORACLE_RANGE = f"{min(ORACLE_S.values()):g} to {max(ORACLE_S.values()):g} s"
RATIOS_MD = f"""\
# The engine against plain C and against idiomatic SimPy

Made by `make bench` on an x86-64 server core, shared with others. Only the ratios mean something: the rates
are those of that core on that day. The cases are in `benchmarks/cases.py`.

- **floor**: the engine's model in plain C, one binary heap (`benchmarks/floor/floor.c`). It leaves the
  engine's trace bit for bit. `plain.c` is the least a program can do for the plain path.
- **compiled**: the engine. **oracle**: `tests/oracle.py`, idiomatic SimPy, a process a request.
- Every program runs alone, from the first arrival to the last answer; building the world is not in it
  (`start.md`). Programs take turns; the least CPU time of the rounds counts (oracle: {ORACLE_ROUNDS} rounds).
- What was timed is checked: floor and compiled offered and answered as many requests, with the same histogram
  of latencies; `plain.c` the same requests, and the same sum of latencies to a nanosecond a request.
- The oracle simulates the same for {ORACLE_RANGE}, some 40,000 requests, and carries as many as the
  engine does then. It covers neither kept connections nor an application's 503: null.
- `50,000 services` stands at 5,000 requests/s: at 20,000/s its nodes would be asked for 1.3 times what they
  can do.

"""

HEADS = {
    "case": "case",
    "floor_per_s": "floor (requests per CPU second)",
    "compiled_per_s": "compiled",
    "oracle_per_s": "oracle",
    "compiled_over_floor": "compiled / floor",
    "compiled_over_oracle": "compiled / oracle",
}
MEBI = 2**20


def grid(rows: list[Found]) -> str:
    """Make the table of the ratios."""
    lines = [[*HEADS.values()], ["---"] + ["---:"] * (len(HEADS) - 1)]
    lines += [[row["case"], *(_cell(row[name]) for name in HEADS if name != "case")] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(number: float | None) -> str:
    if number is None:
        return NOTHING
    return count(number) if isinstance(number, int) else f"{number:g}"


def start_md(found: Found) -> str:
    """Make the page about start and memory."""
    rows = "".join(f"| {what} | {number} |\n" for what, number in _lines(found))
    return f"""\
# Start, memory, cores

Made by `make bench` on an x86-64 server core, shared with others; each by `benchmarks/probe.py` in a process
of its own. `start.json` has all numbers. Times on the clock say so; the others are CPU time.

| what | |
| --- | ---: |
{rows}"""


def _lines(found: Found) -> list[tuple[str, str]]:
    start, held, world = found["start"], found["bytes_per_request_in_flight"], found["largest_world"]
    cores, plans, many = found["two_cores"], found["schedulers"], found["hundred_million"]
    parts = ", ".join(f"{name} {held[name]}" for name in ("request", "connection", "flight", "event"))
    load = f"load average before: {significant(cores['load_average_before'])}"
    lines = [
        ("cold start: compile, then a second of 20,000 requests", f"{significant(start['cold_cpu_s'])} s"),
        ("the same on the clock", f"{significant(start['cold_s'])} s"),
        (
            "warm start: process begins, imports, the same second; on the clock, best",
            f"{_ms(start['warm_s'])}",
        ),
        (f"a request in flight: {parts}", f"{held['records']} bytes"),
        (
            f"the arrays that grow with it, at {count(held['in_flight'])} in flight: slots, heap",
            f"{significant(held['arrays'])} bytes",
        ),
        (
            "what the process grows by: the allocator keeps what doubling frees",
            f"{significant(held['resident'])} bytes",
        ),
        (
            f"{count(world['nodes'])} nodes and {count(world['pods'])} pods: declared",
            _s(world["declare_cpu_s"]),
        ),
        ("... built", _s(world["build_cpu_s"])),
        ("... most memory when built", _mib(world["peak_built_bytes"])),
        (f"... most memory after {count(world['requests'])} requests", _mib(world["peak_run_bytes"])),
        (
            f"eight replications in two processes, not one, on the clock, median ({load})",
            times(cores["speed_up"]) if cores["speed_up"] else "no second core free",
        ),
        ("compiled over SimPy scheduler, the same 20,000 requests", times(plans["compiled_over_simpy"])),
    ]
    if many:
        lines += [
            (f"{count(many['requests'])} requests in one run, without a trace", _s(many["cpu_s"])),
            ("... most memory", _mib(many["peak_bytes"])),
        ]
    return lines


def _s(value_s: float) -> str:
    return f"{significant(value_s)} s"


def _ms(value_s: float) -> str:
    return f"{significant(1e3 * value_s)} ms"


def _mib(size: float) -> str:
    return f"{significant(size / MEBI)} MiB"

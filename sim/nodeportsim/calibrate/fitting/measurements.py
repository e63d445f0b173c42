"""Measured times as files: one CSV an experiment, a unit in the name of every column that has one.

`nodeportsim measure` writes them, `nodeportsim calibrate` reads them; those of the shipped profiles lie in
``models/``. A row is one repetition: many connections to one target through one rule set. Machines run at
more than one speed, whole repetitions at a time, so a *cell*, all repetitions of one case, is summed up by
its *quiet* time, the 25th percentile of the quietest repetition; beside it stands the *typical* one, the
median of the repetitions' medians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError, Location

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

ENVIRONMENT = ("env_label", "kernel", "cpu", "virtualised", "vcpus", "spectre_v2_mitigation")
CONNECT = (
    "mode",
    "services",
    "endpoints_per_service",
    "target",
    "service_position",
    "repetition",
    "connect_p25_ns",
    "connect_p50_ns",
)
TABLES: dict[str, tuple[str, ...]] = {
    "connect_latency_vs_services.csv": CONNECT,
    "connect_latency_vs_endpoints.csv": CONNECT,
    "connect_latency_affinity.csv": (*CONNECT, "sticky"),
    "connect_latency_cold_cache.csv": (*CONNECT, "thrash_mib_before_connect"),
    "keepalive_request_latency.csv": (
        "mode",
        "services",
        "target",
        "service_position",
        "repetition",
        "cycle_p25_ns",
        "cycle_p50_ns",
    ),
    "node_path_latency.csv": (
        "mode",
        "path",
        "repetition",
        "connect_p25_ns",
        "connect_p50_ns",
        "request_cycle_p25_ns",
        "request_cycle_p50_ns",
    ),
    "rule_programming_time.csv": ("mode", "services", "endpoints_per_service", "op", "seconds"),
    "kubeproxy_sync_time.csv": ("mode", "services", "endpoints_per_service", "sync", "repetition", "seconds"),
}
"""The files, and the columns a fit needs of each; others may stand beside them."""

NUMBERS = ("_ns", "_s", "seconds", "services", "service_position", "repetition", "endpoints_per_service")
MODES = ("none", "conntrack", "iptables-legacy", "iptables-nft", "nftables", "ipvs")
TARGETS = ("clusterip", "nodeport", "podip")
PLAUSIBLE_NS = (500.0, 1e9)
"""No kernel connects in half a microsecond, and none of these takes a second: another unit is meant."""

DEFAULTS = {"rules_per_node_port": 1, "kubernetes_services": 0, "l2_bytes": 0, "affinity": 0}
"""What files without these columns were measured with: one rule per NodePort, no default/kubernetes."""


ABSOLUTE = ("keepalive_request_latency.csv", "node_path_latency.csv")
"""Of these an emulated machine tells nothing: its system calls cost more than what is measured."""


@dataclass(frozen=True)
class Measurements:
    """The tables of one folder, by file name."""

    folder: Path
    tables: dict[str, pd.DataFrame]

    def rows(self, name: str, label: str | None = None) -> pd.DataFrame:
        """Rows of a file, of one environment where one is named; none where there is no such file."""
        import pandas as pd

        table = self.tables.get(name, pd.DataFrame(columns=[*ENVIRONMENT, *TABLES[name]]))
        return table if label is None else table[table["env_label"] == label]

    @property
    def labels(self) -> list[str]:
        """Environments in the folder, the one with most rows first."""
        import pandas as pd

        return list(pd.concat([table["env_label"] for table in self.tables.values()]).value_counts().index)


def read(folder: Path) -> Measurements:
    """Read all tables of a folder.

    Raises
    ------
    InputError
        None is there; or one is not such a table: which file, line and column, and what would be right.
    """
    if not folder.is_dir():
        raise InputError(
            "must be a folder of measurements", field="DIR", got=str(folder), hint="nodeportsim measure --out"
        )
    tables = {name: _table(folder / name) for name in TABLES if (folder / name).is_file()}
    if not tables:
        hint = f"it holds none of {', '.join(TABLES)}"
        raise InputError("must hold measurements", field="DIR", got=str(folder), hint=hint)
    return Measurements(folder, tables)


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"must be a CSV table: {error}", location=_at(path, 1), hint=_hint(path)) from error
    _columns(path, list(table.columns))
    if table.empty:
        raise InputError("holds no row", location=_at(path, 2), hint="measure again, or leave the file out")
    if "env_label" not in table:
        table["env_label"] = "this-node"
    for column in table.columns:
        if column.endswith(NUMBERS):
            _numbers(path, table, column)
    _words(path, table)
    for column, value in DEFAULTS.items():
        table[column] = table[column].fillna(value) if column in table else value
    return table


def _columns(path: Path, found: list[str]) -> None:
    """Name the column that is missing, and the one that may be meant."""
    for wanted in TABLES[path.name]:
        if wanted in found:
            continue
        stem = wanted.rsplit("_", 1)[0]
        near = [name for name in found if name.rsplit("_", 1)[0] == stem]
        hint = f"it has {near[0]}: units are part of the name" if near else _hint(path)
        raise InputError(f"has no column {wanted}", location=_at(path, 1), hint=hint)


def _numbers(path: Path, table: pd.DataFrame, column: str) -> None:
    import pandas as pd

    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = numbers.isna() & table[column].notna()
    if column in TABLES[path.name]:
        wrong |= numbers.isna() & (column != "repetition")
        low, high = PLAUSIBLE_NS if column.endswith("_ns") else (-1.0, 1e9)
        outside = (numbers < low) | (numbers > high)
        if outside.any() and not wrong.any():
            _refuse(path, table, column, outside, f"must lie in {low:g} to {high:g}, in the unit of its name")
    if wrong.any():
        _refuse(path, table, column, wrong, "must be a number")
    table[column] = numbers


def _words(path: Path, table: pd.DataFrame) -> None:
    for column, words in (("mode", MODES), ("target", TARGETS)):
        if column in table:
            strange = ~table[column].isin(words)
            if strange.any():
                _refuse(path, table, column, strange, f"must be one of {', '.join(words)}")


def _refuse(path: Path, table: pd.DataFrame, column: str, rows: pd.Series[bool], rule: str) -> None:
    """Point at the first wrong value of a column."""
    line = int(rows.to_numpy().argmax())
    place = _at(path, line + 2, list(table.columns).index(column) + 1)
    raise InputError(rule, location=place, field=column, got=str(table[column].iloc[line]), hint=_hint(path))


def _at(path: Path, line: int, column: int = 1) -> Location:
    return Location(file=str(path), line=line, column=column)


def _hint(path: Path) -> str:
    return f"the columns of {path.name} are described in docs/calibrate.md"


def relative(measured: Measurements, label: str, connect_ns: float) -> Measurements:
    """Set an emulated machine's connects onto a real one's path: only differences from no rules are kept.

    Parameters
    ----------
    label
        The emulated environment; it must have rows of mode ``none``.
    connect_ns
        The real machine's path without rules (ns).

    Raises
    ------
    InputError
        There is nothing to take differences from.
    """
    services = "connect_latency_vs_services.csv"
    bare = measured.rows(services, label)
    bare = bare[bare["mode"] == "none"]
    if bare.empty:
        raise InputError("has no rows of mode none to take differences from", field="label", got=label)
    tables = {name: measured.rows(name, label).copy() for name in measured.tables if name not in ABSOLUTE}
    for table in tables.values():
        for column in ("connect_p25_ns", "connect_p50_ns"):
            if column in table:
                table[column] += connect_ns - bare[column].min()
    return Measurements(measured.folder, tables)


def cells(rows: pd.DataFrame, by: list[str], time: str) -> pd.DataFrame:
    """Sum up the repetitions of every case.

    Parameters
    ----------
    rows
        Rows of one table.
    by
        Columns that make a case.
    time
        What is timed: ``connect`` for ``connect_p25_ns`` and ``connect_p50_ns``.

    Returns
    -------
    DataFrame
        `by`, ``repetitions``, ``quiet_ns``, ``typical_ns``; a row a case, in order.
    """
    grouped = rows.groupby(by, as_index=False, sort=True)
    return grouped.agg(
        repetitions=(f"{time}_p25_ns", "size"),
        quiet_ns=(f"{time}_p25_ns", "min"),
        typical_ns=(f"{time}_p50_ns", "median"),
    )

"""What a new connection costs: prices per class of rule, fitted to measured connects.

The kernel walks chains rule by rule, so the time of connect() is a base per kind of target plus a price per
rule tested, by class; `nodeportsim.kubeproxy` counts the rules of every measured case, here they get prices.
Up to a point the long chains stay in the core's cache between two connections; beyond it a cyclic walk finds
none of its lines again. So their price goes from hot to cold by a logistic in the logarithm of the bytes
walked, as in `nodeportsim.scenario.prices.ModePrices.coldness`.

The fit is least squares on relative errors, robust, since a cell without a quiet repetition lies half above
the others. What few machines' data tell is held by priors (`PRIORS`): their share in a result is reported.

Left out: the slope of nftables per Service (measured at 0.03 ns), and what other work on the node does to its
caches, for which the cold price is the upper end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.rules import walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape
from nodeportsim.scenario.profile import mode_of

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.kubeproxy.walk import Walk
    from nodeportsim.scenario.prices import ModeKey

ADDRESS_BYTES = 244.0
"""Bytes of cache that a KUBE-SERVICES rule takes: its header and the lines fetched beside it. It sets the
unit of the capacity: only the ratio to the others' bytes can be told from times."""

NOISE_RATIO = 0.03
"""How well quiet cells repeat (half the spread between neighbouring cells of a flat mode, nftables)."""

PRIORS: dict[str, tuple[float, float]] = {
    "ln_address_cold_ratio": (float(np.log(3.0)), 0.7),
    "ln_node_port_cold_ratio": (float(np.log(1.3)), 0.4),
    "ln_node_port_bytes": (float(np.log(550.0)), 0.3),
    "ln_cache_transition_width": (float(np.log(0.1)), 1.0),
}
"""Mean and standard deviation of what only a sweep past the cache's size tells. The bytes are those of a rule
in x_tables' layout (header, comment, matches), in the unit of `ADDRESS_BYTES`."""

CAPACITY_SD = 0.15
"""Standard deviation of ln(capacity) around the size of the core's own cache."""

L2_BYTES = 2 * 1024 * 1024
"""Taken where the measurement does not tell the size of the core's own cache."""

TARGETS = ("clusterip", "nodeport", "podip")
CASE = [
    "mode",
    "services",
    "endpoints_per_service",
    "target",
    "service_position",
    "rules_per_node_port",
    "kubernetes_services",
    "affinity",
]
"""Columns that make a case of a connect measurement."""

FEWEST_CELLS = 3


@dataclass(frozen=True)
class Counts:
    """Rules every cell's packet tests, by class; arrays with an entry a cell."""

    target: np.ndarray
    address: np.ndarray
    loopback: np.ndarray
    node_port: np.ndarray
    statistic: np.ndarray
    recent: np.ndarray
    set_lookup: np.ndarray
    element: np.ndarray

    def at(self, chosen: np.ndarray) -> Counts:
        """Only the chosen cells."""
        return Counts(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def count(cells: pd.DataFrame, mode: ModeKey) -> Counts:
    """Count what the packets of measured cases test; columns as `CASE`."""
    rows = [_counted(walk_of(case, mode)) for case in cells[CASE].itertuples(index=False)]
    names = ("address", "loopback", "node_port", "statistic", "recent", "set_lookup", "element")
    columns = np.array(rows, dtype=float).reshape(len(rows), len(names)).T
    return Counts(cells["target"].to_numpy(), *columns)


def walk_of(case: object, mode: ModeKey) -> Walk:
    """Walk the packet of a measured case: one Service is tested, the others have one endpoint each.

    Parameters
    ----------
    case
        Has the columns of `CASE` as attributes.
    mode
        Name of the prices, as in the column.
    """
    get = case.__getattribute__
    tested = ServicePort(endpoints=int(get("endpoints_per_service")), affinity=bool(get("affinity")))
    shape = Shape(
        (
            (int(get("services")) - 1, ServicePort(endpoints=1)),
            (1, tested),
            (int(get("kubernetes_services")), KUBERNETES_SERVICE),
        ),
        version=(1, 36) if get("rules_per_node_port") == 2 else (1, 30),  # noqa: PLR2004  (two since 1.31)
    )
    place = int(get("service_position")) + 1
    return walk(mode_of(mode), shape, tested, get("target"), position=place or None)


def _counted(way: Walk) -> tuple[float, ...]:
    return (
        way.count("address_mismatch"),
        way.count("loopback_mismatch"),
        way.count("node_port_match"),
        way.count("statistic"),
        way.count("recent"),
        way.count("set_lookup"),
        way.elements,
    )


@dataclass(frozen=True)
class Model:
    """The numbers to be fitted for one mode, by name, in order."""

    names: tuple[str, ...]
    start: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    priors: tuple[tuple[int, float, float], ...]
    noise_ratio: float = NOISE_RATIO

    @cached_property
    def place(self) -> dict[str, int]:
        """Place of every name."""
        return {name: n for n, name in enumerate(self.names)}

    def get(self, p: np.ndarray, name: str) -> float:
        """Value of a name; 0 for one that is not fitted."""
        return float(p[self.place[name]]) if name in self.place else 0.0

    def predict_ns(self, p: np.ndarray, counts: Counts) -> np.ndarray:
        """Price every cell."""
        total = np.zeros(len(counts.address))
        for target in TARGETS:
            total[counts.target == target] = self.get(p, f"base_{target}_ns")
        for name in ("statistic", "recent", "set_lookup", "element"):
            total += getattr(counts, name) * self.get(p, f"{name}_ns")
        priced: np.ndarray = total + self._chains_ns(p, counts)
        return priced

    def _chains_ns(self, p: np.ndarray, counts: Counts) -> np.ndarray:
        """Price the chains that grow with the cluster, hot or cold."""
        if "address_ns" not in self.place:
            return np.zeros(len(counts.address))
        cold = self.coldness(p, counts)
        colder = 1 + cold * (np.exp(self.get(p, "ln_address_cold_ratio")) - 1)
        loopback = self.get(p, "loopback_ns") or self.get(p, "address_ns")
        mismatches = counts.address * self.get(p, "address_ns") + counts.loopback * loopback
        matches = counts.node_port * self.get(p, "node_port_ns")
        chains: np.ndarray = mismatches * colder + matches * (
            1 + cold * (np.exp(self.get(p, "ln_node_port_cold_ratio")) - 1)
        )
        return chains

    def coldness(self, p: np.ndarray, counts: Counts) -> np.ndarray:
        """Where between hot (0) and cold (1) the chains of every cell are."""
        touched = (counts.address + counts.loopback) * ADDRESS_BYTES
        touched = touched + counts.node_port * np.exp(self.get(p, "ln_node_port_bytes"))
        steps = np.log(np.maximum(touched, 1.0)) - self.get(p, "ln_cache_capacity_bytes")
        cold: np.ndarray = 0.5 + 0.5 * np.tanh(steps / np.exp(self.get(p, "ln_cache_transition_width")) / 2)
        return cold

    def residuals(self, p: np.ndarray, counts: Counts, measured_ns: np.ndarray) -> np.ndarray:
        """Robust relative errors in units of the noise, and how far the priors are left."""
        errors = np.log(self.predict_ns(p, counts) / measured_ns) / self.noise_ratio
        soft = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
        return np.append(soft, [(p[n] - mean) / sd for n, mean, sd in self.priors])


def model(counts: Counts, measured_ns: np.ndarray, l2_bytes: float = 0) -> Model:
    """Choose what these cells can tell of: a class that none of them tests has no price.

    Raises
    ------
    InputError
        Too few cells for any price.
    """
    if len(measured_ns) < FEWEST_CELLS:
        hint = "measure more sizes: one point has no slope"
        raise InputError(
            f"needs {FEWEST_CELLS} cells or more to fit a price", got=len(measured_ns), hint=hint
        )
    rows: list[tuple[str, float, float, float]] = []
    for target in TARGETS:
        if (mine := counts.target == target).any():
            least = float(measured_ns[mine].min())
            rows.append((f"base_{target}_ns", least * 0.95, least * 0.2, least * 1.5))
    if np.ptp(counts.address) > 0:
        rows += [("address_ns", 8.0, 0.0, 1000.0), ("ln_address_cold_ratio", np.log(3.0), 0.0, np.log(20.0))]
        rows += [("node_port_ns", 50.0, 0.0, 2000.0), ("ln_node_port_cold_ratio", 0.26, 0.0, np.log(20.0))]
        capacity = float(np.log(l2_bytes or L2_BYTES))
        rows.append(("ln_cache_capacity_bytes", capacity, capacity - 2, capacity + 3))
        rows.append(("ln_cache_transition_width", float(np.log(0.1)), np.log(0.01), np.log(2.0)))
        rows.append(("ln_node_port_bytes", float(np.log(550.0)), np.log(60.0), np.log(3000.0)))
        if counts.loopback.any() and (counts.node_port[counts.loopback == 0] > 0).any():
            rows.append(("loopback_ns", 8.0, 0.0, 1000.0))
    for name in ("statistic", "recent", "set_lookup", "element"):
        if np.ptp(getattr(counts, name)) > 0:
            rows.append((f"{name}_ns", 20.0 if name != "element" else 2.0, 0.0, 2000.0))
    names = [name for name, *_ in rows]
    priors = PRIORS | {"ln_cache_capacity_bytes": (float(np.log(l2_bytes or L2_BYTES)), CAPACITY_SD)}
    start, low, high = (tuple(float(row[place]) for row in rows) for place in (1, 2, 3))
    held = tuple((names.index(name), *prior) for name, prior in priors.items() if name in names)
    return Model(names=tuple(names), start=start, low=low, high=high, priors=held)

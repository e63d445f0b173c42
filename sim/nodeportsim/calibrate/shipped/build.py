"""How the profiles that come with the package are made from the rows in their folders: ``make models``.

Of those we measured ourselves ``models/<name>/data`` holds the rows, ``models/<name>/assumed.yaml`` what is
assumed and why. Those of others rest on ``experiments/validation/published.csv``. All else is written here,
and a test writes it again and compares.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from nodeportsim.calibrate.fitting import fit as fitting
from nodeportsim.calibrate.fitting.measurements import cells, read, relative
from nodeportsim.calibrate.fitting.write import write
from nodeportsim.calibrate.shipped import blog2025, legacy2019, published, tke2026
from nodeportsim.scenario.profile import data_folder, load_profile

if TYPE_CHECKING:
    from pathlib import Path

    from nodeportsim.calibrate.fitting.fit import Fit
    from nodeportsim.calibrate.fitting.measurements import Measurements
    from nodeportsim.calibrate.fitting.solve import Estimate
    from nodeportsim.scenario.prices import ModeKey

REFERENCE = "kernel-6.18"
EMULATED = "kernel-6.1"
NATIVE = ("kernel-6.18-epyc",)
"""Further machines that were measured natively; the reference lends them what they lack."""
EMULATED_NOTE = (
    "difference from the path without rules in an emulated machine; the error is how its cells scatter"
)

ERAS = {era.NAME: era.profile for era in (blog2025, tke2026, legacy2019)}
"""Profiles of published rows, and what makes them."""


def native(folder: Path) -> Fit:
    """Fit a machine that was measured natively."""
    return fitting.fit(read(folder / "data"))


def emulated(folder: Path, connect_ns: float) -> Fit:
    """Fit an emulated kernel: its differences, set onto a real machine's path without rules."""
    raw = read(folder / "data")
    found = fitting.fit(relative(raw, raw.labels[0], connect_ns))
    found.host.clear()
    scatter_ns = _scatter_ns(raw)
    for mode, prices in found.modes.items():
        found.modes[mode] = [(_rough(estimate, scatter_ns), data) for estimate, data in prices]
    return found


def take_over(found: Fit, mode: ModeKey, other: Fit, folder: str) -> None:
    """Let a profile have another's mode, where its own machine could not run it."""
    found.modes[mode] = [
        (replace(estimate, identified=False), " ".join(f"../{folder}/{name}" for name in data.split()))
        for estimate, data in other.modes[mode]
    ]


def write_folder(folder: Path, found: Fit) -> None:
    """Write what a fit says beside the data it comes from."""
    measured, assumed = read(folder / "data"), _assumed(folder)
    told = fitting.environment(measured, found.label) | assumed.get("environment", {})
    head = {"name": folder.name, "description": assumed["description"], "environment": told}
    write(folder, found, measured, head, base=REFERENCE, assumed=assumed)


def _scatter_ns(raw: Measurements) -> float:
    """Measure how far quiet times of ipvs, which depend on no size, lie above the quietest: their median."""
    rows = raw.rows("connect_latency_vs_services.csv")
    seen = cells(rows[rows["mode"] == "ipvs"], ["target", "services", "service_position"], "connect")
    by_target = seen.groupby("target")["quiet_ns"]
    return float((by_target.median() - by_target.min()).max())


def _rough(estimate: Estimate, scatter_ns: float) -> Estimate:
    """Widen the error of a base by what emulation scatters."""
    if not estimate.name.startswith("connect_"):
        return estimate
    error = max(estimate.error, scatter_ns)
    return replace(estimate, error=error, identified=False, note=EMULATED_NOTE)


def _assumed(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((folder / "assumed.yaml").read_text("utf-8"))
    return loaded


def write_published(models: Path, name: str) -> None:
    """Write one of the profiles that rest on others' rows."""
    base = load_profile(models / REFERENCE if (models / REFERENCE).is_dir() else REFERENCE)
    published.write_folder(models / name, ERAS[name](published.read_rows(), base))


def main() -> None:
    """Write all of them."""
    models = data_folder("models")
    reference = native(models / REFERENCE)
    connect_ns = next(estimate.value for estimate, _ in reference.host if estimate.name == "connect_ns")
    guest = emulated(models / EMULATED, connect_ns)
    take_over(reference, "ipvs", guest, EMULATED)
    write_folder(models / REFERENCE, reference)
    write_folder(models / EMULATED, guest)
    for name in NATIVE:
        write_folder(models / name, native(models / name))
    for name in ERAS:
        write_published(models, name)

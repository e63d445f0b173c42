"""A fit as files: ``profile.yaml``, the fit's numbers and cells, the raw rows, a model card.

Every number of ``profile.yaml`` names its row in ``fit.csv``; that names the raw files in ``data/`` it rests
on. What the data do not tell is taken over from another profile (``extends``), or stands in ``assumed.yaml``
with its argument.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import yaml

from nodeportsim.calibrate.fitting.card import card
from nodeportsim.scenario.prices import Host, ModePrices

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pandas as pd

    from nodeportsim.calibrate.fitting.fit import Fit
    from nodeportsim.calibrate.fitting.measurements import Measurements
    from nodeportsim.calibrate.fitting.solve import Estimate

Numbers = dict[str, Any]
DIGITS = 5
"""Significant digits of a value; errors get two."""

HEADER = """# Prices of {name}. README.md tells how they came about, what a figure means, what to distrust.
# value and error (a standard error) in the unit of the name; identified: true if it comes out of the rows
# that source names; false: an assumption, argued in note, or a number that the data cannot tell.
"""

COLUMNS = ("mode", "parameter", "value", "error", "low95", "high95", "identified", "cells", "data", "note")


def rounded(value: float, digits: int = DIGITS) -> float:
    """Round to significant digits."""
    if not value or not math.isfinite(value):
        return value
    number = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    return int(number) if number == int(number) and abs(number) < 1e15 else number  # noqa: PLR2004  (exact)


def parameter(estimate: Estimate, mode: str) -> Numbers:
    """Write an estimate as a profile's parameter."""
    where = f"mode={mode} " if mode else ""
    value: Numbers = {
        "value": rounded(estimate.value),
        "error": rounded(estimate.error, 2),
        "identified": estimate.identified,
        "source": f"fit.csv {where}parameter={estimate.name}",
    }
    return value | ({"note": estimate.note} if estimate.note else {})


def numbers(fit: Fit) -> tuple[Numbers, dict[str, Numbers]]:
    """Give host and modes as a profile holds them."""
    host = {estimate.name: parameter(estimate, "") for estimate, _ in fit.host}
    modes = {
        str(mode): _nested((e.name, parameter(e, mode)) for e, _ in prices)
        for mode, prices in fit.modes.items()
    }
    return host, modes


def _nested(found: Iterable[tuple[str, Numbers]]) -> Numbers:
    """Put ``sync_full.constant_s`` into ``sync_full``."""
    result: Numbers = {}
    for name, value in found:
        part, _, inner = name.rpartition(".")
        (result.setdefault(part, {}) if part else result)[inner] = value
    return result


def complete(host: Numbers, modes: dict[str, Numbers]) -> bool:
    """Whether nothing that a profile must have is missing."""
    required = {name for name, field in ModePrices.model_fields.items() if field.is_required()}
    needed = {name for name, field in Host.model_fields.items() if field.is_required()}
    return host.keys() >= needed and all(mode.keys() >= required for mode in modes.values())


def merge(numbers: Numbers, assumed: Numbers) -> Numbers:
    """Add what is assumed where nothing was measured."""
    result = dict(assumed)
    for name, value in numbers.items():
        inner = result.get(name)
        nested = isinstance(inner, dict) and "value" not in inner and "value" not in value
        result[name] = merge(value, inner or {}) if nested else value
    return result


def in_order(part: Numbers, model: type[Host | ModePrices]) -> Numbers:
    """Sort as the model declares its fields."""
    return {name: part[name] for name in model.model_fields if name in part}


def profile_yaml(head: Numbers, host: Numbers, modes: dict[str, Numbers]) -> str:
    """Write a profile, a parameter a line.

    Parameters
    ----------
    head
        ``name``, ``description``, ``extends`` (or not), ``environment``.
    host, modes
        Parameters by name.
    """
    text = HEADER.format(name=head["name"])
    text += yaml.safe_dump(head, sort_keys=False, width=1000, allow_unicode=True)
    text += "host:\n" + "".join(_lines(in_order(host, Host), 1)) if host else ""
    text += "modes:\n"
    for mode, part in modes.items():
        text += f"  {mode}:\n" + "".join(_lines(in_order(part, ModePrices), 2))
    return text


def _lines(part: Numbers, depth: int) -> Iterator[str]:
    for name, value in part.items():
        if "value" in value:
            inner = ", ".join(f"{key}: {_scalar(each)}" for key, each in value.items())
            yield f"{'  ' * depth}{name}: {{{inner}}}\n"
        else:
            yield f"{'  ' * depth}{name}:\n"
            yield from _lines(value, depth + 1)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if isinstance(value, bool | None) else f"{value:.10g}"


def fit_csv(fit: Fit) -> str:
    """Write every estimate with its interval and the files it rests on."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for mode, prices in (("", fit.host), *fit.modes.items()):
        for e, data in prices:
            figures = [f"{figure:.6g}" for figure in (e.value, e.error, e.low95, e.high95)]
            writer.writerow([mode, e.name, *figures, str(e.identified).lower(), e.rows, data, e.note])
    return text.getvalue()


def cells_csv(cells: pd.DataFrame) -> str:
    """Write every cell, measured and predicted."""
    table = cells.copy()
    for column in table.columns:
        if column.endswith("_ns"):
            table[column] = table[column].round().astype("Int64")
        elif table[column].dtype == float:
            table[column] = table[column].astype("Int64")
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def write(
    folder: Path,
    fit: Fit,
    measured: Measurements,
    head: Numbers,
    *,
    base: str,
    assumed: Numbers | None = None,
) -> None:
    """Write a profile's whole folder.

    Parameters
    ----------
    folder
        Exists and is empty, or holds ``assumed.yaml`` and what this wrote before.
    head
        ``name``, ``description``, ``environment``.
    base
        The profile to take over from what is missing.
    assumed
        ``host`` and ``modes`` that are assumptions.
    """
    host, modes = numbers(fit)
    assumed = assumed or {}
    host = merge(host, assumed.get("host", {}))
    modes = {mode: merge(part, assumed.get("modes", {}).get(mode, {})) for mode, part in modes.items()}
    whole = complete(host, modes)
    known = ("name", "description", "environment")
    ordered = {key: head[key] for key in known[:2]} | ({} if whole else {"extends": base})
    ordered |= {key: head[key] for key in known[2:]}
    if fit.syncs_up_to:
        ordered["syncs_up_to"] = dict(zip(("service_ports", "endpoints"), fit.syncs_up_to, strict=True))
    (folder / "profile.yaml").write_text(profile_yaml(ordered, host, modes), "utf-8")
    (folder / "fit.csv").write_text(fit_csv(fit), "utf-8")
    (folder / "cells.csv").write_text(cells_csv(fit.table()), "utf-8")
    (folder / "README.md").write_text(card(ordered, fit, host, modes), "utf-8")
    data = folder / "data"
    data.mkdir(exist_ok=True)
    for name in measured.tables:
        rows = measured.rows(name, fit.label)
        source = measured.folder / name
        if len(rows) and source.resolve() != (data / name).resolve():
            _copy_rows(source, data / name, fit.label)


def _copy_rows(source: Path, target: Path, label: str) -> None:
    """Copy the raw rows of one environment, as they are written."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    place = rows[0].index("env_label") if "env_label" in rows[0] else None
    with target.open("w", newline="", encoding="utf-8") as file:
        kept = (row for row in rows[1:] if place is None or row[place] == label)
        csv.writer(file, lineterminator="\n").writerows([rows[0], *kept])

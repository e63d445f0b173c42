"""Rates of closed loops: saturated nodes, Little's law."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from nodeportsim.calibrate.shipped.published import each, pick, read_rows
from nodeportsim.calibrate.shipped.tke2026 import CORES
from nodeportsim.calibrate.validating.predictors.rule import Rule, simulated
from nodeportsim.scenario.profile import load_profile

if TYPE_CHECKING:
    import pandas as pd


def _rate_rps(services: str, *sets: str) -> float:
    """Run TKE's loop over so many Services."""
    found = simulated("tke", f"background.services={services}", *sets)
    span_s = found.scenario.run.duration_s - found.warmup_s
    return float(found.summary["requests"]["succeeded"]) / found.scenario.run.replications / span_s


def base_corrected(rows: pd.DataFrame) -> list[float]:
    """Predict rates from the run's own rate without Services and the simulated time that Services add.

    The rate without Services itself is the simulated one: there the profile's base is tested.
    """
    every, predicted = read_rows(), []
    for row in each(rows):
        ours = _rate_rps("0")
        if row.n_services != "0":
            own = pick(every, source_id=row.source_id, metric=row.metric, mode=row.mode, n_services="0")
            added_s = 1 / _rate_rps(row.n_services) - 1 / ours
            ours = 1 / (1 / float(own["value"].iloc[0]) + added_s)
        predicted += [ours]
    return predicted


def kept_change(rows: pd.DataFrame) -> list[float]:
    """Predict by how much (%) Services change the rate over kept connections."""
    kept = ("connections.reuse=lifo", "connections.size=1")
    base = _rate_rps("0", *kept)
    return [100 * (_rate_rps(services, *kept) / base - 1) for services in rows["n_services"]]


def older_curve(rows: pd.DataFrame) -> list[float]:
    """Predict rates of legacy-2019 from each mode's own rate at one Service; CPUs as in that profile."""
    prices, every = load_profile("legacy-2019"), read_rows()
    predicted = []
    for row in each(rows):
        own = pick(every, source_id=row.source_id, metric=row.metric, mode=row.mode, n_services="1")
        added_s = 0.0
        if row.mode == "iptables":
            own_prices = prices.prices("iptables-legacy")
            count = float(row.n_services)
            hot = own_prices.address_mismatch_hot_ns.value
            cold = own_prices.address_mismatch_cold_ns.value
            fits = count * own_prices.address_mismatch_bytes.value < own_prices.cache_capacity_bytes.value
            added_s = count * (hot if fits else cold) * 1e-9 / CORES
        predicted += [1 / (1 / float(own["value"].iloc[0]) + added_s)]
    return predicted


def little_rps(rows: pd.DataFrame) -> list[float]:
    """Predict a rate as clients over their mean latency, both named in the note."""
    found = []
    for note in rows["note"]:
        clients = re.search(r"(\d+) conns|wrk c(\d+)", note)
        mean = re.search(r"mean (?:latency )?([\d.]+) ms", note)
        count = next(n for n in clients.groups() if n) if clients else "100"  # The second row goes on.
        assert mean is not None
        found += [float(count) / (float(mean[1]) * 1e-3)]
    return found


def little_ms(rows: pd.DataFrame) -> list[float]:
    """Predict the mean time (ms) of 300 clients from their rate, which is another row of the source."""
    rate = pick(read_rows(), source_id=str(rows["source_id"].iloc[0]), metric="rps")["value"].iloc[0]
    return [300 / float(rate) * 1e3] * len(rows)


def slopes(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Give of each run of TKE (measured, simulated) time per connection and Service (s)."""
    found = {}
    for run, group in pick(
        rows, source_id="TKE-BENCH26-*", metric="max_http_rps_svc", mode="iptables"
    ).groupby("source_id"):
        sizes = group["n_services"].to_numpy(float)
        if len(sizes) > 1:
            ours = [1 / _rate_rps(size) for size in group["n_services"]]
            both = (1 / group["value"].to_numpy(float), np.array(ours))
            found[str(run)] = (
                float(np.polyfit(sizes, both[0], 1)[0]),
                float(np.polyfit(sizes, both[1], 1)[0]),
            )
    return found


RULES = (
    Rule(
        source="TKE-BENCH26-.*",
        metric="max_http_rps_svc",
        mode="iptables",
        predict=base_corrected,
        how="simulated: tke.yaml, from the run's own rate without Services",
        reason="a round of 60 s each; the line misses its own points by up to 5 %",
    ),
    Rule(
        source="TKE-BENCH26-.*",
        metric="rps_change_vs_baseline",
        mode="iptables",
        tolerance="share",
        predict=kept_change,
        how="simulated: tke.yaml, connections kept",
    ),
    Rule(
        source="ALIBABA-TERWAY20",
        mode="iptables|ipvs",
        services="1",
        base=True,
        reason="where the curve of its mode starts",
    ),
    Rule(
        source="ALIBABA-TERWAY20",
        mode="iptables|ipvs",
        services="[0-9]{2,}",
        tolerance="shape",
        predict=older_curve,
        how="prices of legacy-2019, from each mode's own rate at one Service",
    ),
    Rule(
        source="CONTRIB-1482|GKE-NEG-GIST",
        metric="rps",
        tolerance="exact",
        predict=little_rps,
        how="Little's law: clients over mean latency",
        reason=(
            "the source's own numbers do not obey the law: 100 connections hold 162 requests; its "
            "mean is of the slow ones"
        ),
    ),
    Rule(
        source="K8S-PR71114",
        metric="mean_request_time",
        tolerance="exact",
        predict=little_ms,
        how="Little's law: 300 clients over their rate",
    ),
)

"""Profile published-2025: first packets of the Kubernetes blog's post on nftables, by percentile.

The model has four numbers: what a first packet costs where rules are looked up (one for nftables and
iptables, one for ipvs), what a rule of the chain adds, and one spread for all. A Service stands anywhere in
the chain. Richer models were tried and are not decided by 16 points: a price that grows at a knee ends at a
ratio of 1, and a base of its own for iptables trades against the price of a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np

from nodeportsim.calibrate.shipped.mixture import places, quantiles
from nodeportsim.calibrate.shipped.published import Published, beyond, card_of, guessed, known, pick, source
from nodeportsim.scenario.prices import ModeKey

if TYPE_CHECKING:
    import pandas as pd

    from nodeportsim.calibrate.fitting.write import Numbers
    from nodeportsim.scenario.profile import Profile

NAME = "published-2025"
POST, CHART = "K8SBLOG-NFT25", "K8SBLOG-NFT25-IPVS"
SHARES = {"p01": 0.01, "p50": 0.5, "p90": 0.9, "p99": 0.99}
QUANTUM_US = {POST: 3.6, CHART: 0.3}
"""Height of a pixel of each chart, from the rows' notes."""
MODEL_ERROR = 0.1
"""How far such a model is expected to be off; it weighs the points beside their reading error."""
START, LOW, HIGH = (14.0, 22.0, 15.0, 0.25), (1.0, 1.0, 1.0, 0.01), (100.0, 100.0, 100.0, 1.0)
OUTLIER = 0.25
"""A share of the points beyond this is what a card must list: the tolerance of a percentile."""


class Fitted(NamedTuple):
    """The four numbers and their standard errors."""

    numbers: np.ndarray
    errors: np.ndarray
    points: pd.DataFrame


def fit(rows: pd.DataFrame) -> Fitted:
    """Fit base, base of ipvs (us), price of a rule (ns) and spread to the percentiles, in logarithms."""
    from scipy.optimize import least_squares

    measured = rows["value"].to_numpy(float)
    scale = np.hypot(MODEL_ERROR, rows["source_id"].map(QUANTUM_US).to_numpy(float) / measured)

    def residuals(logarithms: np.ndarray) -> np.ndarray:
        off: np.ndarray = np.log(predict_us(np.exp(logarithms), rows) / measured) / scale
        return off

    found = least_squares(
        residuals, np.log(START), bounds=(np.log(LOW), np.log(HIGH)), loss="soft_l1", x_scale=0.1
    )
    values = np.exp(found.x)
    scatter = float(np.sum(residuals(found.x) ** 2)) / (len(rows) - len(START))
    errors = values * np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac)) * scatter)
    points = rows[["source_id", "metric", "mode", "n_services", "percentile"]].assign(
        measured_us=measured, predicted_us=predict_us(values, rows)
    )
    return Fitted(values, errors, points)


def predict_us(numbers: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Predict the percentile of every row."""
    base_us, ipvs_us, rule_ns, spread = numbers
    predicted = []
    for mode, services, percentile in zip(rows["mode"], rows["n_services"], rows["percentile"], strict=True):
        prices = np.array([ipvs_us if mode == "ipvs" else base_us])
        if mode == "iptables":
            prices = base_us + places() * int(services) * rule_ns * 1e-3
        predicted += [quantiles(prices, spread, [SHARES[percentile]])[0]]
    return np.array(predicted)


def profile(rows: pd.DataFrame, base: Profile) -> Published:
    """Make the profile from all published rows."""
    import pandas as pd

    calibrating = pick(rows, metric="first_packet_rtt", use="cal")
    used = pd.concat([pick(calibrating, source_id=POST), pick(calibrating, source_id=CHART)])
    found = fit(used)
    spread = known(
        found.numbers[3], found.errors[3], source(metric="first_packet_rtt"), "one for all modes and sizes"
    )
    modes: dict[str, Numbers] = {mode: _mode(mode, found, base) for mode in get_args(ModeKey)}
    head = {
        "name": NAME,
        "description": "First packets of ClusterIP connections as the Kubernetes blog published them in 2025",
        "extends": base.name,
        "environment": {
            "kernel": "not published",
            "cpu": "not published",
            "source": "kubernetes.io/blog/2025/02/28/nftables-kube-proxy",
        },
    }
    return Published(
        head=head,
        host={"connect_spread_ratio": spread},
        modes=modes,
        rows=used,
        card=_card(found.points),
        points=found.points,
    )


def _mode(mode: ModeKey, found: Fitted, base: Profile) -> Numbers:
    """Give the prices of one mode."""
    at = 1 if mode == "ipvs" else 0
    base_ns, error_ns = found.numbers[at] * 1e3, found.errors[at] * 1e3
    published = "iptables" if mode.startswith("iptables") else mode
    where = source(source_id=f"{POST}*", metric="first_packet_rtt", mode=published)
    told = " The post does not say which backend: the same for both." if published == "iptables" else ""
    shared = "" if mode == "ipvs" else f"one number for nftables and iptables.{told}"
    part = {"connect_clusterip_ns": known(base_ns, error_ns, where, shared)}
    for target in ("nodeport", "podip"):
        more_ns, both = beyond(base, mode, f"connect_{target}_ns", "connect_clusterip_ns")
        note = f"not published: ClusterIP and the difference to it in {base.name}"
        part[f"connect_{target}_ns"] = guessed(base_ns + more_ns, f"{where}; {both}", note)
    if published == "iptables":
        part |= _rules(found, where, told)
    return part


def _rules(found: Fitted, where: str, told: str) -> Numbers:
    """Give the price of a rule, the same hot and cold."""
    rule_ns, error_ns = found.numbers[2], found.errors[2]
    note = f"one price at any length: a knee is not decided.{told}"
    loopback = "taken as the price of an address that does not match: not published"
    ends = ("hot", "cold")
    return {f"address_mismatch_{end}_ns": known(rule_ns, error_ns, where, note) for end in ends} | {
        f"loopback_mismatch_{end}_ns": guessed(rule_ns, where, loopback) for end in ends
    }


def _card(points: pd.DataFrame) -> str:
    lines, within = [], 0
    for row in points.to_dict("records"):
        error = row["predicted_us"] / row["measured_us"] - 1
        within += abs(error) <= OUTLIER or abs(row["predicted_us"] - row["measured_us"]) <= 8  # noqa: PLR2004  (us)
        lines.append(
            f"| {row['mode']} | {int(row['n_services']):,} | {row['percentile']} | {row['measured_us']:.1f} "
            f"| {row['predicted_us']:.1f} | {error:+.0%} |\n"
        )
    return card_of(NAME).format(within=within, rows="".join(lines))

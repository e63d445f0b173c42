"""Prices against the measurements they come from, and the laws a price keeps."""

from __future__ import annotations

import csv
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.rules import walk
from nodeportsim.kubeproxy.walk import KUBERNETES_SERVICE, ServicePort, Shape
from nodeportsim.scenario.profile import (
    Cache,
    ModeKey,
    Profile,
    data_folder,
    load_profile,
    mode_key,
    mode_of,
    profiles,
)

FOLDER = data_folder("models") / "kernel-6.18"
PROFILE = load_profile("kernel-6.18")
KEYS: tuple[ModeKey, ...] = get_args(ModeKey)
MEASURED: tuple[ModeKey, ...] = ("iptables-legacy", "iptables-nft", "nftables")
LAB_VERSION = (1, 30)
"""The measured rule sets had one rule per NodePort, as releases up to 1.30."""
WEB = ServicePort(endpoints=3, local_endpoints=1)


def table(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(newline="") as file:
        return list(csv.DictReader(file))


def fit(kind: str, mode: str, parameter: str) -> dict[str, str]:
    return next(
        r for r in table("fit.csv") if (r["fit"], r["mode"], r["parameter"]) == (kind, mode, parameter)
    )


def held_out(row: dict[str, str]) -> bool:
    """All points at 2 000 Services and the inner positions at 1 000, 5 000, 10 000."""
    services, position = int(row["services"]), int(row["service_position"])
    inner = position in (services // 4, services // 2, 3 * services // 4)
    return services == 2000 or (services in (1000, 5000, 10_000) and inner)


def error_at(key: ModeKey, row: dict[str, str]) -> float:
    """Relative error of the price at a measured point."""
    shape = Shape(((int(row["services"]), WEB),), version=LAB_VERSION)
    position = int(row["service_position"]) + 1 or None
    packet: Any = row["target"]
    way = walk(mode_of(key), shape, WEB, packet, position=position)
    return abs(PROFILE.path_s(key, packet, way) / (int(row["quiet_ns"]) * 1e-9) - 1)


@pytest.mark.parametrize("key", MEASURED)
def test_prices_meet_the_measured_points_within_the_stated_hold_out_errors(key: ModeKey) -> None:
    """Stated in fit.csv; 0.01 is for the slope per Service of nftables, which the price leaves out."""
    points = [
        row
        for row in table("measured.csv")
        if row["experiment"] == "connect-vs-services"
        and row["environment"].startswith("host")
        and row["mode"] == key
        and held_out(row)
    ]
    errors = [error_at(key, row) for row in points]
    stated = fit("linear" if key == "nftables" else "two-regime", key, "base_nodeport_ns")
    assert len(errors) == 29
    assert statistics.median(errors) < float(stated["holdout_median_error"]) + 0.01
    assert max(errors) < float(stated["holdout_max_error"]) + 0.01


@pytest.mark.parametrize("key", ["iptables-legacy", "iptables-nft"])
def test_prices_meet_the_measured_cost_of_many_endpoints(key: ModeKey) -> None:
    """R2 of the slopes is 0.99; single cells are two-speed, so the median of each target's cells counts."""
    errors: dict[str, list[float]] = defaultdict(list)
    for row in table("measured.csv"):
        if row["experiment"] == "connect-vs-endpoints" and row["mode"] == key:
            port = ServicePort(endpoints=int(row["endpoints_per_service"]))
            packet: Any = row["target"]
            shape = Shape(((int(row["services"]), port),), version=LAB_VERSION)
            position = int(row["service_position"]) + 1
            way = walk("iptables", shape, port, packet, position=position)
            errors[packet].append(abs(PROFILE.path_s(key, packet, way) * 1e9 / int(row["quiet_ns"]) - 1))
    assert len(errors) == 2
    assert all(statistics.median(cells) < 0.05 for cells in errors.values())


def test_every_number_has_a_source_that_exists_and_an_error_or_is_an_assumption() -> None:
    parameters = PROFILE.parameters()
    rows = {f"fit.csv {row['fit']} {row['mode']} {row['parameter']}" for row in table("fit.csv")}
    assert len(parameters) > 80
    for name, parameter in parameters.items():
        assert parameter.source, name
        assert parameter.error is not None or not parameter.identified, name
        assert parameter.identified or parameter.note, name
        file, _, row = parameter.source.partition(" ")
        assert parameter.source == "assumed" or (FOLDER / file).is_file(), name
        assert file != "fit.csv" or row.startswith("endpoints") or parameter.source in rows, name


def test_every_fitted_number_is_the_one_in_the_table() -> None:
    for name, parameter in PROFILE.parameters().items():
        kind, *rest = parameter.source.removeprefix("fit.csv ").split(" ")
        if parameter.source.startswith("fit.csv") and len(rest) == 2:
            assert parameter.value == pytest.approx(float(fit(kind, *rest)["estimate"]), rel=1e-4), name


def test_statistic_rules_cost_twice_the_slope_per_endpoint() -> None:
    """On average (E + 1) / 2 of them are tested, so a further endpoint costs half a rule."""
    for key in ("iptables-legacy", "iptables-nft"):
        slopes = [
            float(fit("endpoints", key, f"{t}_per_endpoint_ns")["estimate"])
            for t in ("clusterip", "nodeport")
        ]
        assert 2 * min(slopes) < PROFILE.modes[key].statistic_ns.value < 2 * max(slopes)


@pytest.mark.parametrize("key", KEYS)
def test_a_price_is_linear_in_the_rank_of_the_endpoint(key: ModeKey) -> None:
    shape = Shape(((1, KUBERNETES_SERVICE), (1000, WEB)))
    fixed_s, per_endpoint_s = PROFILE.walk_price(key, shape, WEB, "nodeport", position=7)
    for rank in (1, 2, 3):
        way = walk(mode_of(key), shape, WEB, "nodeport", position=7, endpoint=rank)
        assert fixed_s + rank * per_endpoint_s == pytest.approx(
            PROFILE.walk_s(key, "nodeport", way), rel=1e-12
        )
    assert (per_endpoint_s > 0) == key.startswith("iptables")


@given(
    st.sampled_from(KEYS),
    st.integers(1, 30_000),
    st.floats(0, 1),
    st.sampled_from(["nodeport", "clusterip", "podip", "node"]),
)
def test_measured_lies_between_hot_and_cold(key: ModeKey, services: int, place: float, packet: Any) -> None:
    shape = Shape(((services, WEB),))
    way = walk(mode_of(key), shape, WEB, packet, position=1 + int(place * (services - 1)))
    caches: tuple[Cache, ...] = ("hot", "measured", "cold")
    hot, measured, cold = (PROFILE.walk_s(key, packet, way, cache=cache) for cache in caches)
    assert 0 < hot <= measured * (1 + 1e-12)
    assert measured <= cold


@given(st.integers(1, 30_000), st.integers(1, 1000))
def test_nftables_and_ipvs_prices_do_not_know_the_size_of_the_cluster(services: int, endpoints: int) -> None:
    port = ServicePort(endpoints=endpoints, local_endpoints=1)
    small, large = Shape(((1, port),)), Shape(((services, port),))
    keys: tuple[ModeKey, ...] = ("nftables", "ipvs")
    for key in keys:
        assert PROFILE.walk_price(key, small, port, "nodeport") == PROFILE.walk_price(
            key, large, port, "nodeport"
        )


def test_the_second_rule_of_a_node_port_costs_an_address_mismatch() -> None:
    """1.36 against 1.30 at position 100: a hundred loopback rules, each failing on its address."""
    price = {
        version: PROFILE.walk_price(
            "iptables-legacy", Shape(((100, WEB),), version=version), WEB, "nodeport", position=100
        )[0]
        for version in ((1, 30), (1, 36))
    }
    per_rule_s = PROFILE.modes["iptables-legacy"].address_mismatch_hot_ns.value * 1e-9
    assert price[1, 36] - price[1, 30] == pytest.approx(100 * per_rule_s, rel=1e-9)


def test_policy_local_saves_the_masquerade_and_nothing_else_measured() -> None:
    local = ServicePort(endpoints=3, local_endpoints=3, external_policy="Local")
    costs = [
        sum(PROFILE.walk_price("nftables", Shape(((1, port),)), port, "nodeport")) for port in (WEB, local)
    ]
    assert costs[0] - costs[1] == pytest.approx(PROFILE.host.masquerade_connect_ns.value * 1e-9, rel=1e-9)


@pytest.mark.parametrize("key", KEYS)
def test_node_and_end_hosts_together_are_the_measured_path(key: ModeKey) -> None:
    """Client and pod stacks are alike, so the pod's share counts twice."""
    shape = Shape(((1, WEB),), version=LAB_VERSION)
    way = walk(mode_of(key), shape, WEB, "nodeport")
    together_s = PROFILE.walk_s(key, "nodeport", way) + 2 * PROFILE.pod_connect_s
    assert together_s == pytest.approx(PROFILE.path_s(key, "nodeport", way), rel=1e-12)
    request_s = PROFILE.request_s(key, "nodeport") + 2 * PROFILE.pod_request_s
    assert request_s == pytest.approx(PROFILE.modes[key].request_nodeport_ns.value * 1e-9, rel=1e-12)


@pytest.mark.parametrize("key", MEASURED)
def test_the_base_holds_the_statistic_rules_it_was_measured_with(key: ModeKey) -> None:
    """Three endpoints, mean rank 2: base + one KUBE-SERVICES + one KUBE-NODEPORTS rule and nothing more."""
    prices = PROFILE.modes[key]
    way = walk(mode_of(key), Shape(((1, WEB),), version=LAB_VERSION), WEB, "nodeport")
    rules_ns = prices.address_mismatch_hot_ns.value + prices.node_port_match_hot_ns.value
    expected_ns = prices.connect_nodeport_ns.value + rules_ns
    assert PROFILE.path_s(key, "nodeport", way, cache="hot") == pytest.approx(expected_ns * 1e-9, rel=1e-12)


def test_cold_caches_scale_node_and_end_hosts_alike() -> None:
    way = walk("nftables", Shape(((1, WEB),)), WEB, "nodeport")
    hot_s, cold_s = (
        PROFILE.walk_s("nftables", "nodeport", way, cache="hot"),
        PROFILE.walk_s("nftables", "nodeport", way, cache="cold"),
    )
    assert cold_s / hot_s == pytest.approx(PROFILE.modes["nftables"].cold_base_ratio.value, rel=1e-12)


def test_a_request_on_an_open_connection_is_cheaper_than_a_connection_and_flat() -> None:
    shape = Shape(((1000, WEB),))
    for key in KEYS:
        assert PROFILE.request_s(key, "podip") < PROFILE.request_s(key, "nodeport")
        assert PROFILE.request_s(key, "nodeport") < PROFILE.walk_price(key, shape, WEB, "nodeport")[0]
        assert PROFILE.packet_s(key, "nodeport") == PROFILE.request_s(key, "nodeport") / 2


def test_sync_times_meet_the_measured_ones_within_a_third() -> None:
    """The worst residuals of the fits are 0.20 to 0.33 (fit.csv): five or six sizes each."""
    golden = json.loads((Path(__file__).parents[1] / "golden" / "sync_times.json").read_text())["rows"]
    checked = 0
    for row in golden:
        shape = Shape(((1, KUBERNETES_SERVICE), (row["S"], ServicePort(endpoints=row["E"]))))
        key = mode_key(row["mode"], row["backend"])
        for kind, measured in (
            ("partial", [row["partial_sync_median_s"]]),
            ("full", row["full_sync_cold_s"] or []),
            ("restart", row["full_sync_after_restart_s"]),
        ):
            if measured:
                checked += 1
                ours: Any = kind
                mean_s = statistics.mean(measured)
                assert PROFILE.sync_s(key, shape, ours) == pytest.approx(mean_s, rel=0.34), (key, kind)
    assert checked == 50


@pytest.mark.parametrize("key", KEYS)
def test_a_larger_cluster_never_syncs_faster(key: ModeKey) -> None:
    kinds: tuple[Any, ...] = ("partial", "full", "restart")
    for kind in kinds:
        times = [PROFILE.sync_s(key, Shape(((s, WEB),)), kind) for s in (1, 10, 1000, 10_000)]
        assert times == sorted(times)


def test_mode_and_backend_name_the_prices() -> None:
    assert mode_key("iptables", "nft") == "iptables-nft"
    assert mode_key("iptables", "legacy") == "iptables-legacy"
    assert mode_key("nftables", "nft") == "nftables"
    assert {mode_of(key) for key in KEYS} == {"iptables", "nftables", "ipvs"}


def test_the_package_finds_its_profiles_by_name_folder_and_file() -> None:
    assert "kernel-6.18" in profiles()
    assert (
        load_profile(FOLDER) == load_profile(FOLDER / "profile.yaml") == load_profile(str(FOLDER)) == PROFILE
    )


def test_an_unknown_profile_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"kernel-6\.18"):
        load_profile("kernel-6.81")


def test_a_broken_profile_names_the_field(tmp_path: Path) -> None:
    content = yaml.safe_load((FOLDER / "profile.yaml").read_text())
    del content["modes"]["nftables"]["connect_nodeport_ns"]["source"]
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"modes\.nftables\.connect_nodeport_ns\.source"):
        load_profile(tmp_path)
    (tmp_path / "profile.yaml").write_text("{")
    with pytest.raises(InputError, match="must be YAML"):
        load_profile(tmp_path)


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PROFILE.name = "other"  # type: ignore[misc]  # The point of the test.
    assert isinstance(PROFILE, Profile)

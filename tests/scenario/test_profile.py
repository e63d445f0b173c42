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
from nodeportsim.scenario.prices import Cache, ModeKey
from nodeportsim.scenario.profile import (
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


def error_at(key: ModeKey, cell: dict[str, str]) -> float:
    """Relative error of the price at a measured cell."""
    tested = ServicePort(endpoints=int(cell["endpoints_per_service"]))
    shape = Shape(((int(cell["services"]) - 1, ServicePort(endpoints=1)), (1, tested)), version=LAB_VERSION)
    packet: Any = cell["target"]
    way = walk(mode_of(key), shape, tested, packet, position=int(cell["service_position"]) + 1 or None)
    return abs(PROFILE.path_s(key, packet, way) / (int(cell["measured_ns"]) * 1e-9) - 1)


@pytest.mark.parametrize("key", MEASURED)
def test_prices_meet_the_measured_cells(key: ModeKey) -> None:
    """Of every target the median to 4 %; seven in ten within 15 %, as some cells had no quiet repetition."""
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cell in table("cells.csv"):
        if cell["mode"] == key and cell["experiment"] in ("services", "endpoints"):
            errors[cell["experiment"], cell["target"]].append(error_at(key, cell))
    assert len(errors) == 5
    for (experiment, target), found in errors.items():
        near = sum(error < 0.15 for error in found)
        assert statistics.median(found) < 0.04, (experiment, target)
        assert near > 0.7 * len(found), (experiment, target)


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


def test_the_second_rule_of_a_node_port_has_its_own_price() -> None:
    """1.36 against 1.30 at position 100: a hundred loopback rules, each failing on its address."""
    price = {
        version: PROFILE.walk_price(
            "iptables-legacy", Shape(((100, WEB),), version=version), WEB, "nodeport", position=100
        )[0]
        for version in ((1, 30), (1, 36))
    }
    per_rule_s = PROFILE.modes["iptables-legacy"].loopback_mismatch_hot_ns.value * 1e-9
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
def test_a_path_is_its_base_and_the_rules_whose_number_varies(key: ModeKey) -> None:
    """Three endpoints, mean rank 2: one KUBE-SERVICES rule, one KUBE-NODEPORTS rule, two endpoint rules."""
    prices = PROFILE.modes[key]
    way = walk(mode_of(key), Shape(((1, WEB),), version=LAB_VERSION), WEB, "nodeport")
    rules_ns = prices.address_mismatch_hot_ns.value + prices.node_port_match_hot_ns.value
    rules_ns += 2 * prices.statistic_ns.value + 3 * prices.map_element_ns.value
    expected_ns = prices.connect_nodeport_ns.value + rules_ns
    assert PROFILE.path_s(key, "nodeport", way, cache="hot") == pytest.approx(expected_ns * 1e-9, rel=1e-12)


def test_cold_caches_scale_node_and_end_hosts_alike() -> None:
    way = walk("nftables", Shape(((1, WEB),)), WEB, "nodeport")
    hot_s, cold_s = (
        PROFILE.walk_s("nftables", "nodeport", way, cache="hot"),
        PROFILE.walk_s("nftables", "nodeport", way, cache="cold"),
    )
    map_s = 3 * PROFILE.modes["nftables"].map_element_ns.value * 1e-9  # It has one price, hot or cold.
    ratio = PROFILE.modes["nftables"].cold_base_ratio.value
    assert (cold_s - map_s) / (hot_s - map_s) == pytest.approx(ratio, rel=1e-12)


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

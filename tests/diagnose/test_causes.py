"""Each cause is proven, fitted or ruled out by what the objects say, in the order that is promised."""

from __future__ import annotations

import copy
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from objects import endpoint, healthy, piece, written

from nodeportsim.diagnose.case import Case
from nodeportsim.diagnose.cause import ORDER
from nodeportsim.diagnose.diagnosis import CAUSES, diagnose
from nodeportsim.diagnose.symptoms import SYMPTOMS
from nodeportsim.scenario.read import examples, objects, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Objects = dict[str, Any]

BY_NAME = {cause.name: cause for cause in CAUSES}


def case_of(given: Objects, folder: Path, *sets: str) -> Case:
    file = written(given, folder)
    return Case(scenario=read(str(file), sets=sets, service="default/web"), cluster=objects(file))


def declared(text: str, folder: Path) -> Case:
    file = folder / "scenario.yaml"
    file.write_text(text)
    return Case(scenario=read(str(file)), cluster=objects(file))


def test_a_healthy_cluster_has_nothing_that_is_proven(tmp_path: Path) -> None:
    assert diagnose(case_of(healthy(), tmp_path), [])["causes"] == []


def set_at(path: str, value: Any) -> Callable[[Objects], None]:
    """Make a function that sets a field by its path; None takes the last step out."""

    def change(given: Objects) -> None:
        *steps, last = path.split("/")
        at = given
        for step in steps:
            at = at[int(step) if isinstance(at, list) else step]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


TAINT = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
NOT_READY = [{"type": "Ready", "status": "Unknown"}]
LOOPING = [{"name": "main", "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]


def no_node_3(given: Objects) -> None:
    """No endpoint stands on node-3 any more, and two on node-1."""
    given["web-3"]["spec"]["nodeName"] = "node-1"
    given["slice"]["endpoints"][2]["nodeName"] = "node-1"


def local(given: Objects) -> None:
    given["service"]["spec"]["externalTrafficPolicy"] = "Local"
    no_node_3(given)


def balanced(given: Objects) -> None:
    local(given)
    given["service"]["spec"] |= {"type": "LoadBalancer", "healthCheckNodePort": 30999}


def unexposed(given: Objects) -> None:
    given["service"]["spec"] |= {"type": "ClusterIP", "ports": [{"port": 80, "targetPort": 8080}]}


def hinted(given: Objects) -> None:
    for each in given["slice"]["endpoints"]:
        each["hints"] = {"forZones": [{"name": "zone-a"}]}


def none_ready(given: Objects) -> None:
    for each in given["slice"]["endpoints"]:
        each["conditions"] = {"ready": False}


def one_left(given: Objects) -> None:
    given["slice"] = piece(endpoint(1, "node-1"))


def policy(given: Objects) -> None:
    meta = {"name": "strict", "namespace": "default"}
    given["policy"] = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta}


@pytest.mark.parametrize(
    ("cause", "change", "likelihood", "word"),
    [
        ("no-endpoints", none_ready, "proven", "web-1, web-2, web-3"),
        ("selector-matches-nothing", set_at("service/spec/selector", {"app": "wbe"}), "proven", "app=wbe"),
        ("target-port-name", set_at("service/spec/ports/0/targetPort", "https"), "proven", "https"),
        ("target-port-name", set_at("service/spec/ports/0/targetPort", "http"), "contradicted", "http"),
        ("target-port-closed", set_at("service/spec/ports/0/targetPort", 9090), "fits", "9090"),
        ("pod-not-ready", set_at("slice/endpoints/1/conditions", {"ready": False}), "proven", "web-2"),
        ("crash-loop", set_at("web-3/status/containerStatuses", LOOPING), "proven", "web-3: container main"),
        ("not-exposed", unexposed, "proven", "ClusterIP"),
        ("local-without-endpoints", local, "proven", "node-3"),
        ("local-without-endpoints", balanced, "proven", "leaves them out"),
        ("no-health-check", local, "proven", "no healthCheckNodePort"),
        ("no-health-check", balanced, "contradicted", "has a healthCheckNodePort"),
        ("node-not-ready", set_at("node-2/status/conditions", NOT_READY), "proven", "node-2"),
        ("stale-endpoints", set_at("node-2/status/conditions", NOT_READY), "proven", "web-2"),
        ("retransmissions", set_at("node-2/status/conditions", NOT_READY), "fits", "925 s"),
        ("no-neighbour", set_at("node-2/status/conditions", NOT_READY), "fits", "node-2"),
        ("network-policy", policy, "fits", "default/strict"),
        ("node-port-range", set_at("service/spec/ports/0/nodePort", 40080), "proven", "40080"),
        ("affinity", set_at("service/spec/sessionAffinity", "ClientIP"), "fits", "3 h"),
        ("local-uneven", local, "proven", "50 % where it is one of 1, 25 % where it is one of 2"),
        ("single-endpoint", one_left, "proven", "web-1 on node-1"),
        ("topology-hints", hinted, "fits", "zone-a: 3"),
        ("no-pre-stop", set_at("web-1/spec/containers/0/lifecycle", None), "proven", "1 of 3 pods"),
        ("no-pre-stop", set_at("web-2/spec/containers/0/lifecycle", {"postStart": {}}), "proven", "web-2"),
        ("node-leaving", set_at("node-3/spec/taints", [TAINT]), "proven", "node-3"),
        ("local-without-endpoints", no_node_3, "contradicted", "is Cluster"),
        ("no-readiness-probe", set_at("web-1/spec/containers/0/readinessProbe", None), "proven", "web-1"),
        ("node-leaving", set_at("node-1/spec/unschedulable", True), "proven", "node-1"),
        ("sync-lag", set_at("slice/endpoints/0/conditions", {"terminating": True}), "fits", "web-1"),
    ],
)
def test_one_broken_field_speaks_for_its_cause_and_names_the_object(
    cause: str, change: Callable[[Objects], None], likelihood: str, word: str, tmp_path: Path
) -> None:
    before = BY_NAME[cause].weigh(case_of(healthy(), tmp_path))
    given = healthy()
    change(given)
    evidence = BY_NAME[cause].weigh(case_of(given, tmp_path))
    assert evidence.likelihood == likelihood
    assert word in "; ".join(evidence.why)
    assert likelihood == "contradicted" or before.likelihood != likelihood
    assert change is no_node_3 or before.why != evidence.why


def test_a_typo_in_the_selector_is_shown_beside_the_pod_that_was_meant(tmp_path: Path) -> None:
    given = healthy()
    given["service"]["spec"]["selector"] = {"app": "wbe"}
    del given["slice"]
    other = copy.deepcopy(given["web-3"])
    other["metadata"] |= {"name": "db-0", "labels": {"tier": "db"}}
    evidence = BY_NAME["selector-matches-nothing"].weigh(case_of({"db-0": other, **given}, tmp_path))
    assert evidence.why[1].startswith("closest is pod web-1: app=web")


def test_a_pod_that_shares_a_label_is_closer_than_one_that_shares_keys_alone(tmp_path: Path) -> None:
    given = healthy()
    given["service"]["spec"]["selector"] = {"app": "web", "tier": "front"}
    given["web-1"]["metadata"]["labels"] = {"app": "api", "tier": "back"}
    evidence = BY_NAME["selector-matches-nothing"].weigh(case_of(given, tmp_path))
    assert evidence.why[1].startswith("closest is pod web-2: app=web in")


@pytest.mark.parametrize(
    ("mode", "kernel", "likelihood"),
    [("ipvs", "5.4.0", "fits"), ("ipvs", "6.1.0", "contradicted"), ("nftables", "5.4.0", "contradicted")],
)
def test_ports_are_dropped_on_reuse_by_old_kernels_in_mode_ipvs_alone(
    mode: str, kernel: str, likelihood: str, tmp_path: Path
) -> None:
    given = healthy()
    given["node-1"]["status"]["nodeInfo"]["kernelVersion"] = kernel
    case = case_of(given, tmp_path, f"proxy.mode={mode}")
    assert BY_NAME["ipvs-port-reuse"].weigh(case).likelihood == likelihood


def test_a_dump_does_not_tell_the_mode_and_a_scenario_does(tmp_path: Path) -> None:
    names = ("ipvs-rotation", "ipvs-removed", "node-port-addresses", "mode-deprecated")
    silent = case_of(healthy(), tmp_path)
    assert {BY_NAME[name].weigh(silent).likelihood for name in names} == {"possible"}
    told = case_of(healthy(), tmp_path, "proxy.mode=ipvs")
    found = [BY_NAME[name].weigh(told).likelihood for name in names]
    assert found == ["fits", "fits", "contradicted", "proven"]
    default = declared("cluster: {nodes: 3}\n", tmp_path)
    assert default.mode == "iptables"


def test_a_dump_without_endpoints_or_pods_proves_no_lack_of_them(tmp_path: Path) -> None:
    given = {name: each for name, each in healthy().items() if each["kind"] in {"Node", "Service"}}
    case = case_of(given, tmp_path)
    assert BY_NAME["no-endpoints"].weigh(case).likelihood == "possible"
    assert BY_NAME["selector-matches-nothing"].weigh(case).likelihood == "possible"
    assert diagnose(case, [])["causes"] == []


def test_what_clients_a_dump_has_is_not_known(tmp_path: Path) -> None:
    # The scenario of a dump has a default load; no conclusion may rest on it.
    case = case_of(healthy(), tmp_path)
    assert case.clients == ()
    for name in ("few-kept-connections", "conntrack-full", "overload", "idle-timeouts"):
        assert BY_NAME[name].weigh(case).likelihood == "possible"


# -- scenarios -----------------------------------------------------------------------------------


def test_a_power_off_costs_what_the_closed_forms_say(tmp_path: Path) -> None:
    case = declared(
        "cluster: {nodes: 5}\nservice: {replicas: 10}\n"
        "clients: {entry: {policy: dns-round-robin}, timeouts: {connect: 0s}}\n"
        "events: [{at: 30s, node: node-3, fault: power-off}]\n",
        tmp_path,
    )
    evidence = BY_NAME["stale-endpoints"].weigh(case)
    # One of five entries and two of ten endpoints; the detection's mean of 47.5 s, the watch, half a sync.
    assert evidence.numbers["failing_ratio"] == pytest.approx(1 - 4 / 5 * 8 / 10)
    assert evidence.numbers["outage_mean_s"] == pytest.approx(47.5 + 0.01 + 0.5)
    assert evidence.likelihood == "proven"
    assert not evidence.is_fault  # The scenario says so itself.


def test_a_balancer_s_clients_meet_the_dead_endpoints_only(tmp_path: Path) -> None:
    case = declared(
        "cluster: {nodes: 5}\nservice: {replicas: 10}\nclients: {entry: {policy: balancer}}\n"
        "events: [{at: 30s, node: node-3, fault: power-off}]\n",
        tmp_path,
    )
    assert BY_NAME["stale-endpoints"].weigh(case).numbers["failing_ratio"] == pytest.approx(0.2)


@pytest.mark.parametrize(("rate", "likelihood"), [(0.4, "contradicted"), (0.9, "fits"), (1.1, "proven")])
def test_the_conntrack_wall_is_held_against_the_offered_rate(
    rate: float, likelihood: str, tmp_path: Path
) -> None:
    # One node: 12000 entries for 120 s and 5 ms each.
    wall_rps = 12_000 / 120.005
    case = declared(
        f"cluster: {{nodes: 1, conntrack: {{max: 12000}}}}\nclients: {{rate: {rate * wall_rps}/s}}\n",
        tmp_path,
    )
    evidence = BY_NAME["conntrack-full"].weigh(case)
    assert evidence.likelihood == likelihood
    assert evidence.numbers["wall_rps"] == pytest.approx(wall_rps)
    assert evidence.numbers["used_ratio"] == pytest.approx(rate)
    assert evidence.is_fault == (rate > 1)


def test_kept_connections_take_entries_only_when_they_are_opened_anew(tmp_path: Path) -> None:
    text = "clients: {rate: 1000/s, connections: {reuse: lifo, size: 2, maxRequests: 100}}\n"
    assert BY_NAME["conntrack-full"].weigh(declared(text, tmp_path)).numbers["offered_rps"] == 10.0
    text = "clients: {count: 50, rate: 1000/s, connections: {reuse: lifo, size: 2, maxAge: 10s}}\n"
    assert BY_NAME["conntrack-full"].weigh(declared(text, tmp_path)).numbers["offered_rps"] == 10.0


def test_loss_makes_lumps_of_the_share_that_each_syn_loses(tmp_path: Path) -> None:
    case = declared("cluster: {network: {loss: 1%}}\n", tmp_path)
    numbers = BY_NAME["packet-loss"].weigh(case).numbers
    lost = 1 - 0.99**4
    assert numbers["at_1s_ratio"] == pytest.approx(lost * (1 - lost))
    assert numbers["at_2s_ratio"] == pytest.approx(lost**2 * (1 - lost))
    assert (
        BY_NAME["packet-loss"].weigh(declared(("cluster: {nodes: 3}\n"), tmp_path)).likelihood
        == "contradicted"
    )


def test_few_kept_connections_are_told_by_what_chance_makes_of_them(tmp_path: Path) -> None:
    text = "service: {{replicas: 10}}\nclients: {{count: {}, connections: {{reuse: lifo}}}}\n"
    few = BY_NAME["few-kept-connections"].weigh(declared(text.format(20), tmp_path))
    many = BY_NAME["few-kept-connections"].weigh(declared(text.format(20_000), tmp_path))
    assert (few.likelihood, many.likelihood) == ("fits", "possible")
    assert few.numbers["connections_needed"] == 1600  # 160 a pod: docs/models/theory.md.
    assert few.numbers["max_over_mean"] > 2
    assert many.numbers["max_over_mean"] < 1.2


def test_overload_counts_what_retries_would_make_of_it(tmp_path: Path) -> None:
    # 3 pods of 8 workers at 5 ms serve 4800/s.
    text = "clients: {{rate: {}/s, retry: {{attempts: {}}}}}\n"
    found = {
        (rate, tries): BY_NAME["overload"].weigh(declared(text.format(rate, tries), tmp_path)).likelihood
        for rate, tries in ((2000, 1), (2000, 3), (4000, 1), (5000, 1))
    }
    assert list(found.values()) == ["contradicted", "fits", "fits", "proven"]


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("fault: proxy-stop, node: node-2", "kube-proxy-stopped"),
        ("fault: proxy-lag, node: node-2, delay: 9s", "kube-proxy-stopped"),
        ("fault: cut-nodes, node: node-2", "firewall"),
        ("fault: firewall, node: node-2, answer: drop", "firewall"),
        ("fault: power-off, node: node-2", "stale-endpoints"),
        ("fault: power-off, node: node-2", "node-not-ready"),
        ("fault: power-off, node: node-2", "dns-record"),
        ("fault: cut-in, node: node-2", "retransmissions"),
        ("fault: power-off, node: node-2, for: 9s", "rebooted-node"),
        ("fault: loss, node: node-2, loss: 20%", "packet-loss"),
        ("fault: conntrack-fill, node: node-2, entries: 9000", "conntrack-full"),
        ("fault: slow-node, node: node-2, factor: 5", "slow-pod"),
        ("fault: pod-crash, pod: web-1", "crash-loop"),
        ("fault: pod-hang, pod: web-1", "slow-pod"),
        ("fault: crash-loop, pod: web-1, alive: 30s", "crash-loop"),
        ("fault: pod-not-ready, pod: web-1", "pod-not-ready"),
        ("fault: drain, node: node-2", "node-leaving"),
        ("fault: rolling-update", "no-pre-stop"),
        ("fault: api-outage", "kube-proxy-stopped"),
    ],
)
def test_a_declared_fault_speaks_for_its_cause_and_names_whom_it_strikes(
    fault: str, cause: str, tmp_path: Path
) -> None:
    case = declared(f"events: [{{at: 3s, {fault}}}]\n", tmp_path)
    quiet = declared("cluster: {nodes: 3}\n", tmp_path)
    evidence = BY_NAME[cause].weigh(case)
    assert evidence.likelihood in {"proven", "fits"}
    assert BY_NAME[cause].weigh(quiet).likelihood in {"possible", "contradicted"}
    target = (re.findall(r"(?:node|pod): (\S+?)(?:,|$)", fault) or ["cluster"])[0]
    assert f"of {target} at 3 s" in evidence.why[0]
    assert target == "cluster" or target in evidence.words.values()
    assert not evidence.is_fault


@pytest.mark.parametrize(
    ("target", "struck"),
    [
        ("node: node-2", ("node-2",)),
        ('node: "*"', ("node-1", "node-2", "node-3", "node-4")),
        ("zone: zone-2", ("node-2", "node-4")),
    ],
)
def test_a_fault_strikes_one_node_a_zone_or_all(target: str, struck: tuple[str, ...], tmp_path: Path) -> None:
    case = declared(
        "cluster: {nodes: 4, zones: 2}\nservice: {replicas: 8}\n"
        f"events: [{{at: 3s, fault: power-off, {target}}}]\n",
        tmp_path,
    )
    assert case.struck(case.scenario.events[0]) == struck
    evidence = BY_NAME["stale-endpoints"].weigh(case)
    assert evidence.numbers["failing_ratio"] == pytest.approx(1 - (1 - len(struck) / 4) ** 2)
    silent = [row["node"] for row in diagnose(case, ["timeout"])["nodes"] if "silence" in row["expected"]]
    assert tuple(silent) == struck


def test_random_faults_are_told_by_their_mean(tmp_path: Path) -> None:
    case = declared("events: [{at: 3s, fault: pod-crash, pod: '*', up: 60s, down: 5s}]\n", tmp_path)
    why = BY_NAME["crash-loop"].weigh(case).why[0]
    assert why.endswith("pod-crash of web-0, web-1, web-2 at 63 s on average, again and again")


def test_a_crash_loop_s_availability_is_that_of_the_closed_form(tmp_path: Path) -> None:
    case = declared("events: [{at: 3s, fault: crash-loop, pod: web-1, alive: 30s}]\n", tmp_path)
    assert BY_NAME["crash-loop"].weigh(case).numbers == {"availability_ratio": pytest.approx(30 / 330)}


def test_a_scenario_whose_pods_sleep_before_sigterm_is_not_blamed(tmp_path: Path) -> None:
    case = declared("pods: {preStop: 5s}\nevents: [{at: 3s, fault: rolling-update}]\n", tmp_path)
    assert BY_NAME["no-pre-stop"].weigh(case).likelihood == "contradicted"


def test_dns_is_asked_by_clients_that_ask_it(tmp_path: Path) -> None:
    text = "clients: {{entry: {{policy: {}}}}}\nevents: [{{at: 3s, fault: power-off, node: node-2}}]\n"
    by_dns = "dns-round-robin, withdraw: 20s"
    told = BY_NAME["dns-record"].weigh(declared(text.format(by_dns), tmp_path))
    assert told.numbers == {"dead_entry_ratio": pytest.approx(1 / 3)}
    assert "withdrawn after 20 s" in told.why[1]
    assert (
        BY_NAME["dns-record"].weigh(declared(text.format("balancer"), tmp_path)).likelihood == "contradicted"
    )


def test_a_declared_give_up_time_is_the_client_s_own(tmp_path: Path) -> None:
    case = declared("clients: {connections: {reuse: lifo, tcpRetries: 8}}\n", tmp_path)
    assert BY_NAME["retransmissions"].weigh(case).numbers["give_up_s"] == pytest.approx(102.2)


def test_a_client_s_own_ports_are_those_it_declares(tmp_path: Path) -> None:
    text = "clients: {count: 40, rate: 100/s, sourcePorts: {count: 1000, hold: 50s, hosts: 2}}\n"
    evidence = BY_NAME["client-ports"].weigh(declared(text, tmp_path))
    assert evidence.numbers["wall_rps"] == pytest.approx(2 * 1000 / 50)
    assert evidence.likelihood == "proven"


# -- order and commands --------------------------------------------------------------------------


def broken(folder: Path) -> Case:
    """Much is wrong at once."""
    given = healthy()
    local(given)
    set_at("node-2/status/conditions", NOT_READY)(given)
    set_at("slice/endpoints/2/conditions", {"ready": False})(given)  # A fault of rank 27; a risk has 8.
    set_at("web-1/spec/containers/0/lifecycle", None)(given)
    return case_of(given, folder)


@pytest.mark.parametrize("symptom", [None, *SYMPTOMS])
def test_causes_come_by_likelihood_then_faults_then_by_the_rank_of_their_question(
    symptom: str | None, tmp_path: Path
) -> None:
    told = diagnose(broken(tmp_path), [symptom] if symptom else [])
    keys = [(ORDER.index(row["likelihood"]), not row["fault"], row["rank"]) for row in told["causes"]]
    assert keys == sorted(keys)
    assert keys
    if symptom is None:
        assert {row["likelihood"] for row in told["causes"]} == {"proven"}
    else:
        assert all(symptom in row["symptoms"] for row in told["causes"])
        assert all(symptom not in row["symptoms"] for row in told["also"])
        proven = {row["cause"] for row in diagnose(broken(tmp_path), [])["causes"]}
        assert proven <= {row["cause"] for row in [*told["causes"], *told["also"]]}


def test_every_symptom_has_causes_and_every_cause_a_known_symptom() -> None:
    asked = {symptom for cause in CAUSES for symptom in cause.symptoms}
    assert asked == set(SYMPTOMS)
    assert len(BY_NAME) == len(CAUSES)
    assert all(cause.symptoms or cause.name == "mode-deprecated" for cause in CAUSES)


def all_rows(case: Case) -> tuple[list[dict[str, Any]], list[str]]:
    told = diagnose(case, list(SYMPTOMS))
    return [*told["causes"], *told["also"]], told["lookup"]


def test_every_check_is_a_shell_command_with_real_names(tmp_path: Path) -> None:
    rows, lookup = all_rows(case_of(healthy(), tmp_path))
    assert not lookup  # The dump names everything.
    for row in rows:
        text = " ".join((row["where"], row["check"], row["shows"], row["fix"]))
        assert "{node" not in text
        assert not re.search(r"\$[A-Z]", text), text
        subprocess.run(["bash", "-n", "-c", row["check"]], check=True)  # noqa: S607  (bash from the path)
    checks = " ".join(row["check"] for row in rows)
    for name in ("30080", "8080", "192.0.2.1", "10.244.0.1", "web-1", "app=web"):
        assert name in checks


@pytest.mark.parametrize("name", examples())
def test_what_no_object_names_is_looked_up_first(name: str) -> None:
    from nodeportsim.scenario.read import example_path

    path = example_path(name)
    rows, lookup = all_rows(Case(scenario=read(str(path)), cluster=objects(path)))
    told = [row for row in rows if row["likelihood"] != "contradicted"]
    used = {name for row in told for name in re.findall(r"\$([A-Z]\w*)", row["check"] + " " + row["fix"])}
    assert used <= {line.partition("=")[0] for line in lookup}
    for line in lookup:
        subprocess.run(["bash", "-n", "-c", line], check=True)  # noqa: S607  (bash from the path)


def test_the_nodes_are_told_what_they_should_answer(tmp_path: Path) -> None:
    given = healthy()
    local(given)
    set_at("node-2/status/conditions", NOT_READY)(given)
    rows = diagnose(case_of(given, tmp_path), ["some-nodes"])["nodes"]
    assert [(row["node"], row["endpoints"], row["expected"].split(",")[0]) for row in rows] == [
        ("node-1", 2, "answers"),
        ("node-2", 1, "silence"),
        ("node-3", 0, "drops: policy Local"),
    ]
    assert diagnose(case_of(given, tmp_path), ["reset"])["nodes"] == []


def test_a_service_without_endpoints_is_refused_everywhere(tmp_path: Path) -> None:
    given = healthy()
    none_ready(given)
    rows = diagnose(case_of(given, tmp_path), ["some-nodes"])["nodes"]
    assert {row["expected"] for row in rows} == {"refuses: no endpoint is ready"}


def test_a_scenario_s_dead_node_falls_silent_when_it_says(tmp_path: Path) -> None:
    case = declared("events: [{at: 3s, node: node-2, fault: power-off}]\n", tmp_path)
    expected = [row["expected"] for row in diagnose(case, ["timeout"])["nodes"]]
    assert expected == ["answers", "answers, silence from 3 s on", "answers"]

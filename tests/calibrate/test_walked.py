"""A packet's walk, read from the kernel's counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nodeportsim.calibrate.measuring import backends, walked
from nodeportsim.calibrate.measuring.scene import Scene, Subject, pod_target, targets
from nodeportsim.calibrate.measuring.walked import Counted
from nodeportsim.kubeproxy import write_iptables, write_nftables

if TYPE_CHECKING:
    from nodeportsim.calibrate.measuring.testbed import Bed

SCENE = Scene(
    services=12,
    tested={
        0: Subject(endpoints=1),
        5: Subject(endpoints=4, affinity=True),
        11: Subject(endpoints=3, policy="Local"),
    },
)
IPTABLES = ("iptables-legacy", "iptables-nft")


def loaded(bed: Bed, backend: str, *, text: str | None = None) -> None:
    """Load the scene, or rules of our own, as the check wants them; skip where that cannot be."""
    view = SCENE.view()
    if reason := backends.refusal(bed, backend, view):
        pytest.skip(f"needs {backend}: {reason}")
    if backend == "nftables":
        backends.load_text(bed, text or walked.counted_copy(view))
    else:
        backends.create_accounting(bed, view)
        backends._restore(bed, backend, text or write_iptables.restore(view))


@pytest.mark.parametrize("backend", [*IPTABLES, "nftables"])
def test_packets_walk_as_kubeproxy_counts(bed: Bed, backend: str) -> None:
    loaded(bed, backend)
    view = SCENE.view()
    wanted = [*targets(view, list(SCENE.tested)), pod_target(view)]
    assert list(walked.differences(bed, backend, view, wanted)) == []


@pytest.mark.parametrize("backend", IPTABLES)
def test_one_rule_too_many_is_found_and_named(bed: Bed, backend: str) -> None:
    view = SCENE.view()
    more = write_iptables.restore(view).replace(
        "-A KUBE-SERVICES -d 10.96.0.3",
        "-A KUBE-SERVICES -d 10.96.99.99/32 -j ACCEPT\n-A KUBE-SERVICES -d 10.96.0.3",
    )
    loaded(bed, backend, text=more)
    first, _, last, *_ = targets(view, [0, 11])
    assert list(walked.differences(bed, backend, view, [first, last])) == [
        "clusterip of Service 11 tests 13 rules of KUBE-SERVICES for 12"
    ]


def test_one_rule_too_many_is_found_in_nftables(bed: Bed) -> None:
    view = SCENE.view()
    extra = "add rule ip kube-proxy services ip daddr 10.96.99.99 accept"
    text = walked.counted_copy(view).replace(
        "add rule ip kube-proxy services",
        f"{extra.replace('ip daddr', 'counter ip daddr')}\nadd rule ip kube-proxy services",
        1,
    )
    loaded(bed, "nftables", text=text)
    target = targets(view, [0])[1]
    assert list(walked.differences(bed, "nftables", view, [target])) == [
        "nodeport of Service 0 tests 4 rules of services for 3"
    ]


def test_rules_are_tested_up_to_the_one_at_which_the_packet_leaves() -> None:
    gained = {
        ("nat", "PREROUTING"): [Counted(1, "KUBE-SERVICES"), Counted(0, "ACCEPT")],
        ("nat", "KUBE-SERVICES"): [
            Counted(0, "ACCEPT"),
            Counted(1, "KUBE-MARK-MASQ"),  # Comes back,
            Counted(1, None),  # only counts,
            Counted(1, "KUBE-SEP-AAAA"),  # and leaves.
            Counted(0, "ACCEPT"),
        ],
        ("nat", "KUBE-MARK-MASQ"): [Counted(1, "MARK")],
        ("nat", "KUBE-SEP-AAAA"): [Counted(0, "KUBE-MARK-MASQ"), Counted(1, "DNAT"), Counted(0, "DNAT")],
        ("filter", "FORWARD"): [Counted(1, "RETURN"), Counted(0, "ACCEPT")],
        ("nat", "OUTPUT"): [Counted(1, "KUBE-SERVICES")],
    }
    expected = {"PREROUTING": 1, "KUBE-SERVICES": 4, "KUBE-MARK-MASQ": 1, "KUBE-SEP-*": 2, "FORWARD": 1}
    assert walked._tested_by_order(gained) == expected


def test_lines_of_iptables_save_are_read_with_target_and_endpoint() -> None:
    text = (
        "*nat\n:X - [0:0]\n"
        '[7:420] -A X -d 10.96.0.1/32 -p tcp -m comment --comment "a -j b" -m tcp --dport 443 -j KUBE-SVC-A\n'
        "[2:120] -A X -p tcp -m tcp -j DNAT --to-destination 10.20.0.1:8080\n"
        "[1:60] -A X -m recent --rcheck\nCOMMIT\n*filter\n[3:1] -A X -j KUBE-EXT-B\n"
    )
    assert walked.parse("iptables-legacy", text) == {
        ("nat", "X"): [Counted(7, "KUBE-SVC-A"), Counted(2, "DNAT", "10.20.0.1"), Counted(1)],
        ("filter", "X"): [Counted(3, "KUBE-EXT-B")],
    }


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        ("KUBE-SVC-B6QNR6FPRPIHDBCO", "KUBE-SVC-*"),
        ("KUBE-SERVICES", "KUBE-SERVICES"),
        ("service-Y5C52A2M-lab/svc-0/tcp/p", "service-*"),
        ("service-endpoints-check", "service-endpoints-check"),
    ],
)
def test_chains_of_one_port_are_named_by_their_kind(chain: str, kind: str) -> None:
    assert walked.chain_class(chain) == kind


def test_the_copy_that_counts_differs_by_a_counter_per_rule_only() -> None:
    plain, copy = write_nftables.load(SCENE.view()), walked.counted_copy(SCENE.view())
    assert copy.count(" counter ") == plain.count("add rule ")
    assert copy.replace(" counter ", " ") == plain

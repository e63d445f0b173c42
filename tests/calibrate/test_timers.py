"""Both timers see the same connections, and say of their times what numpy says."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nodeportsim.calibrate.measuring import backends, timer, timing
from nodeportsim.calibrate.measuring.scene import (
    Scene,
    Subject,
    pod_target,
    targets,
    with_known_clients,
    with_new_clients,
)
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.calibrate.measuring.timing import Timer


@pytest.fixture(params=["c", "python"])
def clock(request: pytest.FixtureRequest) -> Iterator[Timer]:
    if request.param == "c" and not any(map(timer.shutil.which, timer.COMPILERS)):
        pytest.skip("needs a C compiler")
    with timer.timer(request.param) as made:
        yield made


@pytest.mark.parametrize("count", [1, 2, 19, 20, 1000])
def test_quantiles_are_times_that_were_seen_and_the_mean_leaves_the_top_twentieth_out(count: int) -> None:
    times = np.random.default_rng(count).integers(0, 2**32, count).astype(np.uint32)
    found = timing.quantiles("connect", times)
    ordered = sorted(map(int, times))
    for name, percent in timing.QUANTILES.items():
        assert found[f"connect_{name}_ns"] == ordered[percent * (count - 1) // 100]
    assert found["connect_min_ns"] == ordered[0]
    kept = ordered[: max(1, count * 95 // 100)]
    assert found["connect_tmean95_ns"] == pytest.approx(sum(kept) / len(kept), abs=0.1)


def test_a_timer_makes_as_many_connections_as_asked_and_the_kernel_counts_them(
    bed: Bed, clock: Timer
) -> None:
    view = Scene(services=2, tested={1: Subject(endpoints=3)}, two_rules=False).view()
    if reason := backends.refusal(bed, "iptables-legacy", view):
        pytest.skip(f"needs iptables-legacy: {reason}")
    backends.load(bed, "iptables-legacy", view)
    answer = clock.time(bed, targets(view, [1])[1], "connections", 700)
    saved = bed.run("node", "iptables-legacy-save", "-c", "-t", "nat")
    counted = {
        address: int(n)
        for n, address in re.findall(r"^\[(\d+):\d+\] .*--to-destination ([\d.]+):8080", saved, re.MULTILINE)
    }
    accepted = Counter(str(IPv4Address(int(number))) for number in answer.addresses)
    assert sum(counted.values()) == 700 + timing.WARM
    assert accepted.total() == 700
    assert set(accepted) == {endpoint.address for endpoint in view.ports[1].endpoints}
    assert all(counted[address] >= n for address, n in accepted.items())
    assert (answer.cycle_ns > answer.connect_ns).all()
    assert answer.per_s == pytest.approx(700 / answer.elapsed_s)
    assert answer.elapsed_s >= answer.cycle_ns.sum() * 1e-9 * 0.5


def test_requests_share_one_connection(bed: Bed, clock: Timer) -> None:
    backends.follow_connections(bed)
    answer = clock.time(bed, pod_target(Scene(services=1).view()), "requests", 50)
    assert len(answer.cycle_ns) == 50
    assert answer.cycle_ns.all()
    with bed.inside("node"):
        from pathlib import Path

        assert int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text()) == 1


@pytest.mark.parametrize("backend", ["iptables-legacy", "iptables-nft", "nftables"])
def test_known_clients_return_to_their_endpoint_and_new_ones_are_spread(
    bed: Bed, clock: Timer, backend: str
) -> None:
    view = Scene(services=1, tested={0: Subject(endpoints=4, affinity=True)}, two_rules=False).view()
    if reason := backends.refusal(bed, backend, view):
        pytest.skip(f"needs {backend} with session affinity: {reason}")
    backends.load(bed, backend, view)
    for target in targets(view, [0]):
        known = with_known_clients(target)
        twice = clock.time(bed, known, "connections", 2 * known.sources).addresses.reshape(2, -1)
        assert (twice[0] == twice[1]).all()
        again = clock.time(bed, known, "connections", known.sources).addresses
        # Each run begins its clients anew after the warm ones, which are as many.
        assert (again == twice[0]).all()
        new = clock.time(bed, with_new_clients(target, 0, 150), "connections", 100).addresses
        assert len(set(new.tolist())) == 4


def test_every_known_client_has_come_once_before_the_time_counts() -> None:
    plain, *_ = targets(Scene(services=1).view(), [0])
    assert timing.warm(plain) == timing.WARM
    known = with_known_clients(plain)
    assert timing.warm(known) >= known.sources > timing.WARM


def test_cold_connections_are_as_many_as_warm_ones(bed: Bed, clock: Timer) -> None:
    answer = clock.time(bed, pod_target(Scene(services=1).view()), "connections", 5, cold_mib=1)
    assert len(answer.connect_ns) == 5


def test_a_target_that_does_not_answer_is_an_error_that_names_it(bed: Bed, clock: Timer) -> None:
    (target,) = targets(Scene(services=1).view(), [0])[1:]
    with pytest.raises(InputError, match=r"nodeport 10\.10\.0\.1:2000 cannot be timed: .*[Rr]efused"):
        clock.time(bed, target, "connections", 5)


def test_without_a_compiler_python_does_the_timing_unless_c_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with timer.timer() as made:
        assert made.name == "python"
    with pytest.raises(InputError, match="--timer c cannot be compiled: no C compiler"), timer.timer("c"):
        raise AssertionError("there is no compiler")


def test_compiling_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not any(map(timer.shutil.which, timer.COMPILERS)):
        pytest.skip("needs a C compiler")
    monkeypatch.setattr(timer.tempfile, "tempdir", str(tmp_path))
    with timer.timer("c"):
        assert list(tmp_path.iterdir()) == []

"""The kernel's schedulers, as laws about many choices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st

from nodeportsim.kubeproxy.choice import (
    HEAD,
    SH_BUCKETS,
    Wrr,
    least_connections,
    round_robin,
    source_bucket,
    source_hash,
    uniform,
    weighted_least_connections,
    weighted_round_robin,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

weights = st.lists(st.integers(0, 5), min_size=1, max_size=8)


def rotation(given_weights: Sequence[int], count: int) -> list[int | None]:
    """What rr chooses in a row."""
    last, chosen = HEAD, []
    for _ in range(count):
        index, last = round_robin(given_weights, last)
        chosen.append(index)
    return chosen


def weighted(given_weights: Sequence[int], count: int, state: Wrr | None = None) -> list[int | None]:
    """What wrr chooses in a row."""
    state, chosen = state or Wrr(), []
    for _ in range(count):
        index, state = weighted_round_robin(given_weights, state)
        chosen.append(index)
    return chosen


def test_uniform_cuts_the_unit_interval_into_equal_parts() -> None:
    assert [uniform(4, u / 8) for u in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


@given(weights)
def test_rr_gives_every_destination_with_a_weight_the_same_number(given_weights: list[int]) -> None:
    live = [i for i, weight in enumerate(given_weights) if weight]
    assume(live)
    assert Counter(rotation(given_weights, 3 * len(live))) == dict.fromkeys(live, 3)


def test_rr_goes_on_from_the_last_one_past_the_draining_ones() -> None:
    assert rotation((1, 0, 1, 1), 5) == [0, 2, 3, 0, 2]
    assert round_robin((0, 1, 0), last=1) == (1, 1)
    assert round_robin((0, 0), last=1) == (None, 1)
    assert round_robin((), last=HEAD) == (None, HEAD)


@given(weights)
def test_wrr_gives_exact_weight_proportions_in_every_cycle(given_weights: list[int]) -> None:
    assume(any(given_weights))
    total = sum(given_weights)
    expected = {i: 2 * weight for i, weight in enumerate(given_weights) if weight}
    step = next(d for d in range(5, 0, -1) if all(weight % d == 0 for weight in given_weights))
    assert Counter(weighted(given_weights, 2 * total // step)) == {
        i: count // step for i, count in expected.items()
    }


def test_wrr_with_weights_1_to_3_starts_with_the_heaviest() -> None:
    """Passes need 3, 2, 1: the third; the second and third; all."""
    assert weighted((1, 2, 3), 7) == [2, 1, 2, 0, 1, 2, 2]


def test_wrr_with_kube_proxys_weights_is_rr() -> None:
    assert weighted((1, 0, 1), 5) == rotation((1, 0, 1), 5)


def test_wrr_after_a_change_of_weights_needs_no_more_than_the_heaviest_has() -> None:
    _, state = weighted_round_robin((5, 1), Wrr())
    assert weighted((1, 1), 2, Wrr(needed=state.needed)) == [0, 1]
    assert weighted((0, 0), 1) == [None]


def test_lc_takes_the_first_of_the_least_loaded_and_never_a_draining_one() -> None:
    assert least_connections((1, 1, 1), (2, 1, 1)) == 1
    assert least_connections((0, 1), (0, 9)) == 1
    assert least_connections((0,), (0,)) is None


def test_an_active_connection_weighs_as_much_as_256_inactive_ones() -> None:
    assert least_connections((1, 1), (1, 0), (0, 255)) == 1
    assert least_connections((1, 1), (1, 0), (0, 257)) == 0


@given(weights, st.data())
def test_wlc_minimises_overhead_per_weight(given_weights: list[int], data: st.DataObject) -> None:
    counts = st.lists(st.integers(0, 50), min_size=len(given_weights), max_size=len(given_weights))
    active = data.draw(counts)
    chosen = weighted_least_connections(given_weights, active)
    live = [i for i, weight in enumerate(given_weights) if weight]
    if chosen is None:
        assert not live
        return
    ratio = active[chosen] / given_weights[chosen]
    assert all(ratio <= active[i] / given_weights[i] + 1e-12 for i in live)
    assert all(ratio < active[i] / given_weights[i] for i in live if i < chosen)


def test_sh_sends_one_address_to_one_endpoint_and_refuses_the_clients_of_a_draining_one() -> None:
    addresses = range(0x0A000000, 0x0A000400)
    full = [source_hash((1, 1, 1), address) for address in addresses]
    after = [source_hash((1, 0, 1), address) for address in addresses]
    assert full == [source_bucket(address) % 3 for address in addresses]
    assert after == [None if chosen == 1 else chosen for chosen in full]
    assert source_hash((), 1) is None


def test_sh_hashes_as_the_kernel_does() -> None:
    """hash_32 keeps the upper 8 of the 32 bits of address x 0x61C88647."""
    assert [source_bucket(address) for address in (0, 1, 2, 3)] == [0, 0x61, 0xC3, 0x25]


def test_sh_deals_its_256_buckets_in_turn() -> None:
    assert {source_bucket(address) for address in range(4096)} == set(range(SH_BUCKETS))
    counts = Counter(source_hash((2, 1), address) for address in range(65536))
    assert abs(counts[0] / counts.total() - 2 / 3) < 2 / SH_BUCKETS

"""What keeps a client from trying again, or from trying there: retry budget, circuit breaker, ejected nodes.

All of it is one client's own memory, for a client is one process. A budget counts as Finagle's RetryBudget or
gRPC's retry throttling do, a breaker turns as sony/gobreaker does, nodes are ejected as by Envoy's outlier
detection. Counts are integers, so nothing depends on the order of a sum. Sources, and what is left out:
docs/models/retries.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .codes import (
    BUDGET_SLICES,
    CIRCUIT_OPEN,
    CLOSED,
    CONNECT_TIMEOUT,
    CONNECTION_REFUSED,
    HALF_OPEN,
    HOST_UNREACHABLE,
    NEVER_S,
    NO_BUDGET,
    NO_PORTS,
    OPEN,
    POOL_TIMEOUT,
    RATIO_BUDGET,
    TOKEN_BUDGET,
)
from .draws import IDEMPOTENT, uniform2
from .machine import rare

if TYPE_CHECKING:
    from .records import World

TOKEN = 1000  # Thousandths: gRFC A6 supports three decimal places.
CALM_S = 10.0  # Every so long without ejection forgives one: Envoy, outlier_detection.interval.


@rare
def admit(w: World, t: float, r: int) -> int:
    """Tell whether an attempt may go out."""
    request = w.requests[r]
    group = w.groups[w.clients[request.client].group]
    if request.attempt == 0:
        begin(w, t, r)
    return pass_circuit(w, t, r) if group.circuit_failures > 0 else 1


@rare
def begin(w: World, t: float, r: int) -> None:
    """A new request pays into the budget; whether it may be sent twice is its nature."""
    request = w.requests[r]
    c = request.client
    group = w.groups[w.clients[c].group]
    if group.budget == RATIO_BUDGET:
        w.budgets[c][budget_slice(w, t, c)] += group.budget_deposit
    request.idempotent = 1
    if group.idempotent_ratio < 1.0:
        u, _ = uniform2(w.config.key0, w.config.key1, IDEMPOTENT, c, request.number, 0)
        request.idempotent = int(u < group.idempotent_ratio)


@rare
def note_success(w: World, t: float, r: int) -> None:
    """An attempt was answered."""
    request = w.requests[r]
    c = request.client
    group = w.groups[w.clients[c].group]
    if group.budget == TOKEN_BUDGET:
        w.restraints[c].tokens = min(group.tokens_max, w.restraints[c].tokens + group.tokens_success)
    if group.circuit_failures > 0:
        turn_after_success(w, t, r)
    if group.ejection_failures > 0 and w.outliers[c][request.node].until_s <= t:
        w.outliers[c][request.node].row = 0


@rare
def note_failure(w: World, t: float, r: int, k: int, cause: int) -> None:
    """An attempt failed, over connection `k` or before it had one; one that never went out tells nothing."""
    request = w.requests[r]
    c = request.client
    group = w.groups[w.clients[c].group]
    if cause == CIRCUIT_OPEN:
        return
    if group.budget == TOKEN_BUDGET:
        w.restraints[c].tokens = max(0, w.restraints[c].tokens - TOKEN)
    if group.circuit_failures > 0:
        turn_after_failure(w, t, r)
    if group.ejection_failures > 0 and k >= 0:
        strike(w, t, c, request.node)


@rare
def may_retry(w: World, t: float, r: int, cause: int) -> int:
    """Tell whether a failed attempt may be followed by another: by its nature, and by the budget."""
    request = w.requests[r]
    c = request.client
    group = w.groups[w.clients[c].group]
    never_connected = cause in (CONNECT_TIMEOUT, HOST_UNREACHABLE, CONNECTION_REFUSED, NO_PORTS)
    unsent = never_connected or cause in (POOL_TIMEOUT, CIRCUIT_OPEN)
    if not unsent and request.idempotent == 0:
        return 0
    if group.budget == NO_BUDGET or withdraw(w, t, c) != 0:
        return 1
    if request.born_s >= w.config.warmup_s:
        w.counts.budget_refusals += 1
    return 0


# -- retry budget --------------------------------------------------------------------------------


@rare
def withdraw(w: World, t: float, c: int) -> int:
    """Take one retry out of the budget of client `c`, if it holds one."""
    group = w.groups[w.clients[c].group]
    if group.budget == TOKEN_BUDGET:
        return int(2 * w.restraints[c].tokens > group.tokens_max)
    now = budget_slice(w, t, c)
    balance = group.budget_reserve
    for k in range(BUDGET_SLICES):
        balance += w.budgets[c][k]
    if balance < group.budget_cost:
        return 0
    w.budgets[c][now] -= group.budget_cost
    return 1


@rare
def budget_slice(w: World, t: float, c: int) -> int:
    """Place of the present tenth of the window; what was paid in or taken out a window ago is forgotten."""
    restraint = w.restraints[c]
    now = int(t / w.groups[w.clients[c].group].budget_slice_s)
    for k in range(min(now - restraint.slice, BUDGET_SLICES)):
        w.budgets[c][(restraint.slice + 1 + k) % BUDGET_SLICES] = 0
    restraint.slice = now
    return now % BUDGET_SLICES


# -- circuit breaker -----------------------------------------------------------------------------


@rare
def pass_circuit(w: World, t: float, r: int) -> int:
    """Ask the breaker: closed lets all pass, open none until its time is over, half-open a few."""
    request = w.requests[r]
    c = request.client
    restraint = w.restraints[c]
    if restraint.circuit == OPEN and t > restraint.circuit_until_s:
        turn_circuit(w, t, c, HALF_OPEN)
    if restraint.circuit == OPEN:
        return 0
    probes = w.groups[w.clients[c].group].circuit_probes
    if restraint.circuit == HALF_OPEN and restraint.circuit_asked >= probes:
        return 0
    restraint.circuit_asked += 1
    request.circuit_turn = restraint.circuit_turn
    return 1


@rare
def turn_circuit(w: World, t: float, c: int, state: int) -> None:
    """Turn the breaker: it counts anew, and forgets the attempts that are under way."""
    restraint = w.restraints[c]
    restraint.circuit = state
    restraint.circuit_turn += 1
    restraint.circuit_row = 0
    restraint.circuit_asked = 0
    restraint.circuit_until_s = t + w.groups[w.clients[c].group].circuit_open_s


@rare
def turn_after_success(w: World, t: float, r: int) -> None:
    """A success ends a row of failures; enough of them close a half-open breaker."""
    request = w.requests[r]
    restraint = w.restraints[request.client]
    if request.circuit_turn != restraint.circuit_turn:
        return
    if restraint.circuit == CLOSED:
        restraint.circuit_row = 0
        return
    restraint.circuit_row += 1
    if restraint.circuit_row >= w.groups[w.clients[request.client].group].circuit_probes:
        turn_circuit(w, t, request.client, CLOSED)


@rare
def turn_after_failure(w: World, t: float, r: int) -> None:
    """One failure too many in a row opens the breaker; a half-open one opens at the first."""
    request = w.requests[r]
    restraint = w.restraints[request.client]
    if request.circuit_turn != restraint.circuit_turn:
        return
    restraint.circuit_row += 1
    most = w.groups[w.clients[request.client].group].circuit_failures
    if restraint.circuit == HALF_OPEN or restraint.circuit_row > most:
        turn_circuit(w, t, request.client, OPEN)


# -- ejected nodes -------------------------------------------------------------------------------


@rare
def strike(w: World, t: float, c: int, n: int) -> None:
    """Client `c` holds a failure against node `n`: enough in a row eject it, each time for longer."""
    group = w.groups[w.clients[c].group]
    outlier = w.outliers[c][n]
    if outlier.until_s > t:
        return
    outlier.row += 1
    if outlier.row < group.ejection_failures:
        return
    outlier.row = 0
    if ejected(w, t, c) >= group.ejection_most:
        return
    outlier.times = max(0, outlier.times - int((t - outlier.until_s) / CALM_S))
    if outlier.times * group.ejection_base_s < group.ejection_max_s + group.ejection_base_s:
        outlier.times += 1
    outlier.until_s = t + min(group.ejection_max_s, outlier.times * group.ejection_base_s)
    w.restraints[c].ejected_until_s = max(w.restraints[c].ejected_until_s, outlier.until_s)
    w.counts.ejections += 1


@rare
def ejected(w: World, t: float, c: int) -> int:
    """How many nodes client `c` holds ejected."""
    count = 0
    if w.restraints[c].ejected_until_s > t:
        for m in range(w.config.nodes):
            count += int(w.outliers[c][m].until_s > t)
    return count


@rare
def kept_node(w: World, t: float, c: int, last: int, u: float) -> int:
    """Choose by `u` among the nodes that client `c` still trusts, in order from the one after `last`.

    `last` itself is taken where no other is left. Where too few are left, ejections are not heeded.
    """
    n = w.config.nodes
    gone = ejected(w, t, c) if w.groups[w.clients[c].group].ejection_failures > 0 else 0
    heeds = int(0 < gone < n and n - gone >= w.groups[w.clients[c].group].ejection_panic)
    left = 0
    for m in range(n):
        left += int(m != last and trusts(w, t, c, m, heeds))
    rank = int(u * left)
    for k in range(1, n + 1):
        m = (last + k) % n
        if m != last and trusts(w, t, c, m, heeds):
            if rank == 0:
                return int(m)
            rank -= 1
    return last


@rare
def trusts(w: World, t: float, c: int, m: int, heeds: int) -> bool:
    """Node `m` is not ejected by client `c`, and DNS has not withdrawn it."""
    if heeds != 0 and w.outliers[c][m].until_s > t:
        return False
    client = w.clients[c]
    asked = w.groups[client.group].withdrawing != 0 and client.resolved_s < NEVER_S
    return not asked or w.nodes[m].listed != 0

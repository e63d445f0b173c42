"""When a change is in a node's rules.

kube-proxy's bounded-frequency runner applies a lone change at once; a change that comes while a sync runs,
or sooner than ``minSyncPeriod`` after the end of the last one, waits for that end plus the period. Changes
that wait go in together. How long a sync takes grows with the rule set: ipvs, iptables and nftables differ,
and so do a partial sync (some endpoints changed), a full one into an empty rule set (a booted node), and one
after a restart of kube-proxy, over rules that are there.

Source: k8s:pkg/proxy/runner (bounded frequency), checked with a burst of 40 changes in 4 s
(``tests/golden/behaviour_checks.json``); durations: ``tests/golden/sync_times.json``, fitted in a profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SyncKind = Literal["partial", "full", "restart"]


@dataclass(frozen=True, kw_only=True)
class SyncCost:
    """Duration of a sync: constant + per service port + per endpoint + per rule squared (all in seconds).

    The square is for what nf_tables loads in one transaction, the modes nftables and iptables-nft.
    """

    constant_s: float
    per_service_port_s: float = 0.0
    per_endpoint_s: float = 0.0
    per_rule_squared_s: float = 0.0

    def duration_s(self, *, service_ports: int, endpoints: int, rules: int) -> float:
        """Return the duration (s) for a rule set of this size; `rules` of table nat, or all of nftables."""
        linear = self.per_service_port_s * service_ports + self.per_endpoint_s * endpoints
        return self.constant_s + linear + self.per_rule_squared_s * rules**2


@dataclass(frozen=True, kw_only=True)
class Runner:
    """The runner between two syncs.

    Parameters
    ----------
    min_sync_period_s
        Shortest time from the end of a sync to the start of the next (kube-proxy's default: 1 s).
    last_end_s
        When the last sync ended (s); minus infinity before the first.
    """

    min_sync_period_s: float = 1.0
    last_end_s: float = float("-inf")

    def start_s(self, change_s: float) -> float:
        """Return when a change seen at `change_s` (s) starts to be applied."""
        return max(change_s, self.last_end_s + self.min_sync_period_s)

    def after(self, end_s: float) -> Runner:
        """Return the runner after a sync that ended at `end_s` (s)."""
        return Runner(min_sync_period_s=self.min_sync_period_s, last_end_s=end_s)


def applied_s(changes_s: tuple[float, ...], *, runner: Runner, duration_s: float) -> tuple[float, ...]:
    """Return when each change is in the rules (s), for changes in order of time and syncs of one duration.

    A sync takes all changes seen up to its start.
    """
    result: list[float] = []
    while len(result) < len(changes_s):
        start_s = runner.start_s(changes_s[len(result)])
        taken = sum(change_s <= start_s for change_s in changes_s[len(result) :])
        runner = runner.after(start_s + duration_s)
        result += [runner.last_end_s] * taken
    return tuple(result)

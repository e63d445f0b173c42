"""The Deployment behind the Service: how many pods of which revision there are, and which go first.

How the real thing works: the Deployment controller has a ReplicaSet a revision and decides how many pods
each should have; the ReplicaSet controller makes or deletes pods until it has them. A rollout lets the new
set grow as far as `maxSurge` allows, and the old ones shrink as long as all but `maxUnavailable` pods are
available; every pod that becomes available, or no longer is, lets it go on. A deleted pod counts no more,
though it may serve until its grace period is over. Left out: the API's latencies and rate limits, batches
(1, 2, 4 ... pods), proportional scaling in the middle of a rollout, disruption budgets.

Sources: k8s:pkg/controller/deployment/rolling.go and util (ResolveFenceposts, NewRSNewReplicas),
k8s:pkg/controller/replicaset, k8s:pkg/controller/controller_utils.go (ActivePodsWithRanks).
"""

from __future__ import annotations

from collections import Counter
from math import frexp, inf
from typing import TYPE_CHECKING

from . import draws
from .lifecycle import create, start, terminate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodeportsim.scenario.spec import Rollout

    from .control import Control, Process


def fenceposts(rollout: Rollout, wanted: int) -> tuple[int, int]:
    """Resolve maxSurge (rounded up) and maxUnavailable (rounded down) for so many replicas."""
    surge = -_share(rollout.max_surge, -wanted)
    unavailable = _share(rollout.max_unavailable, wanted)
    return (surge, min(unavailable, wanted)) if surge or unavailable else (0, 1)


def _share(given: int | str, wanted: int) -> int:
    """Resolve a number of pods, or a percentage of the wanted ones, rounded down."""
    if isinstance(given, str):
        return wanted * int(given.removesuffix("%")) // 100
    return given if wanted >= 0 else -given


class Deployment:
    """What the Deployment and its ReplicaSets know. `wake` after any change; `settled` when all is done."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.rollout = control.scenario.pods.rollout
        self.sets: list[set[int]] = []  # Pods that are not deleted, a set a revision.
        self.sizes: list[int] = []  # How many each should have.
        self.wanted = 0
        self.deleted: set[int] = set()
        self.ending: set[int] = set()  # Deleted, and still there.
        self.cordoned: Counter[int] = Counter()  # Faults that keep new pods from a node.
        self.ready_s: dict[int, float] = {}  # Since when, where that is within the run.
        self.luck: dict[int, float] = {}  # What decides between a pod and its equals.
        self.changed, self.moved = control.env.event(), control.env.event()

    def start(self) -> None:
        """Take over the pods that stand on nodes, and begin to watch them."""
        pods = self.control.slices.pods
        own = {p for p, pod in enumerate(pods) if pod.node is not None and not pod.terminating}
        self.sets, self.sizes, self.wanted = [own], [len(own)], len(own)
        self.control.env.process(self._controller())

    # -- what others tell it -----------------------------------------------------------------

    def wake(self) -> None:
        """Look again."""
        if not self.changed.triggered:
            self.changed.succeed()

    def roll(self) -> None:
        """Replace every pod by one of a new revision."""
        self.sets.append(set())
        self.sizes.append(0)
        self.wake()

    def scale(self, replicas: int) -> None:
        """Want another number of pods."""
        self.wanted = replicas
        self.wake()

    def delete(self, p: int) -> None:
        """Delete a pod; its ReplicaSet makes another one."""
        if p in self.deleted:
            return
        for pods in self.sets:
            pods.discard(p)
        self.deleted.add(p)
        self.ending.add(p)
        self.control.note("pod deleted", self.control.slices.pods[p].name)
        self.control.env.process(terminate(self.control, p))
        self.wake()

    def forget(self, p: int) -> None:
        """A deleted pod is gone."""
        self.ending.discard(p)
        self.wake()

    def notice(self, p: int) -> None:
        """A pod has become ready, or no longer is."""
        self.ready_s[p] = self.control.env.now
        if self.rollout.min_ready_s > 0.0:
            self.control.env.process(self._look_later())
        self.wake()

    def settled(self) -> Process:
        """Wait until there are just the pods that are wanted, all available, and no other any more."""
        while self.ending or not sum(self.sizes) == self._available(-1) == self.wanted:
            yield self.moved

    def cleared(self, n: int) -> Process:
        """Wait until node n has no pod."""
        while self.control.pods_of(n):
            yield self.moved

    # -- the controllers ---------------------------------------------------------------------

    def _controller(self) -> Process:
        """Act upon every change."""
        while True:
            yield self.changed
            yield from self.control.leadership.at_work()
            self.changed = self.control.env.event()
            self._resize()
            for pods, size in zip(self.sets, self.sizes, strict=True):
                self._manage(pods, size)
            moved, self.moved = self.moved, self.control.env.event()
            moved.succeed()

    def _look_later(self) -> Process:
        """Look again when a ready pod becomes available."""
        yield self.control.env.timeout(self.rollout.min_ready_s)
        self.wake()

    def _resize(self) -> None:
        """Decide how many pods each revision should have."""
        surge, unavailable = fenceposts(self.rollout, self.wanted)
        old = sum(self.sizes[:-1])
        room = self.wanted + surge - sum(self.sizes) if old else self.wanted
        self.sizes[-1] = min(self.wanted, self.sizes[-1] + max(0, room))
        if old:
            self._shrink(self.wanted - unavailable)

    def _shrink(self, least: int) -> None:
        """Take from the old revisions as long as `least` pods are available: first what is not."""
        new = len(self.sets) - 1
        missing = self.sizes[-1] - self._available(-1)
        room = max(0, sum(self.sizes) - least - missing)
        for revision in range(new):
            cut = min(room, max(0, self.sizes[revision] - self._available(revision)))
            self.sizes[revision] -= cut
            room -= cut
        spare = max(0, sum(map(self._available, range(new + 1))) - least)
        for revision in range(new):
            cut = min(room, spare, self.sizes[revision])
            self.sizes[revision] -= cut
            room, spare = room - cut, spare - cut

    def _available(self, revision: int) -> int:
        """Count the pods of a revision that have been ready for `minReady`."""
        least_s, now = self.rollout.min_ready_s, self.control.env.now
        pods = self.control.slices.pods
        return sum(pods[p].ready and now >= self.ready_s.get(p, -inf) + least_s for p in self.sets[revision])

    def _manage(self, pods: set[int], size: int) -> None:
        """Make or delete pods of one ReplicaSet; without a node to go to they wait."""
        for p in self._ranked(pods)[: max(0, len(pods) - size)]:
            self.delete(p)
        for _ in range(size - len(pods)):
            homes = self._homes()
            if not homes:
                return
            p = create(self.control, min(homes, key=lambda n: (len(self.control.standing[n]), n)))
            pods.add(p)
            self.control.env.process(start(self.control, p))

    def _homes(self) -> list[int]:
        """List the nodes that take new pods."""
        nodes = range(len(self.control.names))
        return [n for n in nodes if n not in self.control.unknown and not self.cordoned[n]]

    def _luck(self, p: int) -> float:
        """Draw, once, what decides between a pod and its equals."""
        if p not in self.luck:
            self.luck[p] = self.control.uniform(draws.LIFE, p)
        return self.luck[p]

    def _ranked(self, pods: Iterable[int]) -> list[int]:
        """Order pods as a ReplicaSet deletes them: unready, beside others of ours, ready for a short time."""
        stand, now = self.control.slices.pods, self.control.env.now
        crowd: dict[str | None, int] = {}
        for p in set().union(*self.sets):
            crowd[stand[p].node] = crowd.get(stand[p].node, 0) + 1

        def rank(p: int) -> tuple[bool, int, float, float]:
            age_ns = (now - self.ready_s.get(p, -inf)) * 1e9
            octave = inf if age_ns == inf else frexp(age_ns)[1]  # LogarithmicScaleDown; of equals any.
            return stand[p].ready, -crowd[stand[p].node], octave, self._luck(p)

        return sorted(pods, key=rank)

"""A pod's containers: what their manifests and their status say of traffic.

How the real thing works: a named `targetPort` is looked up among the container ports of each pod, and a pod
without that name gets no port in the slice (k8s:staging/src/k8s.io/endpointslice/utils.go). A number is
taken as it is: ``containerPort`` is documentation, and an application may listen where no manifest says so.
``preStop`` counts where it only sleeps, as an action (``sleep.seconds``) or as a command that ends in
``sleep N``; what another command takes nobody can tell from its text.
Left out: init containers, what a probe asks for, resources.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodeportsim.kube.document import Field


_SLEEP = re.compile(r"(?:.*\s)?sleep\s+(\d{1,4})s?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadinessProbe:
    """How often a probe asks, and when it believes (defaults: k8s:pkg/apis/core/v1/defaults.go)."""

    period_s: int = 10
    timeout_s: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1


_PROBE = ReadinessProbe()


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A container. `ports` are (name, number); `waiting` is why it does not run, such as CrashLoopBackOff.

    `pre_stop_s` is None without a preStop hook, and where it does not only sleep.
    """

    name: str
    ports: tuple[tuple[str, int], ...] = ()
    restarts: int = 0
    waiting: str = ""
    readiness_probe: ReadinessProbe | None = None
    has_pre_stop: bool = False
    pre_stop_s: int | None = None

    @property
    def has_readiness_probe(self) -> bool:
        """Whether a probe decides when it is ready."""
        return self.readiness_probe is not None


def containers(pod: Field) -> tuple[Container, ...]:
    """Read the containers of a Pod document."""
    statuses = {s["name"].text(): s for s in pod.at("status", "containerStatuses").items()}
    return tuple(_container(each, statuses) for each in pod.at("spec", "containers").items())


def _container(container: Field, statuses: dict[str, Field]) -> Container:
    name = container["name"].text()
    ports = [(port["name"].text(), port["containerPort"].whole()) for port in container["ports"].items()]
    status, hook = statuses.get(name), container.at("lifecycle", "preStop")
    return Container(
        name=name,
        ports=tuple((port, number) for port, number in ports if number is not None),
        restarts=(status["restartCount"].whole() or 0) if status else 0,
        waiting=status.at("state", "waiting", "reason").text() if status else "",
        readiness_probe=_probe(container["readinessProbe"]),
        has_pre_stop=hook.value is not None,
        pre_stop_s=None if hook.value is None else _sleep_s(hook),
    )


def _probe(probe: Field) -> ReadinessProbe | None:
    """Read a probe; zero is no value, as in the API."""
    if probe.value is None:
        return None
    return ReadinessProbe(
        period_s=probe["periodSeconds"].whole() or _PROBE.period_s,
        timeout_s=probe["timeoutSeconds"].whole() or _PROBE.timeout_s,
        failure_threshold=probe["failureThreshold"].whole() or _PROBE.failure_threshold,
        success_threshold=probe["successThreshold"].whole() or _PROBE.success_threshold,
    )


def _sleep_s(hook: Field) -> int | None:
    seconds = hook.at("sleep", "seconds").whole()
    if seconds is not None:
        return seconds
    sleeps = _SLEEP.fullmatch(" ".join(word.text() for word in hook.at("exec", "command").items()))
    return int(sleeps[1]) if sleeps else None

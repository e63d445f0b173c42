"""A pod's containers: what their manifests and their status say of traffic.

How the real thing works: a named `targetPort` is looked up among the container ports of each pod, and a pod
without that name gets no port in the slice (k8s:staging/src/k8s.io/endpointslice/utils.go). A number is
taken as it is: ``containerPort`` is documentation, and an application may listen where no manifest says so.
Left out: init containers, probes' details, resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodeportsim.kube.document import Field


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A container. `ports` are (name, number); `waiting` is why it does not run, such as CrashLoopBackOff."""

    name: str
    ports: tuple[tuple[str, int], ...] = ()
    restarts: int = 0
    waiting: str = ""
    has_readiness_probe: bool = False
    has_pre_stop: bool = False


def containers(pod: Field) -> tuple[Container, ...]:
    """Read the containers of a Pod document."""
    statuses = {s["name"].text(): s for s in pod["status"]["containerStatuses"].items()}
    return tuple(_container(each, statuses) for each in pod["spec"]["containers"].items())


def _container(container: Field, statuses: dict[str, Field]) -> Container:
    name = container["name"].text()
    ports = [(port["name"].text(), port["containerPort"].whole()) for port in container["ports"].items()]
    status = statuses.get(name)
    return Container(
        name=name,
        ports=tuple((port, number) for port, number in ports if number is not None),
        restarts=(status["restartCount"].whole() or 0) if status else 0,
        waiting=status["state"]["waiting"]["reason"].text() if status else "",
        has_readiness_probe=container["readinessProbe"].value is not None,
        has_pre_stop=container["lifecycle"]["preStop"].value is not None,
    )

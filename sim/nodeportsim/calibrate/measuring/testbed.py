"""A client, two nodes and their pods as network namespaces of this machine, gone without trace afterwards.

::

    client                    node                             pods
    c0 10.10.0.2/24 --------- n0 10.10.0.1/24 (the node's IP)
    10.21.0.0/16 (a pod's     n1 10.30.0.1/24 ---------------- p0 10.30.0.2/24, 10.20.0.0/16
      address as source)
    10.128.0.0/10 (outside)   x1 10.10.1.1/24 -- x2 10.10.1.2/24 (node2)
                              vxlan 42 over x1-x2              pods2
                                        node2 n2 10.31.0.1/24 - q0 10.31.0.2/24, 10.22.0.0/15

One namespace plays all pods of a node: a *local route* makes every address of a range its own, so one
listener answers for all endpoints, and the accepted socket tells which was chosen. 10.22.0.0/16 is routed
to the second node, 10.23.0.0/16 goes through the overlay.

Nothing but namespaces of our own is touched. Their names tell who made them (`nps-`, PID namespace, process,
its start, a number), so that those of a killed run are recognised and removed, and no others.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from nodeportsim.calibrate.measuring import netlink
from nodeportsim.calibrate.measuring.system import CommandError, require, run, stops_raise, undisturbed
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

Role = Literal["client", "node", "pods", "node2", "pods2"]

ROLES: tuple[Role, ...] = ("client", "node", "pods", "node2", "pods2")
NAMESPACES = Path("/var/run/netns")  # Where iproute2 keeps their names (its NETNS_RUN_DIR).
NAME = re.compile(r"nps-(?P<pid_namespace>\d+)-(?P<pid>\d+)-(?P<start>\d+)-\d+-(?:client|node2?|pods2?)")

NODE_IP = "10.10.0.1"
OUTSIDE_IP, POD_IP = "10.10.0.2", "10.21.0.2"
OUTSIDE_RANGE, POD_RANGE = "10.128.0.0/10", "10.21.0.0/16"
CLUSTER_CIDR, SERVICE_CIDR = "10.20.0.0/14", "10.96.0.0/12"

_LINKS: tuple[tuple[Role, str, str, Role, str, str], ...] = (
    # One end's role, name and address, the other's.
    ("client", "c0", f"{OUTSIDE_IP}/24", "node", "n0", f"{NODE_IP}/24"),
    ("node", "n1", "10.30.0.1/24", "pods", "p0", "10.30.0.2/24"),
    ("node", "x1", "10.10.1.1/24", "node2", "x2", "10.10.1.2/24"),
    ("node2", "n2", "10.31.0.1/24", "pods2", "q0", "10.31.0.2/24"),
)
_ROUTES: dict[Role, tuple[str, ...]] = {
    "client": (f"default via {NODE_IP}", f"local {POD_RANGE} dev lo", f"local {OUTSIDE_RANGE} dev lo"),
    # The default route matters: without one, an unknown ClusterIP never reaches the rules that refuse it.
    "node": (
        f"{POD_RANGE} via {OUTSIDE_IP}",
        f"{OUTSIDE_RANGE} via {OUTSIDE_IP}",
        "10.20.0.0/16 via 10.30.0.2",
        "10.22.0.0/16 via 10.10.1.2",
        "default via 10.10.1.2",
    ),
    "pods": ("default via 10.30.0.1", "local 10.20.0.0/16 dev lo"),
    "node2": ("10.22.0.0/15 via 10.31.0.2", "default via 10.10.1.1", f"blackhole {SERVICE_CIDR}"),
    "pods2": ("default via 10.31.0.1", "local 10.22.0.0/15 dev lo"),
}
_OVERLAY: tuple[tuple[Role, str, str, str, str], ...] = (
    # Role, ends of the tunnel, own address and hardware address, the other's.
    ("node", "local 10.10.1.1 remote 10.10.1.2 dev x1", "10.40.0.1", "02:00:0a:28:00:01", "10.40.0.2"),
    ("node2", "local 10.10.1.2 remote 10.10.1.1 dev x2", "10.40.0.2", "02:00:0a:28:00:02", "10.40.0.1"),
)
_SETTINGS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/all/disable_ipv6": 1,  # Nobody speaks IPv6 here: no discovery packets in between.
    "net/ipv6/conf/default/disable_ipv6": 1,
}
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Bed:
    """Five namespaces, wired up. Made by `build`."""

    prefix: str

    def name(self, role: Role) -> str:
        """Give a namespace's name, as ``ip netns`` lists it."""
        return f"{self.prefix}-{role}"

    def path(self, role: Role) -> Path:
        """Give the file that stands for a namespace."""
        return NAMESPACES / self.name(role)

    @contextmanager
    def inside(self, role: Role) -> Iterator[None]:
        """Be in a namespace for a while; sockets opened there stay there."""
        with netlink.inside(self.path(role)):
            yield

    def run(
        self, role: Role, *command: str, stdin: IO[str] | None = None, timeout_s: float | None = None
    ) -> str:
        """Run a command in a namespace and return what it prints; `CommandError` when it fails."""
        # Rules are loaded under a lock of our own, not under the one this machine's kube-proxy waits for.
        lock = {"XTABLES_LOCKFILE": str(self.path(role))}
        within = ("ip", "netns", "exec", self.name(role))
        return run(*within, *command, stdin=stdin, timeout_s=timeout_s, variables=lock)

    def set(self, role: Role, setting: str, value: object) -> None:
        """Write a kernel setting of a namespace, as ``net/ipv4/ip_forward``."""
        with self.inside(role):
            (Path("/proc/sys") / setting).write_text(str(value))

    def has_overlay(self) -> bool:
        """Tell whether the overlay between the nodes could be built."""
        return "vx0" in run("ip", "-n", self.name("node"), "-br", "link")


@contextmanager
def build() -> Iterator[Bed]:
    """Build the namespaces, and remove them whatever happens: an error, Ctrl-C, SIGTERM.

    What a killed run left behind is removed first.
    """
    require()
    bed = Bed(f"{own_prefix()}-{next(_NUMBERS)}")
    with stops_raise():
        try:
            _begin(bed)
            yield bed
        finally:
            with undisturbed():
                _remove(name for name in _listed() if name.startswith(f"{bed.prefix}-"))


def own_prefix() -> str:
    """Begin the names of this process's namespaces: who is told apart from who was by the start time."""
    return f"nps-{_pid_namespace()}-{os.getpid()}-{_started(os.getpid())}"


def is_leftover(name: str) -> bool:
    """Tell whether a namespace is one of ours whose process is gone.

    In doubt it is not: a process of another PID namespace cannot be seen from here.
    """
    made = NAME.fullmatch(name)
    if made is None or made["pid_namespace"] != _pid_namespace():
        return False
    return _started(int(made["pid"])) != made["start"]


def remove_leftovers() -> None:
    """Remove the namespaces of killed runs."""
    _remove(name for name in _listed() if is_leftover(name))


def _listed() -> list[str]:
    return sorted(path.name for path in NAMESPACES.glob("nps-*"))


def _remove(names: Iterator[str]) -> None:
    for name in names:
        try:
            run("ip", "netns", "del", name)
        except CommandError:
            if (NAMESPACES / name).exists():  # Else another run was faster.
                raise


def _pid_namespace() -> str:
    return re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115  (no path stands there)


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it is gone (proc(5), field 22)."""
    try:
        # The name stands in parentheses and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _begin(bed: Bed) -> None:
    try:
        remove_leftovers()
        _build(bed)
    except CommandError as error:
        hint = "Network namespaces and veth pairs are needed."
        raise InputError(f"cannot build its network: {error}", field="measure", hint=hint) from None


def _build(bed: Bed) -> None:
    for role in ROLES:
        run("ip", "netns", "add", bed.name(role))
        _configure(bed, role)
    for one, device, address, other, peer, peer_address in _LINKS:
        _ip(bed, one, f"link add {device} type veth peer name {peer} netns {bed.name(other)}")
        _ip(bed, one, f"addr add {address} dev {device}", f"link set {device} up")
        _ip(bed, other, f"addr add {peer_address} dev {peer}", f"link set {peer} up")
    _ip(bed, "client", f"addr add {POD_IP}/32 dev c0")
    for role, routes in _ROUTES.items():
        _ip(bed, role, *(f"route add {route}" for route in routes))
    try:
        _build_overlay(bed)
    except CommandError:
        return  # A kernel without vxlan: everything else can be measured.


def _configure(bed: Bed, role: Role) -> None:
    _ip(bed, role, "link set lo up")
    for setting, value in _SETTINGS.items():
        with contextlib.suppress(FileNotFoundError):  # A kernel without IPv6 has none to switch off.
            bed.set(role, setting, value)


def _build_overlay(bed: Bed) -> None:
    hardware = {address: own for _, _, address, own, _ in _OVERLAY}
    for role, ends, address, own, other in _OVERLAY:
        _ip(bed, role, f"link add vx0 address {own} type vxlan id 42 {ends} dstport 8472")
        _ip(bed, role, f"addr add {address}/24 dev vx0", "link set vx0 up")
        # Nobody asks for the other's hardware address: the question would be a packet through the rules.
        _ip(bed, role, f"neigh add {other} lladdr {hardware[other]} dev vx0 nud permanent")
    _ip(bed, "node", "route add 10.23.0.0/16 via 10.40.0.2")


def _ip(bed: Bed, role: Role, *lines: str) -> None:
    """Give ``ip`` a few commands in one namespace."""
    for line in lines:
        run("ip", "-n", bed.name(role), *line.split())

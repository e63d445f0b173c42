"""Time connections and requests through the testbed, with a small C program or in Python alone.

Both do the same and see the same connections; the C program (``probe.c``, compiled on the spot) is the more
exact, Python adds about a microsecond to each, which differences cancel. What is timed is CPU time of the
whole path, client, node and pod together: see ``probe.c``.

Guards: the connection table is emptied every `BATCH` connections; source ports are used in order; a *cold*
run reads other memory before each connection, because a loop keeps the rules in the cache and flatters them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

import numpy as np

from nodeportsim.calibrate import netlink
from nodeportsim.calibrate.system import CommandError
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from nodeportsim.calibrate.scene import Target
    from nodeportsim.calibrate.testbed import Testbed

BATCH = 500
WARM = 50
MESSAGE_BYTES = 64
LISTEN_PORT = 8080
LONGEST_S = 300.0
QUANTILES = {"p05": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99}
PROGRAM = Path(__file__).with_name("probe.c")
COMPILERS = ("cc", "gcc", "clang")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST and leaves nothing behind.
PORTS = 64000  # 1024 .. 65023

Kind = Literal["connections", "requests"]


@dataclass(frozen=True)
class Timing:
    """What one run of a timer gives, an entry per connection or request."""

    connect_ns: npt.NDArray[np.uint32]
    cycle_ns: npt.NDArray[np.uint32]
    addresses: npt.NDArray[np.uint32]
    """Which address accepted, as a number."""
    elapsed_s: float
    user_s: float
    system_s: float

    @property
    def per_s(self) -> float:
        """Connections or requests per second, emptying the table not counted."""
        return len(self.cycle_ns) / self.elapsed_s


def quantiles(name: str, times_ns: npt.NDArray[np.uint32]) -> dict[str, float]:
    """Give the columns of one time: quantiles that were really seen, and the mean without the top 5 %."""
    ordered = np.sort(times_ns)
    found = np.percentile(ordered, list(QUANTILES.values()), method="lower")
    kept = ordered[: max(1, len(ordered) * 95 // 100)]
    return {
        f"{name}_min_ns": int(ordered[0]),
        **{f"{name}_{key}_ns": int(value) for key, value in zip(QUANTILES, found, strict=True)},
        f"{name}_tmean95_ns": round(float(kept.mean()), 1),
    }


class Timer(Protocol):
    """What `sweeps` needs of a timer."""

    name: str

    def time(self, bed: Testbed, target: Target, kind: Kind, count: int, *, cold_mib: int = 0) -> Timing:
        """Time so many connections to a target, or requests on one connection."""


@contextlib.contextmanager
def timer(wanted: Literal["c", "python"] | None = None) -> Iterator[Timer]:
    """Give the C timer where it can be compiled, else the Python one; `wanted` forces one.

    Raises
    ------
    InputError
        The C timer is wanted and cannot be made.
    """
    if wanted == "python":
        yield PythonTimer()
        return
    try:
        program = _compiled()
    except (CommandError, OSError) as error:
        if wanted == "c":
            hint = "Install gcc and the C library's headers, or take --timer python."
            raise InputError(f"cannot be compiled: {error}", field="--timer c", hint=hint) from None
        yield PythonTimer()
        return
    try:
        yield CTimer(program)
    finally:
        os.close(program)


def _compiled() -> int:
    """Compile the C program; return it as an open file that has no name any more."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise CommandError("no C compiler")
    with tempfile.TemporaryDirectory(prefix="nodeportsim-") as folder:
        binary = Path(folder) / "probe"
        command = [compiler, "-O2", "-o", str(binary), str(PROGRAM)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise CommandError(ended.stderr.strip().splitlines()[0])
        program = os.open(binary, os.O_RDONLY | os.O_CLOEXEC)
    try:
        subprocess.run([_file(program)], pass_fds=[program], capture_output=True, check=False)
    except OSError:  # A folder from which nothing may be executed.
        os.close(program)
        raise
    return program


def _file(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


class CTimer:
    """The loop as a compiled program, one process per run."""

    name = "c"

    def __init__(self, program: int) -> None:
        self._program = program
        self._port = 0

    def time(self, bed: Testbed, target: Target, kind: Kind, count: int, *, cold_mib: int = 0) -> Timing:
        """See `Timer`."""
        words = [
            *(kind, bed.path("client"), bed.path(target.pods), bed.path("node")),
            *(target.address, target.port, target.source, target.sources, self._port, count),
            *(_warm(target), BATCH, cold_mib, LISTEN_PORT),
        ]
        self._port = (self._port + count + _warm(target)) % PORTS
        ended = subprocess.run(
            [_file(self._program), *map(str, words)],
            pass_fds=[self._program],
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
            start_new_session=True,
        )
        if ended.returncode:
            raise _failed(target, ended.stderr.decode(errors="replace").strip())
        elapsed_s, user_s, system_s = struct.unpack_from("=ddd", ended.stdout)
        rows = np.frombuffer(ended.stdout, np.uint32, offset=24).reshape(-1, 3)
        return Timing(rows[:, 0], rows[:, 1], rows[:, 2], elapsed_s, user_s, system_s)


class PythonTimer:
    """The same loop in Python."""

    name = "python"

    def __init__(self) -> None:
        self._port = 0

    def time(self, bed: Testbed, target: Target, kind: Kind, count: int, *, cold_mib: int = 0) -> Timing:
        """See `Timer`."""
        loop = _Loop(bed, target, self._port, cold_mib)
        self._port = (self._port + count + _warm(target)) % PORTS
        gc.disable()
        try:
            with loop:
                return loop.requests(count) if kind == "requests" else loop.connections(count)
        except OSError as error:
            raise _failed(target, error.strerror or str(error)) from None
        finally:
            gc.enable()


class _Loop:
    """One run: a listener among the pods, a netlink socket on the node, and sockets opened at the client."""

    def __init__(self, bed: Testbed, target: Target, first_port: int, cold_mib: int) -> None:
        self._bed, self._target, self._first_port = bed, target, first_port
        self._cold = np.ones(cold_mib << 20, np.uint8) if cold_mib else None
        self._base = int.from_bytes(socket.inet_aton(target.source), "big")

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            with self._bed.inside("node"):
                self._netfilter = opened.enter_context(netlink.netfilter_socket())
            with self._bed.inside(self._target.pods):
                self._listener = opened.enter_context(socket.create_server(("", LISTEN_PORT), backlog=4096))
            opened.enter_context(self._bed.inside("client"))
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def connections(self, count: int) -> Timing:
        """Open and reset connections."""
        warm, rows, flushing_s = _warm(self._target), np.zeros((count, 3), np.uint32), 0.0
        begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        for number in range(warm + count):
            if number % BATCH == 0:
                pause = time.perf_counter()
                netlink.flush_conntrack(self._netfilter)
                flushing_s += time.perf_counter() - pause
            if number == warm:
                begun, used, flushing_s = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF), 0.0
            row = self._one(number)
            if number >= warm:
                rows[number - warm] = row
        elapsed_s, now = time.perf_counter() - begun - flushing_s, resource.getrusage(resource.RUSAGE_SELF)
        user_s, system_s = now.ru_utime - used.ru_utime, now.ru_stime - used.ru_stime
        return Timing(rows[:, 0], rows[:, 1], rows[:, 2], elapsed_s, user_s, system_s)

    def _one(self, number: int) -> tuple[int, int, int]:
        to, clock = (self._target.address, self._target.port), time.perf_counter_ns
        here = self._open(number)
        if self._cold is not None:
            self._cold[::64].sum()
        begun = clock()
        here.connect(to)
        connected = clock()
        there, _ = self._listener.accept()
        pause = clock()
        address = there.getsockname()[0]
        pause = clock() - pause
        _reset(here)
        _reset(there)
        return (
            connected - begun,
            clock() - begun - pause,
            int.from_bytes(socket.inet_aton(address), "big"),
        )

    def requests(self, count: int) -> Timing:
        """Pass messages there and back on one connection."""
        warm, cycles = _warm(self._target), np.zeros(count, np.uint32)
        message, clock = bytes(MESSAGE_BYTES), time.perf_counter_ns
        here = self._open(0)
        here.connect((self._target.address, self._target.port))
        there, _ = self._listener.accept()
        for end in (here, there):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = clock()
        for number in range(-warm, count):
            begun = clock()
            if number == 0:
                first = begun
            here.sendall(message)
            there.recv(MESSAGE_BYTES, socket.MSG_WAITALL)
            there.sendall(message)
            here.recv(MESSAGE_BYTES, socket.MSG_WAITALL)
            if number >= 0:
                cycles[number] = clock() - begun
        elapsed_s = (clock() - first) * 1e-9
        _reset(here)
        _reset(there)
        none = np.zeros(count, np.uint32)
        return Timing(none, cycles, none, elapsed_s, 0.0, 0.0)

    def _open(self, number: int) -> socket.socket:
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        source = socket.inet_ntoa((self._base + number % self._target.sources).to_bytes(4, "big"))
        opened.bind((source, 1024 + (self._first_port + number) % PORTS))
        return opened


def _reset(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    opened.close()


def _warm(target: Target) -> int:
    """Connections before those that count; with affinity, every known client must have come once."""
    return max(WARM, target.sources if target.sticky else 0)


def _failed(target: Target, reason: str) -> InputError:
    return InputError(f"cannot be timed: {reason}", field=f"{target.kind} {target.address}:{target.port}")

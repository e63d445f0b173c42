"""The timer in Python alone, for machines without a C compiler: the loop of ``probe.c``, line by line."""

from __future__ import annotations

import contextlib
import gc
import resource
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

import numpy as np

from nodeportsim.calibrate.measuring import netlink
from nodeportsim.calibrate.measuring.timing import (
    BATCH,
    LISTEN_PORT,
    MESSAGE_BYTES,
    PORTS,
    Timing,
    failed,
    warm,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from nodeportsim.calibrate.measuring.scene import Target
    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.calibrate.measuring.timing import Kind

RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST and leaves nothing behind.


class PythonTimer:
    """The same loop in Python."""

    name = "python"

    def __init__(self) -> None:
        self._port = 0

    def time(self, bed: Bed, target: Target, kind: Kind, count: int, *, cold_mib: int = 0) -> Timing:
        """See `Timer`."""
        loop = _Loop(bed, target, self._port, cold_mib)
        self._port = (self._port + count + warm(target)) % PORTS
        gc.disable()
        try:
            with loop:
                return loop.requests(count) if kind == "requests" else loop.connections(count)
        except OSError as error:
            raise failed(target, error.strerror or str(error)) from None
        finally:
            gc.enable()


class _Loop:
    """One run: a listener among the pods, a netlink socket on the node, and sockets opened at the client."""

    def __init__(self, bed: Bed, target: Target, first_port: int, cold_mib: int) -> None:
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
        first, rows, flushing_s = warm(self._target), np.zeros((count, 3), np.uint32), 0.0
        begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        for number in range(first + count):
            if number % BATCH == 0:
                pause = time.perf_counter()
                netlink.flush_conntrack(self._netfilter)
                flushing_s += time.perf_counter() - pause
            if number == first:
                begun, used, flushing_s = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF), 0.0
            row = self._one(number)
            if number >= first:
                rows[number - first] = row
        elapsed_s, now = time.perf_counter() - begun - flushing_s, resource.getrusage(resource.RUSAGE_SELF)
        user_s, system_s = now.ru_utime - used.ru_utime, now.ru_stime - used.ru_stime
        return Timing(rows[:, 0], rows[:, 1], rows[:, 2], elapsed_s, user_s, system_s)

    def _one(self, number: int) -> tuple[int, int, int]:
        to, clock = (self._target.address, self._target.port), time.perf_counter_ns
        with self._open(number) as here:
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
            ended = clock() - pause
        return connected - begun, ended - begun, int.from_bytes(socket.inet_aton(address), "big")

    def requests(self, count: int) -> Timing:
        """Pass messages there and back on one connection."""
        with self._open(0) as here:
            here.connect((self._target.address, self._target.port))
            there, _ = self._listener.accept()
            with there:
                cycles, elapsed_s = _messages(here, there, warm(self._target), count)
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


def _messages(
    here: socket.socket, there: socket.socket, first: int, count: int
) -> tuple[npt.NDArray[np.uint32], float]:
    """Time round trips (ns) after some that do not count, and all together (s)."""
    cycles, message, clock = np.zeros(count, np.uint32), bytes(MESSAGE_BYTES), time.perf_counter_ns
    for end in (here, there):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    since = clock()
    for number in range(-first, count):
        begun = clock()
        if number == 0:
            since = begun
        here.sendall(message)
        there.recv(MESSAGE_BYTES, socket.MSG_WAITALL)
        there.sendall(message)
        here.recv(MESSAGE_BYTES, socket.MSG_WAITALL)
        if number >= 0:
            cycles[number] = clock() - begun
    return cycles, (clock() - since) * 1e-9


def _reset(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    opened.close()

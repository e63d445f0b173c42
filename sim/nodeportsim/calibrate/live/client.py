"""A real client: asks at given instants, whatever became of earlier requests, and writes down what happened.

A script of its own, given to a Python inside a namespace. It says ``ready``, reads a plan as JSON and writes
a row per request, in the plan's order::

    {"start_s": 12.5, "connect_s": 3.0, "request_s": 10.0, "ports": 60000,
     "requests": [[wanted after start (s), address, port, work (s)], ...]}
    [cause or null, begun, connected, ended, pod's address, work begun, work ended]    (s after the start)

Every request has a connection of its own, from one of so many source ports in turn: one that returns soon may
meet what connection tracking remembers of it. The causes are those of the simulator.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import selectors
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any

FIRST_PORT = 2048
NO_TIME = struct.pack("ii", 1, 0)
NOTHING: list[Any] = [None] * 7
CAUSES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "no_route",
    errno.ETIMEDOUT: "connect_timeout",
    errno.EADDRNOTAVAIL: "no_ports",
}


async def main(plan: dict[str, Any]) -> list[list[Any]]:
    """Do what the plan says; give the rows."""
    loop, requests = asyncio.get_running_loop(), plan["requests"]
    asking: list[asyncio.Task[list[Any]]] = []
    for number, request in enumerate(requests):  # They are in order of time.
        await asyncio.sleep(plan["start_s"] + request[0] - time.monotonic())
        asking.append(loop.create_task(ask(loop, plan, FIRST_PORT + number % plan["ports"], *request[1:])))
    return list(await asyncio.gather(*asking))


async def ask(
    loop: asyncio.AbstractEventLoop,
    plan: dict[str, Any],
    own_port: int,
    address: str,
    port: int,
    work_s: float,
) -> list[Any]:
    """Connect, ask, read the answer, and note the instants."""
    start_s, row = plan["start_s"], NOTHING.copy()
    with socket.socket() as opened:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(("", own_port))
        row[1] = time.monotonic() - start_s
        try:
            async with asyncio.timeout(plan["connect_s"]):
                await loop.sock_connect(opened, (address, port))
            row[2] = time.monotonic() - start_s
            async with asyncio.timeout(plan["request_s"]):
                await loop.sock_sendall(opened, f"GET /{work_s:.9f} HTTP/1.1\r\nHost: web\r\n\r\n".encode())
                row[4:] = read(await loop.sock_recv(opened, 4096), start_s)
        except TimeoutError as error:  # Ours has no number; the kernel's is ETIMEDOUT.
            row[0] = CAUSES.get(error.errno or 0, "connect_timeout" if row[2] is None else "request_timeout")
        except OSError as error:
            row[0] = CAUSES[error.errno or 0]
        if row[0] is not None:  # Else its port is taken while the kernel says goodbye to nobody.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
    row[3] = time.monotonic() - start_s
    return row


def read(answer: bytes, start_s: float) -> list[Any]:
    """Read address, begin and end of the work from an answer, which comes in one piece."""
    if not answer:
        raise ConnectionResetError(errno.ECONNRESET, "no answer")
    address, begun_s, ended_s = answer.rpartition(b"\r\n\r\n")[2].split()
    return [address.decode(), float(begun_s) - start_s, float(ended_s) - start_s]


if __name__ == "__main__":
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    gc.disable()
    print("ready", flush=True)  # noqa: T201
    # Unlike epoll, select() does not round waits up to a millisecond. It takes 1024 sockets.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        json.dump(runner.run(main(json.load(sys.stdin))), sys.stdout)

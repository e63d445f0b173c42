"""Real pods: small HTTP servers that work for as long as a request says, one process per node.

A script of its own, given to a Python inside a namespace: ``pods.py PORT WORKERS BACKLOG ADDRESS ...``.
It says ``ready`` and serves until it is ended. Work is sleeping, so that pods do not fight for the CPUs of
a small machine. `TCP_DEFER_ACCEPT` lets a worker see a connection when its request is there, as a server
that waits for many sockets does, not one that lets a slow client block it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress

LONGEST_WAIT_S = 60


def main(port: int, workers: int, backlog: int, addresses: list[str]) -> None:
    """Listen on every address with workers of its own."""
    with suppress(OSError):  # Before ordinary programs, where we may: a busy machine should not be measured.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    for address in addresses:
        listener = socket.create_server((address, port), backlog=backlog)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, LONGEST_WAIT_S)
        for _ in range(workers):
            threading.Thread(target=work, args=(listener, address), daemon=True).start()
    print("ready", flush=True)  # noqa: T201  (who started us waits for it)
    threading.Event().wait()


def work(listener: socket.socket, address: str) -> None:
    """Take the connection that has waited longest, answer its one request, take the next."""
    while True:
        taken, _ = listener.accept()
        with taken, suppress(OSError, ValueError):  # The client may have gone.
            answer(taken, address)


def answer(taken: socket.socket, address: str) -> None:
    """Work for the time that ``GET /SECONDS`` asks for; say where, from when to when."""
    begun_s = time.monotonic()
    text = taken.recv(4096)
    time.sleep(float(text.split()[1][1:]))
    body = f"{address} {begun_s:.6f} {time.monotonic():.6f}"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    taken.sendall((head + body).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])

"""What Python's library lacks of Linux: entering a network namespace, and two netfilter requests.

The two requests, emptying the connection table and making accounting objects, are single netlink messages
(linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h, nfnetlink_acct.h); tools that send them (``conntrack``,
``nfacct``) are rarely installed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CLONE_NEWNET = 0x40000000
NETLINK_NETFILTER = 12
REQUEST, ACKNOWLEDGE, CREATE = 0x1, 0x4, 0x400  # NLM_F_*
SUBSYSTEM_CONNTRACK, CONNTRACK_DELETE = 1, 2
SUBSYSTEM_ACCOUNTING, ACCOUNTING_NEW = 7, 0
ACCOUNTING_NAME, ACCOUNTING_PACKETS, ACCOUNTING_BYTES = 1, 2, 3
ERROR_AT = struct.calcsize("=IHHII")  # The answer's error number stands behind its header.


def setns(namespace: int) -> None:
    """Move the calling thread into a network namespace (setns(2); ``os.setns`` is of Python 3.12)."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def inside(path: Path) -> Iterator[None]:
    """Be in a network namespace for a while; sockets opened there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(home)
    finally:
        os.close(home)


def netfilter_socket() -> socket.socket:
    """Open a netlink socket to netfilter in the namespace one is in."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    opened.bind((0, 0))
    return opened


def flush_conntrack(netfilter: socket.socket) -> None:
    """Forget every IPv4 connection of the socket's namespace."""
    _send(netfilter, SUBSYSTEM_CONNTRACK, CONNTRACK_DELETE, REQUEST | ACKNOWLEDGE, b"", socket.AF_INET)


def create_accounting(netfilter: socket.socket, names: Iterable[str]) -> None:
    """Make accounting objects (nfacct) in the socket's namespace; those that exist already stay."""
    for name in names:
        body = (
            _attribute(ACCOUNTING_NAME, name.encode() + b"\0")
            + _attribute(ACCOUNTING_PACKETS, bytes(8))
            + _attribute(ACCOUNTING_BYTES, bytes(8))
        )
        flags = REQUEST | ACKNOWLEDGE | CREATE
        try:
            _send(netfilter, SUBSYSTEM_ACCOUNTING, ACCOUNTING_NEW, flags, body, socket.AF_UNSPEC)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.EBUSY}:
                raise


def _attribute(kind: int, value: bytes) -> bytes:
    """Build one netlink attribute, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _send(netfilter: socket.socket, subsystem: int, kind: int, flags: int, body: bytes, family: int) -> None:
    """Send one message and wait for its acknowledgement."""
    payload = struct.pack("=BBH", family, 0, 0) + body
    netfilter.send(struct.pack("=IHHII", 16 + len(payload), subsystem << 8 | kind, flags, 1, 0) + payload)
    (status,) = struct.unpack_from("=i", netfilter.recv(4096), ERROR_AT)
    if status:
        raise OSError(-status, os.strerror(-status))

"""The machine measured on: whether it lets us, what it is, and its commands."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}  # linux/capability.h
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandError(Exception):
    """A system command failed; the text is its own last words."""


def missing() -> str | None:
    """Say what this machine or user lacks for network namespaces of our own; None when nothing."""
    if platform.system() != "Linux":
        return f"Linux; this is {platform.system()}"
    status = Path("/proc/self/status").read_text()
    held = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    lacking = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if lacking:
        return f"root, or the capabilities {', '.join(lacking)}"
    if shutil.which("ip") is None:
        return "the command ip (package iproute2)"
    return None


def require() -> None:
    """Refuse to begin where namespaces cannot be made."""
    lacking = missing()
    if lacking:
        hint = "Measurements are taken on Linux as root; everything else runs anywhere, as anybody."
        raise InputError(f"needs {lacking}", field="measure", hint=hint)


def run(
    *command: str,
    stdin: IO[str] | None = None,
    timeout_s: float | None = None,
    variables: dict[str, str] | None = None,
) -> str:
    """Run a command and return what it prints; `CommandError` when it fails.

    It gets a session of its own: Ctrl-C is for us, and we stop the command.
    """
    try:
        ended = subprocess.run(
            command,
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
            env=os.environ | (variables or {}),
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"not done within {timeout_s:g} s") from None
    except FileNotFoundError:
        raise CommandError(f"the command {command[0]} is missing") from None
    if ended.returncode:
        words = [line for line in (ended.stderr + ended.stdout).splitlines() if line.strip()]
        raise CommandError(words[-1].strip() if words else f"exit code {ended.returncode}")
    return ended.stdout


@contextmanager
def stops_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does: raise, so that everything is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {stop: signal.signal(stop, signal.default_int_handler) for stop in STOPS}
    try:
        yield
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back signals that would stop us while we clean up; they come through afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment(label: str) -> dict[str, Any]:
    """Describe the machine in the columns that every row begins with."""
    cpu = _cpu_info()
    return {
        "env_label": label,
        "kernel": platform.release(),
        "cpu": cpu.get("model name", platform.machine()),
        "virtualised": int("hypervisor" in cpu.get("flags", "").split()),
        "vcpus": os.cpu_count(),
        "spectre_v2_mitigation": _spectre(),
    }


def is_linear() -> bool:
    """Whether this kernel sends its first SYNs a second apart (from 6.5 on), or doubles from the start."""
    return Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts").exists()


def l2_bytes() -> int | None:
    """Size of a core's second cache, None where the kernel does not tell."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if _line(index / "level") == "2":
            return int(_line(index / "size").removesuffix("K")) * 1024
    return None


def _cpu_info() -> dict[str, str]:
    """Read the first processor's lines of /proc/cpuinfo."""
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _spectre() -> str:
    said = _line(Path("/sys/devices/system/cpu/vulnerabilities/spectre_v2")) or "unknown"
    return said.partition(";")[0].removeprefix("Mitigation: ")


def _line(path: Path) -> str:
    """Read a file of the kernel, empty where it has none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""

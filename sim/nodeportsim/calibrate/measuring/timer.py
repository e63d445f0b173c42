"""Time connections and requests with a small C program, compiled on the spot, or in Python alone.

Both do the same and see the same connections; the C program (``probe.c``) is the more exact, Python adds
about half a microsecond to each, which differences cancel. What is timed is CPU time of the whole path,
client, node and pod together: see ``probe.c``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nodeportsim.calibrate.measuring.system import CommandError
from nodeportsim.calibrate.measuring.timer_python import PythonTimer
from nodeportsim.calibrate.measuring.timing import BATCH, LISTEN_PORT, PORTS, Timing, failed, warm
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodeportsim.calibrate.measuring.scene import Target
    from nodeportsim.calibrate.measuring.testbed import Bed
    from nodeportsim.calibrate.measuring.timing import Kind, Timer

PROGRAM = Path(__file__).with_name("probe.c")
COMPILERS = ("cc", "gcc", "clang")
LONGEST_S = 300.0


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

    def time(self, bed: Bed, target: Target, kind: Kind, count: int, *, cold_mib: int = 0) -> Timing:
        """See `Timer`."""
        words = [
            *(kind, bed.path("client"), bed.path(target.pods), bed.path("node")),
            *(target.address, target.port, target.source, target.sources, self._port, count),
            *(warm(target), BATCH, cold_mib, LISTEN_PORT),
        ]
        self._port = (self._port + count + warm(target)) % PORTS
        ended = subprocess.run(
            [_file(self._program), *map(str, words)],
            pass_fds=[self._program],
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
            start_new_session=True,
        )
        if ended.returncode:
            raise failed(target, ended.stderr.decode(errors="replace").strip())
        elapsed_s, user_s, system_s = struct.unpack_from("=ddd", ended.stdout)
        rows = np.frombuffer(ended.stdout, np.uint32, offset=24).reshape(-1, 3)
        return Timing(rows[:, 0], rows[:, 1], rows[:, 2], elapsed_s, user_s, system_s)

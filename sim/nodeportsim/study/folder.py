"""The folder of a sweep: what was asked, and a file for each point that is finished.

``sweep.json`` holds the question, ``points/000012.json`` the record of point 12. A file appears whole or
not at all: it is written beside its place, forced to the disk and renamed (rename(2) is atomic within a
file system). Its first line is the SHA-256 of the rest, which names the sweep it belongs to; a file that
was cut off, changed, or copied from another sweep is found and its point measured again. So a process may
be killed at any instant, and who asks again goes on where it was.

One process works in a folder at a time: it holds an advisory lock (flock(2)), which the kernel releases
whatever way the process ends. On file systems without such locks, as some network ones, nobody is kept
out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.study.measure import DONE
from nodeportsim.study.store import staged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nodeportsim.study.measure import Record

MANIFEST, POINTS, LOCK = "sweep.json", "points", ".lock"
KEPT = "finished points are kept: run the same command again once it can be written"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The folder of one sweep.

    Parameters
    ----------
    path
        Where it is.
    manifest
        What ``sweep.json`` says.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def stamp(self) -> str:
        """Name of this sweep in its point files."""
        return hashlib.sha256(_json(self.manifest).encode()).hexdigest()

    def file(self, number: int) -> Path:
        """Where the record of a point stands."""
        return self.path / POINTS / f"{number:06}.json"

    def write(self, record: Record) -> None:
        """Keep the record of a point.

        Raises
        ------
        InputError
            The operating system refuses, as on a full disk.
        """
        body = _json(record | {"sweep": self.stamp})
        text = f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}\n"
        write_whole(self.file(record["point"]), text)

    def read(self, number: int) -> Record | None:
        """Read the record of a point; None where there is none.

        Raises
        ------
        ValueError
            There is a file, and it is not whole or not of this sweep.
        """
        try:
            text = self.file(number).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        digest, _, body = text.partition("\n")
        if hashlib.sha256(body.removesuffix("\n").encode()).hexdigest() != digest:
            raise ValueError("is not whole")
        record: Record = json.loads(body)
        if record.get("sweep") != self.stamp or record.get("point") != number:
            raise ValueError("belongs to another sweep")
        return record

    def records(self) -> Iterator[Record | None]:
        """Read all records in the order of points, one at a time; None where there is no usable one."""
        for number in range(len(self.manifest["points"])):
            try:
                yield self.read(number)
            except (OSError, ValueError):
                yield None

    def missing(self, notice: Callable[[str], None]) -> list[int]:
        """List the points that are to be measured; say which files could not be used."""
        wanted = []
        for number in range(len(self.manifest["points"])):
            try:
                record = self.read(number)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                notice(f"{POINTS}/{self.file(number).name} {reason}: the point is measured again")
                record = None
            if record is None or record["status"] != DONE:
                wanted.append(number)
        return wanted


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that its name stands for the whole of it, even after a power cut.

    Raises
    ------
    InputError
        The operating system refuses; what was there before stays.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        rule = f"cannot be written: {error.strerror or error}"
        raise InputError(rule, field=str(path), hint=KEPT) from error


def _sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def claimed(path: Path, manifest: dict[str, Any]) -> Iterator[Folder]:
    """Make or take up the folder of a sweep, and keep other processes out meanwhile.

    Raises
    ------
    InputError
        Another process is at work there, it is the folder of another sweep, or it cannot be written.
    """
    try:
        (path / POINTS).mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise InputError(rule, field=str(path), hint="give another --out") from error
    with lock:
        if not _lock(lock.fileno()):
            hint = "wait for it, or give another --out"
            raise InputError("is in use: another process sweeps there", field=str(path), hint=hint)
        _tidy(path)
        _assert_same(path, manifest)
        if not (path / MANIFEST).exists():
            write_whole(path / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False) + "\n")
        yield Folder(path=path, manifest=manifest)


def _lock(number: int) -> bool:
    """Try to lock a file; say whether nobody else holds it."""
    import fcntl  # Not on every platform.

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Say whether a process is at work in a folder."""
    if not (path / LOCK).exists():
        return False
    with (path / LOCK).open() as lock:
        return not _lock(lock.fileno())


def _tidy(path: Path) -> None:
    """Remove what a killed process had begun to write."""
    for left in [*path.glob(".*.part"), *(path / POINTS).glob(".*.part")]:
        left.unlink(missing_ok=True)
    for left in path.glob(".nodeportsim-*"):
        shutil.rmtree(left, ignore_errors=True)


def _assert_same(path: Path, manifest: dict[str, Any]) -> None:
    if not (path / MANIFEST).exists():
        if any(entry.name not in {POINTS, LOCK} for entry in path.iterdir()):
            hint = "give a new folder as --out"
            raise InputError("holds other files, and no sweep", field=str(path), hint=hint)
        return
    known = manifest_of(path)
    differ = [key for key in (known | manifest) if known.get(key) != manifest.get(key)]
    if differ:
        told = "; ".join(_difference(key, known.get(key), manifest.get(key)) for key in differ)
        hint = f"{told}. Give another --out, or the command that began it"
        raise InputError("is the folder of another sweep", field=str(path), hint=hint)


def _difference(key: str, there: Any, here: Any) -> str:
    """Tell one entry from another; long ones by their lengths alone."""
    if isinstance(there, list) and isinstance(here, list) and len(str(there)) > 200:  # noqa: PLR2004  (a line or two)
        return f"{key}: {len(there)} there, {len(here)} here" if len(there) != len(here) else f"{key} differ"
    return f"{key}: {json.dumps(there)} there, {json.dumps(here)} here"


def manifest_of(path: Path) -> dict[str, Any]:
    """Read what a folder was asked.

    Raises
    ------
    InputError
        It is not the folder of a sweep.
    """
    try:
        found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except OSError as error:
        rule = f"is not the folder of a sweep: {MANIFEST} cannot be read: {error.strerror or error}"
        raise InputError(rule, field=str(path)) from None
    except ValueError:
        found = None
    if (
        not isinstance(found, dict)
        or found.get("kind") != "Sweep"
        or not isinstance(found.get("points"), list)
    ):
        raise InputError(f"is not the folder of a sweep: {MANIFEST} is not one's", field=str(path))
    return found


def opened(path: Path) -> Folder:
    """Open the folder of a sweep to read it; nobody is kept out."""
    return Folder(path=path, manifest=manifest_of(path))


@contextmanager
def results_of(folder: Folder) -> Iterator[Path]:
    """Give a folder for result files, which then appear beside the points.

    Raises
    ------
    InputError
        The operating system refuses; finished points stay.
    """
    try:
        with staged(folder.path) as staging:
            yield staging
    except InputError as error:
        raise InputError(error.rule, field=error.field, got=error.got, hint=KEPT) from error

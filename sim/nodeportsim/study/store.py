"""Files that appear complete or not at all.

Everything a command writes is first written into a hidden folder beside its destination and then moved
there file by file with `os.replace`, which POSIX makes atomic within a file system (rename(2)). A full
disk, a read-only folder, Ctrl-C or a crash in between leaves the destination as it was: old files whole,
new files whole, never a part of one. Files of the destination that the command does not write stay.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def text_of(path: str | Path) -> str:
    """Read a file a user named.

    Raises
    ------
    InputError
        It cannot be read, or is no UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", field=str(path)) from None
    except ValueError:
        raise InputError("is not UTF-8 text", field=str(path)) from None


@contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Give a folder to write into; on leaving without an error its files move to `destination`.

    Raises
    ------
    InputError
        The operating system refuses to write there; nothing is left behind.
    """
    staging: Path | None = None
    made = _missing_parents(destination)
    try:
        if destination.exists() and not destination.is_dir():
            raise InputError("must be a folder, and a file stands there", field="--out", got=str(destination))
        destination.parent.mkdir(parents=True, exist_ok=True)
        # Inside an existing folder: it may be a mount, and a rename does not cross file systems.
        beside = destination if destination.exists() else destination.parent
        staging = Path(tempfile.mkdtemp(prefix=".nodeportsim-", dir=beside))
        yield staging
        _move(staging, destination)
        made = []
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise InputError(rule, field=str(destination), hint="Nothing was written.") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in made:
            # Only folders that are still empty go: somebody else may have used them meanwhile.
            _remove_if_empty(folder)


def _missing_parents(destination: Path) -> list[Path]:
    """Folders that staging has to make, the deepest first."""
    parents = destination.absolute().parents
    return [folder for folder in parents if not folder.exists()]


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _move(staging: Path, destination: Path) -> None:
    destination.mkdir(exist_ok=True)
    for source in sorted(staging.rglob("*")):
        target = destination / source.relative_to(staging)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        else:
            # The contents are on the disk before the name is: a power cut cannot leave an empty file.
            with source.open("rb") as stream:
                os.fsync(stream.fileno())
            source.replace(target)

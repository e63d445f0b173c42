"""What stands in a folder of results, and what makes it again: ``manifest.json``.

It names every file with its SHA-256 (FIPS 180-4), the versions that wrote it and the command that writes it
anew. It proves that nothing was truncated, changed or lost since; who wrote it is not its business: there is
no signature. Folders older than the manifest stay readable.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

NAME, SUMMARY = "manifest.json", "summary.json"
_MOST_BYTES = 64 * 2**20  # Of a file that is parsed: a summary is some ten kB.


def write_manifest(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest of a folder that is complete; `about` says what made it."""
    text = json.dumps(about | {"files": _hashes(folder)}, indent=2, ensure_ascii=True)
    (folder / NAME).write_text(f"{text}\n", encoding="utf-8")


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A folder of results as it was found.

    Parameters
    ----------
    folder
        Where it stands.
    manifest
        None in folders written before there was one.
    """

    folder: Path
    manifest: dict[str, Any] | None

    @property
    def is_run(self) -> bool:
        """Whether it is a run's; else an experiment's."""
        return (self.folder / SUMMARY).exists() or (self.manifest or {}).get("kind") == "run"

    def summary(self) -> dict[str, Any]:
        """Read the summary of a run; one that is damaged, or no run's, raises `InputError`."""
        summary = _json(self.folder, SUMMARY)
        if summary is None:
            raise InputError("holds no summary of a run", field=str(self.folder))
        if not isinstance(summary.get("provenance"), dict) or not isinstance(summary.get("requests"), dict):
            raise InputError("is not a summary of a run", field=str(self.folder / SUMMARY))
        return summary

    def changed(self) -> list[str]:
        """Compare the files with the manifest; list what is not as it was written."""
        if self.manifest is None:
            return []
        found = []
        for name, sha256 in sorted(self.manifest["files"].items()):
            path = self.folder / name
            if not path.is_file():
                found.append(f"{name} is missing")
            elif _sha256(path) != sha256:
                found.append(f"{name} is changed" if path.stat().st_size else f"{name} is empty")
        return found

    def text(self, name: str) -> str | None:
        """Read a file of the folder; None where there is none."""
        path = self.folder / name
        return path.read_bytes().decode("utf-8", "replace") if path.is_file() else None


def stored(folder: Path) -> Stored:
    """Read what a folder of results says of itself.

    Raises
    ------
    InputError
        It is no such folder, or its manifest is damaged.
    """
    if not folder.is_dir():
        raise InputError("is not a folder", field=str(folder))
    manifest = _json(folder, NAME)
    if manifest is None and not (folder / SUMMARY).exists():
        hint = "runs are listed by: nodeportsim runs; a sweep is verified by its own command, given again"
        raise InputError("holds no results", field=str(folder), hint=hint)
    files = {} if manifest is None else manifest.get("files")
    if not isinstance(files, dict) or not all(_is_inside(name) for name in files):
        raise InputError("is damaged: files must map names to hashes", field=str(folder / NAME))
    return Stored(folder=folder, manifest=manifest)


def csv_text(table: DataFrame) -> str:
    """Write a table as it stands in a folder of results."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def _is_inside(name: str) -> bool:
    """Whether a name stays in its folder."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _json(folder: Path, name: str) -> dict[str, Any] | None:
    path = folder / name
    if not path.exists():
        return None
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"is larger than {_MOST_BYTES // 2**20} MiB", field=str(path))
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot be read: {(error.strerror or str(error)).lower()}", field=str(path)
        ) from None
    except (ValueError, RecursionError):
        raise InputError("is damaged: it is not JSON", field=str(path), hint="Was it cut off?") from None
    if not isinstance(value, dict):
        raise InputError("is damaged: it must be a mapping", field=str(path))
    return value

"""The tables of a sweep in other formats than CSV: JSON, Markdown, Parquet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.study.folder import results_of
from nodeportsim.study.results import header, rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TextIO

    from nodeportsim.study.folder import Folder


def as_json_lines(folder: Folder, table: str, metrics: Sequence[str], stream: TextIO) -> None:
    """Write a list of objects, one a row and a line."""
    names, before = header(folder, table), "[\n"
    for row in rows(folder, table, metrics):
        stream.write(before + json.dumps(dict(zip(names, row, strict=True)), allow_nan=False))
        before = ",\n"
    stream.write("[]\n" if before == "[\n" else "\n]\n")


def as_markdown(folder: Folder, table: str, metrics: Sequence[str], stream: TextIO) -> None:
    """Write a table of Markdown."""
    names = header(folder, table)
    stream.write(_line(names) + _line(["---"] * len(names)))
    stream.writelines(_line(row) for row in rows(folder, table, metrics))


def _line(cells: Sequence[Any]) -> str:
    texts = (_text(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(texts)} |\n"


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def write_parquet(folder: Folder, table: str, metrics: Sequence[str]) -> Path:
    """Write a table as Parquet into the sweep's folder; give the file.

    Raises
    ------
    InputError
        pyarrow is not installed, or the operating system refuses.
    """
    import pandas as pd

    frame = pd.DataFrame(list(rows(folder, table, metrics)), columns=header(folder, table))
    for column in folder.manifest["columns"]:
        words = [isinstance(cell, str) for cell in frame[column]]
        if any(words) and not all(words):  # Words and numbers together have no type there.
            frame[column] = [None if cell is None else str(cell) for cell in frame[column]]
    with results_of(folder) as staging:
        try:
            frame.to_parquet(staging / f"{table}.parquet", index=False)
        except ImportError:
            hint = "pip install 'nodeportsim[parquet]'"
            raise InputError("needs the library pyarrow", field="-o parquet", hint=hint) from None
    return folder.path / f"{table}.parquet"

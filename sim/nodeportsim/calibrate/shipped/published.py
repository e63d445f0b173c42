"""What others have published, as rows; and profiles that rest on such rows.

``experiments/validation/published.csv`` holds one number a row, with its source. Its column ``use`` says what
for: ``cal`` rows may be fitted, ``val`` rows are only ever predicted, the others are quoted. A profile's
folder gets the ``cal`` rows it rests on as ``data/published.csv``; every number of it names its rows there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nodeportsim.calibrate.fitting.write import Numbers, profile_yaml, rounded
from nodeportsim.errors import InputError
from nodeportsim.scenario.profile import data_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

    from nodeportsim.scenario.prices import ModeKey, Parameter
    from nodeportsim.scenario.profile import Profile

FILE = "published.csv"
COLUMNS = (
    "source_id",
    "metric",
    "unit",
    "mode",
    "n_services",
    "n_endpoints",
    "keepalive",
    "percentile",
    "value",
    "note",
    "how_read",
    "use",
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A profile made of published rows.

    Parameters
    ----------
    head
        ``name``, ``description``, ``extends``, ``environment``.
    host, modes
        Parameters by name, as ``profile.yaml`` holds them.
    rows
        The rows it rests on.
    card
        Its model card, but for the list of what is not identified.
    points
        Fitted points, measured and predicted; perhaps none.
    """

    head: Numbers
    host: Numbers
    modes: dict[str, Numbers]
    rows: pd.DataFrame
    card: str
    points: pd.DataFrame | None = None


def collection() -> Path:
    """Return the file of all published rows that the package carries."""
    return data_folder("experiments") / "validation" / FILE


def card_of(name: str) -> str:
    """Read the words of a profile's card, ``models/<name>/card.txt``: a template for `str.format`."""
    return (data_folder("models") / name / "card.txt").read_text("utf-8")


def each(rows: pd.DataFrame) -> Iterator[Any]:
    """Go through rows, a column an attribute."""
    yield from rows.itertuples(index=False)


def read_rows(path: Path | None = None) -> pd.DataFrame:
    """Read published rows: text as written, ``value`` as a number.

    Raises
    ------
    InputError
        The file lacks a column, or a value is no number.
    """
    import pandas as pd

    path = path or collection()
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"must be a CSV table: {error}", field=str(path)) from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise InputError(f"has no column {missing[0]}", field=str(path), hint=", ".join(COLUMNS))
    numbers = pd.to_numeric(table["value"], errors="coerce")
    if numbers.isna().any():
        line = int(numbers.isna().to_numpy().argmax())
        raise InputError("must be a number", field=f"{path}:{line + 2} value", got=table["value"].iloc[line])
    return table.assign(value=numbers)


def pick(rows: pd.DataFrame, **keys: str) -> pd.DataFrame:
    """Take the rows whose columns hold these texts; a text ending in * is a beginning."""
    for column, text in keys.items():
        begins = text.endswith("*")
        held = rows[column].str.startswith(text[:-1]) if begins else rows[column] == text
        rows = rows[held]
    return rows


def source(**keys: str) -> str:
    """Name rows of the profile's own copy."""
    return " ".join([f"data/{FILE}", *(f"{column}={text}" for column, text in keys.items())])


def known(value: float, error: float | None, where: str, note: str = "") -> Numbers:
    """Make a parameter that rows decide."""
    return _number(value, error, where, note, identified=True)


def guessed(
    value: float, where: str, note: str, low: float | None = None, high: float | None = None
) -> Numbers:
    """Make a parameter that rows do not decide: an assumption, or a share of what they say."""
    bounds = {} if low is None or high is None else {"low": rounded(low), "high": rounded(high)}
    number = _number(value, None, where, note, identified=False)
    return {key: number[key] for key in ("value", "error")} | bounds | dict(list(number.items())[2:])


def _number(value: float, error: float | None, where: str, note: str, *, identified: bool) -> Numbers:
    told = {} if not note else {"note": note}
    rough = None if error is None else rounded(error, 2)
    return {"value": rounded(value), "error": rough, "identified": identified, "source": where} | told


def beyond(base: Profile, mode: ModeKey, name: str, reference: str) -> tuple[float, str]:
    """How much a mode's price exceeds the same mode's `reference`, or the host's, in another profile.

    Returns
    -------
    (float, str)
        The difference, and where both stand.
    """
    prices: Any = base.modes[mode]
    of: Any = prices if hasattr(prices, reference) else base.host
    mine: Parameter = getattr(prices, name)
    other: Parameter = getattr(of, reference)
    first = f"../{base.name}/fit.csv mode={mode} parameter={name}"
    place = f"mode={mode} " if of is prices else ""
    return mine.value - other.value, f"{first}; ../{base.name}/fit.csv {place}parameter={reference}"


def write_folder(folder: Path, made: Published) -> None:
    """Write the profile's whole folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "profile.yaml").write_text(profile_yaml(made.head, made.host, made.modes), "utf-8")
    (folder / "README.md").write_text(made.card + _unknown(made), "utf-8")
    made.rows[list(COLUMNS)].to_csv(folder / "data" / FILE, index=False, lineterminator="\n")
    if made.points is not None:
        made.points.to_csv(folder / "points.csv", index=False, lineterminator="\n", float_format="%.4g")


def _unknown(made: Published) -> str:
    """List what the rows do not tell, for the end of the card."""
    lines = ["\n## What the rows cannot tell\n"]
    for place, part in (("host", made.host), *made.modes.items()):
        lines += [
            f"- `{place}.{name}` = {number['value']:g}: {number['note']}\n"
            for name, number in part.items()
            if not number["identified"]
        ]
    taken = made.head["extends"]
    lines.append(f"- whatever `profile.yaml` does not name: taken over from `{taken}`, another machine\n")
    return "".join(lines)

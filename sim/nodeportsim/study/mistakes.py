"""What pydantic finds wrong in a file of ours that is no scenario, as one `InputError` with its place."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from nodeportsim.errors import InputError
from nodeportsim.scenario.documents import Source, locate

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_RULES = {"extra_forbidden": "is unknown", "missing": "is missing"}


def mistake(error: ValidationError, source: Source, number: int, *models: type[BaseModel]) -> InputError:
    """Tell the first finding.

    Parameters
    ----------
    number
        Which document of the source it is.
    models
        Whose fields a misspelt one may have meant.
    """
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    cause = first.get("ctx", {}).get("error")
    path, is_unknown = (*first["loc"], *getattr(cause, "path", ())), first["type"] == "extra_forbidden"
    return InputError(
        _RULES.get(first["type"], first["msg"].removeprefix("Value error, ").lower()),
        field=".".join(map(str, path)) or None,
        got=getattr(cause, "got", None),
        hint=_meant(str(path[-1]), models) if is_unknown else None,
        location=locate(source, number, path, key=is_unknown),
    )


def _meant(key: str, models: tuple[type[BaseModel], ...]) -> str | None:
    known = [str(field.alias) for model in models for field in model.model_fields.values()]
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else None

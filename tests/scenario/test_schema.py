"""The JSON Schema agrees with the reader, field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from nodeportsim.errors import InputError
from nodeportsim.scenario.documents import documents
from nodeportsim.scenario.fields import ITEM, KEY, fields
from nodeportsim.scenario.read import example_path, examples, open_source, read
from nodeportsim.scenario.schema import schema

if TYPE_CHECKING:
    from pathlib import Path

VALIDATOR = jsonschema.Draft202012Validator(schema())


def test_it_is_a_schema_with_a_name() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["$id"].endswith("scenario.v1.json")


@pytest.mark.parametrize("name", examples())
def test_every_example_is_valid(name: str) -> None:
    (document,) = documents(open_source(str(example_path(name))))
    VALIDATOR.validate(document)


def nested(pattern: tuple[str, ...], value: Any) -> Any:
    for part in reversed(pattern):
        value = [value] if part == ITEM else {"errors" if part == KEY else part: value}
    return value


@pytest.mark.parametrize("field", [f for f in fields() if f.pattern[-1] not in (ITEM, KEY)], ids=str)
def test_every_field_of_the_reader_is_known_and_a_misspelt_one_refused_by_both(
    field: Any, tmp_path: Path
) -> None:
    def unknown(pattern: tuple[str, ...]) -> bool:
        errors = list(VALIDATOR.iter_errors(nested(pattern, None)))
        for error in errors:
            errors += error.context or []
        return any(error.validator == "additionalProperties" for error in errors)

    misspelt = (*field.pattern[:-1], f"{field.pattern[-1]}x")
    assert not unknown(field.pattern)
    assert unknown(misspelt)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(nested(misspelt, None)))
    with pytest.raises(InputError, match="is unknown"):
        read(path)


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("5ms", True),
        ("1m30s", True),
        (" 1.5e3 s ", True),
        (0, True),
        (5, False),
        ("5", False),
        ("5 rps", False),
    ],
)
def test_schema_and_reader_agree_on_quantities(text: Any, ok: bool, tmp_path: Path) -> None:
    document = {"run": {"drain": text}}
    assert VALIDATOR.is_valid(document) == ok
    path = tmp_path / "x.json"
    path.write_text(json.dumps(document))
    if ok:
        read(path)
    else:
        with pytest.raises(InputError):
            read(path)

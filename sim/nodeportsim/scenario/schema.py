"""The JSON Schema of scenario files, for editors and other tools.

It says what `read` accepts field by field. Rules that tie fields together (a log-normal needs ``p99``,
an event names an existing node) are the reader's alone.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from nodeportsim.scenario.spec import Scenario

ID = "https://nodeportsim.github.io/schema/scenario.v1.json"  # A name, not an address to fetch.


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that only repeat a field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  pydantic's signature
        return False


def schema() -> dict[str, Any]:
    """Make the schema: YAML names, quantities with units, no unknown keys."""
    # The serialized form is the one of files: its defaults carry units.
    made = Scenario.model_json_schema(by_alias=True, mode="serialization", schema_generator=_Untitled)
    properties = made["properties"]
    group = properties["clients"]["items"]
    properties["clients"] |= {"anyOf": [group, {"type": "array", "items": group, "minItems": 1}]}
    for key in ("type", "items"):
        properties["clients"].pop(key)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": ID} | made

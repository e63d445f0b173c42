"""Reading parsed YAML or JSON field by field, with errors that name the document and the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nodeportsim.errors import InputError


@dataclass(frozen=True, slots=True)
class Field:
    """A value in a document. null and a missing value are the same, as in the Kubernetes API.

    Parameters
    ----------
    value
        What the parser made of it.
    document
        Which document it is in: ``Pod default/web-0``.
    path
        Where it stands there: ``status.podIP``.
    """

    value: object
    document: str = ""
    path: str = ""

    def __getitem__(self, key: str) -> Field:
        """Enter a mapping; a missing key leads to a field without a value."""
        if self.value is not None and not isinstance(self.value, Mapping):
            raise self.error("must be a mapping")
        value = self.value.get(key) if isinstance(self.value, Mapping) else None
        return Field(value, self.document, f"{self.path}.{key}" if self.path else key)

    def items(self) -> list[Field]:
        """Enter a list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list | tuple):
            raise self.error("must be a list")
        return [Field(item, self.document, f"{self.path}[{n}]") for n, item in enumerate(self.value)]

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Read a map of texts, such as labels, sorted by key."""
        if self.value is not None and not isinstance(self.value, Mapping):
            raise self.error("must be a mapping")
        keys = self.value if isinstance(self.value, Mapping) else {}
        return tuple(sorted((str(key), self[key].text()) for key in keys))

    def text(self, *, needed: bool = False) -> str:
        """Read a text; without a value it is empty, or an error where it is needed."""
        if needed and self.value in (None, ""):
            raise self.error("is missing")
        if self.value is not None and not isinstance(self.value, str):
            raise self.error("must be a text")
        return self.value or ""

    def flag(self, *, default: bool) -> bool:
        """Read true or false."""
        if self.value is not None and not isinstance(self.value, bool):
            raise self.error("must be true or false")
        return default if self.value is None else self.value

    def whole(self) -> int | None:
        """Read a whole number that is not negative."""
        if self.value is None:
            return None
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.error("must be a whole number, not negative")
        return self.value

    def error(self, rule: str) -> InputError:
        """Say which rule this field breaks."""
        return InputError(rule, field=f"{self.document} {self.path}".strip(), got=self.value)

"""Reading parsed YAML or JSON field by field, with errors that name the document and the field."""

from __future__ import annotations

from collections.abc import Mapping

from nodeportsim.errors import InputError


class Field:
    """A value in a document. null and a missing value are the same, as in the Kubernetes API.

    A dump of a large cluster is millions of them, so a field knows the one above it and its own step only;
    its path is put together where an error asks for it.

    Parameters
    ----------
    value
        What the parser made of it.
    document
        Which document it is in: ``Pod default/web-0``.
    above, step
        The field it was found in, and where there: ``podIP`` in ``status``, ``[0]`` in a list.
    """

    __slots__ = ("_above", "_document", "_step", "value")

    def __init__(self, value: object, document: str = "", above: Field | None = None, step: str = "") -> None:
        self.value = value
        self._document = document
        self._above = above
        self._step = step

    @property
    def document(self) -> str:
        """The document it is in."""
        return self._document if self._above is None else self._above.document

    @property
    def path(self) -> str:
        """Where it stands there: ``status.conditions[0].type``."""
        if self._above is None:
            return ""
        above = self._above.path
        return f"{above}.{self._step}" if above and not self._step.startswith("[") else above + self._step

    def __getitem__(self, key: str) -> Field:
        """Enter a mapping; a missing key leads to a field without a value."""
        value = self.value
        if type(value) is dict:  # What parsers make: a hundred times the others.
            return Field(value.get(key), "", self, key)
        if value is not None and not isinstance(value, Mapping):
            raise self.error("must be a mapping")
        return Field(value.get(key) if isinstance(value, Mapping) else None, "", self, key)

    def at(self, *keys: str) -> Field:
        """Enter mappings in mappings: ``at("state", "waiting")``."""
        value = self.value
        for key in keys:
            if type(value) is dict:
                value = value.get(key)
            elif value is not None:
                break
        else:
            return Field(value, "", self, ".".join(keys))
        field = self
        for key in keys:  # Something on the way is no mapping: step by step, the error names it.
            field = field[key]
        return field

    def items(self) -> list[Field]:
        """Enter a list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list | tuple):
            raise self.error("must be a list")
        return [Field(item, "", self, f"[{n}]") for n, item in enumerate(self.value)]

    def where(self, key: str, text: str) -> list[Field]:
        """Enter a list: its items whose field `key` is `text`."""
        if type(self.value) is not list:
            return [item for item in self.items() if item[key].text() == text]
        found = []
        for n, item in enumerate(self.value):
            if type(item) is not dict:
                raise Field(item, "", self, f"[{n}]").error("must be a mapping")
            if item.get(key) == text:
                found.append(Field(item, "", self, f"[{n}]"))
        return found

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Read a map of texts, such as labels, sorted by key."""
        if self.value is not None and not isinstance(self.value, Mapping):
            raise self.error("must be a mapping")
        given = self.value if isinstance(self.value, Mapping) else {}
        if not all(type(text) is str for text in given.values()):
            given = {key: self[key].text() for key in given}
        return tuple(sorted((str(key), text) for key, text in given.items()))

    def text(self, *, needed: bool = False) -> str:
        """Read a text; without a value it is empty, or an error where it is needed."""
        value = self.value
        if needed and value in (None, ""):
            raise self.error("is missing")
        if value is not None and not isinstance(value, str):
            raise self.error("must be a text")
        return value or ""

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

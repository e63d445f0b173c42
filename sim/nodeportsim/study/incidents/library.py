"""The incident library: files of two documents, what was published and the scenario that shows it.

::

    apiVersion: nodeportsim/v1
    kind: Incident
    title: One of three endpoints stands on a dead node
    source: openshift/hypershift#9279
    quantities:
      - {quantity: failing share until it is noticed, measure: phases.during.failed_ratio, band: [0.26, 0.37]}
    ---
    apiVersion: nodeportsim/v1
    kind: Scenario
    ...

``nodeportsim run`` takes the same file and runs its scenario. A band is what the source says, or the
source's figure and the tolerance that the quantity's note gives; it is never widened to fit.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nodeportsim.errors import InputError
from nodeportsim.scenario.declared import Spec
from nodeportsim.scenario.documents import Source, documents
from nodeportsim.scenario.quantities import FieldError, Many
from nodeportsim.study.mistakes import mistake
from nodeportsim.study.store import text_of

Value = str | int | float | bool | None
Edge = Annotated[float, Field(strict=False)]


class Quantity(Spec):
    """One figure of an incident, and where it should lie.

    Parameters
    ----------
    quantity
        What it is, in words, with its unit.
    measure
        How it is measured in a run: `nodeportsim.study.incidents.measures`.
    band
        Lowest and highest value that the source allows.
    settings
        What differs from the scenario of the file, as ``--set`` takes it.
    note
        How the band follows from the source.
    """

    quantity: str
    measure: str
    band: Annotated[tuple[Edge, Edge], Field(strict=False)]
    settings: dict[str, Value] = Field(default_factory=dict)
    note: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.band[0] > self.band[1]:
            raise FieldError("must rise", "band", got=list(self.band))
        return self

    @property
    def sets(self) -> tuple[str, ...]:
        """The settings as ``--set`` takes them."""
        import json

        texts = {p: v if isinstance(v, str) else json.dumps(v) for p, v in self.settings.items()}
        return tuple(f"{path}={text}" for path, text in texts.items())


class Incident(Spec):
    """What was published."""

    api_version: Literal["nodeportsim/v1"] = "nodeportsim/v1"
    kind: Literal["Incident"]
    title: str
    source: str
    story: str = Field("", description="what the source tells, and what the scenario makes of it")
    quantities: Many[Quantity] = Field(min_length=1)


def incidents() -> list[str]:
    """Name the incidents that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def incident_path(name: str) -> Path:
    """Return the file of an incident: one of ours by name, or a user's own by path.

    Raises
    ------
    InputError
        There is none.
    """
    if name in incidents():
        return _folder() / f"{name}.yaml"
    if Path(name).exists():
        return Path(name)
    near = difflib.get_close_matches(name, incidents(), n=1)
    hint = f"did you mean {near[0]}?" if near else "nodeportsim incidents --list names them"
    raise InputError("is neither an incident of ours nor a file", field=name, hint=hint)


def read_incident(file: Path) -> Incident:
    """Read what was published; the scenario beside it is read by `nodeportsim.scenario.read.read`.

    Raises
    ------
    InputError
        The file does not hold one incident; located.
    """
    source = Source(file=str(file), text=text_of(file))
    found = [(n, d) for n, d in enumerate(documents(source)) if _is_incident(d)]
    if len(found) != 1:
        hint = "a document with `kind: Incident`, and a scenario after it"
        raise InputError(f"must hold one incident, not {len(found)}", hint=hint, location=source.at(0, 0))
    number, document = found[0]
    try:
        return Incident.model_validate(document, context={"file": True}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise mistake(error, source, number, Incident, Quantity) from None


def _is_incident(document: Any) -> bool:
    return isinstance(document, dict) and document.get("kind") == "Incident"


def _folder() -> Path:
    from nodeportsim.scenario.profile import data_folder

    return data_folder("experiments") / "incidents"

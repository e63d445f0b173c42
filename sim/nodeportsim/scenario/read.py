"""A file to a `Scenario`, with errors that say where.

A file holds one scenario, or real Kubernetes documents (a manifest, the list that ``kubectl get -o json``
prints), or both; ``cluster.objects`` names a dump beside the scenario. Where values meet, the
scenario's win over the dump's, and ``--set`` wins over both.
"""

from __future__ import annotations

import copy
import difflib
import gc
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nodeportsim.errors import InputError, Location
from nodeportsim.scenario.complaint import complaint
from nodeportsim.scenario.documents import Path, Source, documents, locate
from nodeportsim.scenario.fields import LONGEST_WORD, apply_sets
from nodeportsim.scenario.gather import Origin, gather
from nodeportsim.scenario.objects import replace, scenario_fields
from nodeportsim.scenario.profile import data_folder
from nodeportsim.scenario.spec import Scenario
from nodeportsim.scenario.streamed import objects_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nodeportsim.kube.cluster import Cluster
    from nodeportsim.scenario.gather import Known

MOST_BYTES = 256 * 2**20
MOST_POLICY_BYTES = 2**20  # Its text travels in every copy of the scenario.
_OURS = "nodeportsim/"


@dataclass(frozen=True, kw_only=True)
class _File:
    """One file, its documents sorted: at most one scenario, any number of Kubernetes objects."""

    source: Source
    scenario: dict[str, Any] = field(default_factory=dict)
    number: int | None = None  # of the scenario among the documents
    objects: tuple[tuple[int, Any], ...] = ()  # (number, document)


def read(path: str | FilePath, *, sets: Sequence[str] = (), service: str | None = None) -> Scenario:
    """Read a scenario.

    Parameters
    ----------
    path
        The file: YAML or JSON.
    sets
        Changes, ``path=value`` each, applied in order.
    service
        ``NAMESPACE/NAME`` of the Service under study, where the file holds several.

    Raises
    ------
    InputError
        Anything in the file, in ``sets`` or in ``service`` that cannot be used.
    """
    file = _open(str(path))
    dump = _dump(file, service)
    raw = _over(dump, file.scenario)
    raw.setdefault("name", _name(FilePath(path).stem))
    done = apply_sets(raw, sets)
    if dump:
        replace(dump, raw)
    _take_policies(raw, FilePath(path).parent)
    return _validated(raw, file, done)


def _take_policies(raw: dict[str, Any], folder: FilePath) -> None:
    """Put the code of custom policies into the scenario, so that it asks the same wherever it goes."""
    groups = raw.get("clients")
    for group in groups if isinstance(groups, list) else ():
        entry = group.get("entry") if isinstance(group, dict) else None
        if isinstance(entry, dict) and "code" not in entry and ".py:" in str(entry.get("function")):
            file = str(entry["function"]).partition(":")[0]
            entry["code"] = open_source(str(folder / file), MOST_POLICY_BYTES).text


def is_experiment(path: str) -> bool:
    """Say whether a file holds an experiment; False, too, where it cannot be read as YAML."""
    try:
        found = list(documents(open_source(path)))
    except InputError:
        return False
    return any(isinstance(document, dict) and document.get("kind") == "Experiment" for document in found)


def write(scenario: Scenario) -> str:
    """Write a scenario as YAML that `read` turns into the same scenario."""
    import yaml

    head = {"apiVersion": scenario.api_version, "kind": scenario.kind, "name": scenario.name}
    fields = scenario.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.safe_dump(head | fields, sort_keys=False, allow_unicode=True, width=100)


def examples() -> list[str]:
    """Return the names of the examples the package carries."""
    return sorted(path.stem for path in _examples().glob("*.yaml"))


def example_path(name: str) -> FilePath:
    """Return the file of an example."""
    if name not in examples():
        near = difflib.get_close_matches(name, examples(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(examples())}"
        raise InputError("is not an example", field=name, hint=hint)
    return _examples() / f"{name}.yaml"


def _examples() -> FilePath:
    return data_folder("experiments") / "examples"


def _validated(raw: dict[str, Any], file: _File, done: dict[Path, str]) -> Scenario:
    try:
        return Scenario.model_validate(raw, context={"file": True}, by_alias=True, by_name=False)
    except ValidationError as error:

        def place(path: Path, *, key: bool) -> Location | None:
            return None if file.number is None else locate(file.source, file.number, path, key=key)

        raise complaint(error, written=file.scenario, sets=done, place=place) from None


def _open(path: str) -> _File:
    source = open_source(path)
    scenario, number, objects = {}, None, []
    for n, document in enumerate(documents(source)):
        if isinstance(document, dict) and document.get("kind") == "Incident":
            continue  # What was published stands beside the scenario that shows it.
        if not _is_scenario(source, n, document):
            objects.append((n, document))
        elif number is not None:
            raise InputError("holds a second scenario; one file asks one question", location=_at(source, n))
        else:
            scenario, number = document, n
    return _File(source=source, scenario=scenario, number=number, objects=tuple(objects))


def _is_scenario(source: Source, number: int, document: Any) -> bool:
    """Tell a scenario from a Kubernetes object by kind and apiVersion."""
    if not isinstance(document, dict):
        hint = "a scenario is a mapping with fields such as cluster, service, clients; see nodeportsim schema"
        raise InputError("must be a mapping", got=document, hint=hint, location=_at(source, number))
    version = document.get("apiVersion", _OURS)
    if not isinstance(version, str) or not version.startswith(_OURS):
        return False
    if document.get("kind") == "Experiment":
        hint = "run it with: nodeportsim experiment FILE"
        raise InputError("is an experiment, not a scenario", hint=hint, location=_at(source, number, "kind"))
    kind = str(document.get("kind", "Scenario"))[:LONGEST_WORD]
    return "apiVersion" in document or bool(difflib.get_close_matches(kind, ["Scenario"]))


def _at(source: Source, number: int, *path: str) -> Location | None:
    return locate(source, number, path)


def open_source(path: str, most_bytes: int = MOST_BYTES) -> Source:
    """Read a file a user named.

    Raises
    ------
    InputError
        It cannot be read, is larger than `most_bytes`, or is no UTF-8 text (a byte order mark is left out).
    """
    start = Location(file=path, line=1, column=1)
    try:
        with FilePath(path).open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read: {reason.lower()}", field=path) from None
    if len(data) > most_bytes:
        hint = (
            "nodeportsim import makes a small scenario of a dump of any size"
            if most_bytes == MOST_BYTES
            else None
        )
        raise InputError(f"is larger than {most_bytes // 2**20} MiB", hint=hint, location=start)
    if b"\0" in data:
        raise InputError("is binary or UTF-16, not UTF-8 text", location=start)
    try:
        return Source(file=path, text=data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start)
        column = error.start - data.rfind(b"\n", 0, error.start)
        at = Location(file=path, line=line + 1, column=column)
        raise InputError("is not UTF-8 text", got=data[error.start : error.start + 1], location=at) from None


def objects(path: str | FilePath) -> Cluster | None:
    """Read the Kubernetes objects in a file, or in the one it names; None where there are none."""
    origins = _origins(_open(str(path)))
    return gather(origins).cluster if origins else None


def gather_files(paths: Sequence[str], service: str | None = None) -> Known:
    """Read Kubernetes objects from files of any size; ``-`` is standard input (`gather`).

    Only these files are read: no cluster is asked, and no credentials are looked for.

    Raises
    ------
    InputError
        A file cannot be read, or holds what cannot be used; located.
    """
    with _without_collector():
        return gather((origin for path in paths for origin in _streamed(path)), service)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Turn Python's cycle collector off: it walks all that is kept again and again, a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _streamed(path: str) -> Iterator[Origin]:
    if path == "-":
        yield from objects_of(sys.stdin.buffer, "standard input")
        return
    try:
        with FilePath(path).open("rb") as stream:
            yield from objects_of(stream, path)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read: {reason.lower()}", field=path) from None


def _origins(file: _File) -> list[Origin]:
    """Find the Kubernetes objects in the file, and in the one it names."""
    origins = [Origin(file.source, number, document) for number, document in file.objects]
    cluster = file.scenario.get("cluster")
    named = cluster.get("objects") if isinstance(cluster, dict) else None
    if isinstance(named, str):
        beside = _open(str(FilePath(file.source.file).parent / named))
        if beside.number is not None:
            raise InputError("must hold Kubernetes objects only", location=_at(beside.source, beside.number))
        origins += [Origin(beside.source, number, document) for number, document in beside.objects]
    return origins


def _dump(file: _File, service: str | None) -> dict[str, Any]:
    """Make scenario fields of the Kubernetes objects in the file, or in the one it names."""
    origins = _origins(file)
    if origins:
        return scenario_fields(gather(origins), service)
    if service is not None:
        raise InputError(
            "names a Service, but the file holds no Kubernetes objects", field="--service", got=service
        )
    return {}


def _over(dump: dict[str, Any], scenario: dict[str, Any]) -> dict[str, Any]:
    """Lay a scenario over what a dump says, as a fresh document that may be changed."""
    raw: dict[str, Any] = _merge(copy.deepcopy(dump), copy.deepcopy(scenario))
    if isinstance(raw.get("clients"), dict):
        raw["clients"] = [raw["clients"]]  # A single group may stand without a list.
    if isinstance(raw.get("cluster"), dict) and isinstance(raw["cluster"].get("objects"), str):
        del raw["cluster"]["objects"]
    return raw


def _merge(base: Any, given: Any) -> Any:
    """Merge mappings; a mapping under a list counts for each of its items; else what is given wins."""
    if isinstance(base, dict) and isinstance(given, dict):
        return base | {key: _merge(base.get(key), value) for key, value in given.items()}
    if isinstance(base, dict) and isinstance(given, list):
        return [_merge(copy.deepcopy(base), item) for item in given]
    return given


def _name(stem: str) -> str:
    """Make a scenario's name of a file's: five-nodes.json is five-nodes."""
    allowed = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in stem)
    return allowed.strip("._-")[:253].rstrip("._-") or "scenario"

"""Documents to what is known of a cluster, one at a time, each error with its place.

A document is dropped as soon as it is read: a dump of a large cluster does not fit into memory as a whole.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from nodeportsim.errors import InputError, Location, RefusedError
from nodeportsim.kube.cluster import Cluster, Reader
from nodeportsim.kube.document import Field
from nodeportsim.kube.ports import Registry
from nodeportsim.kube.status import StatusError
from nodeportsim.kubeproxy.config import CONFIG_KEY, CONFIG_MAP, KIND, ProxyConfig
from nodeportsim.scenario.documents import Path, Source, documents, locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEEPEST_LIST = 8
_NAMED = re.compile(r"(?:document \d+|\w+ \S+)(?: (?P<path>\S+))?")
_STEP = re.compile(r"[^.\[\]]+")
_OURS = "nodeportsim/"


class Origin(NamedTuple):
    """A document, and where it comes from."""

    source: Source
    number: int
    document: Any
    path: Path = ()

    def at(self, path: str) -> Location | None:
        """Find a field of the document, written as in ``spec.ports[0].port``."""
        steps = (int(step) if step.isdecimal() else step for step in _STEP.findall(path))
        return locate(self.source, self.number, (*self.path, *steps))

    def located(self, error: InputError) -> InputError:
        """Give an error that names a field of this document its place."""
        match = _NAMED.match(error.field or "")
        if match is None or error.location is not None:
            return error
        place = self.at(match["path"] or "")
        return InputError(error.rule, field=error.field, got=error.got, hint=error.hint, location=place)


class Known(NamedTuple):
    """What the documents say.

    Parameters
    ----------
    cluster
        The cluster.
    proxy
        The configuration of its kube-proxies, where it is among them.
    passed
        Pods that were not read: the Service under study does not select them.
    """

    cluster: Cluster
    proxy: ProxyConfig | None = None
    passed: int = 0


def gather(origins: Iterable[Origin], service: str | None = None) -> Known:
    """Read Kubernetes objects; lists are looked into.

    Parameters
    ----------
    origins
        The documents.
    service
        ``NAMESPACE/NAME`` of the Service under study: pods behind it in the text that it does not select are
        passed over, which in a large cluster are nearly all. None reads all pods.

    Raises
    ------
    RefusedError
        The API server would refuse a Service; located.
    InputError
        A document cannot be used; located.
    """
    gathering = _Gathering(service)
    for origin in origins:
        for item in _flat(origin):
            gathering.add(item)
    return gathering.known()


class _Gathering:
    """The documents read so far; kept of them are only Services that no API server has seen yet."""

    def __init__(self, service: str | None) -> None:
        namespace, _, name = (service or "").rpartition("/")
        self._service = [namespace or "default", name]
        self._selector: frozenset[tuple[str, str]] = frozenset()
        self._passed = 0
        self._reader = Reader()
        self._new: list[Origin] = []
        self._refused: InputError | None = None
        self._proxy: ProxyConfig | None = None
        self._count = 0

    def add(self, item: Origin) -> None:
        self._count += 1
        if self._selector and item.document.get("kind") == "Pod" and not self._selects(item.document):
            self._passed += 1
            return
        is_new = _is_new(item.document)
        if is_new:
            self._new.append(item)
        try:
            if not self._configures(item):
                self._reader.add(item.document, f"document {self._count}")
        except InputError as error:
            if not is_new:
                raise item.located(error) from None
            self._refused = self._refused or item.located(error)
        if item.document.get("kind") == "Service":
            self._look(item.document)

    def _look(self, service: Any) -> None:
        """Keep the selector of the Service under study."""
        metadata = _mapping(service.get("metadata"))
        if [metadata.get("namespace") or "default", metadata.get("name")] == self._service:
            selector = _mapping(_mapping(service.get("spec")).get("selector"))
            self._selector = frozenset((str(key), str(value)) for key, value in selector.items())

    def _selects(self, pod: Any) -> bool:
        metadata = _mapping(pod.get("metadata"))
        labels = _mapping(metadata.get("labels"))
        is_near = (metadata.get("namespace") or "default") == self._service[0]
        return is_near and all(labels.get(key) == value for key, value in self._selector)

    def known(self) -> Known:
        _create(self._new)  # The API server's own words come first.
        if self._refused:
            raise self._refused
        return Known(self._reader.cluster(), self._proxy, self._passed)

    def _configures(self, item: Origin) -> bool:
        """Take over kube-proxy's configuration, if the document is one or holds one."""
        found = _config(item.document)
        if found is None:
            return False
        if self._proxy:
            raise InputError("is given twice", field=f"{KIND} of {self._proxy.title}", location=item.at(""))
        self._proxy = found
        return True


def _config(document: Any) -> ProxyConfig | None:
    if document.get("kind") == KIND:
        return ProxyConfig.read(Field(document, f"{KIND} kube-proxy"))
    if document.get("kind") != "ConfigMap":
        return None
    metadata, data = _mapping(document.get("metadata")), _mapping(document.get("data"))
    text = data.get(CONFIG_KEY)
    if f"ConfigMap {metadata.get('namespace')}/{metadata.get('name')}" != CONFIG_MAP or text is None:
        return None
    if not isinstance(text, str):
        raise InputError("must be a text", field=f"{CONFIG_MAP} data.{CONFIG_KEY}", got=text)
    source = Source(file=f"{CONFIG_MAP} {CONFIG_KEY}", text=text)
    for number, inner in enumerate(documents(source)):
        if isinstance(inner, dict) and inner.get("kind") == KIND:
            try:
                return ProxyConfig.read(Field(inner, CONFIG_MAP))
            except InputError as error:
                raise Origin(source, number, inner).located(error) from None
    return None


def _is_new(document: Any) -> bool:
    """Whether it is a Service as a manifest has it: the API server gives what it stores a version."""
    is_service = document.get("kind") == "Service"
    return is_service and "resourceVersion" not in _mapping(document.get("metadata"))


def _flat(origin: Origin) -> Iterator[Origin]:
    """Look into a list; what is no usable list is left to the reader to complain about."""
    if not isinstance(origin.document, dict):
        raise InputError("must be a Kubernetes object", got=origin.document, location=origin.at(""))
    kind, items = origin.document.get("kind"), origin.document.get("items")
    if str(origin.document.get("apiVersion")).startswith(_OURS):
        hint = "an import makes a scenario of Kubernetes objects: leave this file out, or run it as it is"
        raise InputError("is a scenario already", hint=hint, location=origin.at("kind"))
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(items, list)):
        yield origin
        return
    if len(origin.path) >= 2 * DEEPEST_LIST:
        raise InputError(f"holds lists in lists, deeper than {DEEPEST_LIST}", location=origin.at(""))
    for n, item in enumerate(items):
        yield from _flat(origin._replace(document=item, path=(*origin.path, "items", n)))


def _create(new: Sequence[Origin]) -> None:
    """Create the Services that no API server has seen yet; those that ask for a port go first."""
    registry = Registry(rng=random.Random(0))  # noqa: S311  no secret; the ports drawn are not used
    for item in sorted(new, key=lambda item: "nodePort" not in str(item.document.get("spec"))):
        try:
            registry.create(item.document)
        except StatusError as error:
            raise RefusedError(error.message, location=item.at(error.path)) from None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

"""Refusals in the API server's own words.

How the real thing works: validation collects field errors, an aggregate drops repeated texts and puts
brackets around more than one, and the answer is a `Status` with an HTTP code
(k8s:staging/src/k8s.io/apimachinery/pkg/util/validation/field/errors.go and pkg/api/errors/errors.go).
A field error is a text here, for nothing but its text is ever used.
Left out: `Status.details`, warnings.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nodeportsim.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class StatusError(RefusedError):
    """The API server answers with a `Status` instead of the object.

    Parameters
    ----------
    message
        Its text, word for word.
    code
        HTTP status: 400 not decodable, 404 not found, 409 exists, 422 invalid, 500 internal error.
    path
        The field it is about, such as ``spec.ports[0].port``; empty where it is about none.
    """

    def __init__(self, message: str, *, code: int, path: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.path = path


def invalid_service(name: str, errors: Sequence[str]) -> StatusError:
    """Put field errors together: 422."""
    distinct = list(dict.fromkeys(errors))
    text = distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"
    path = distinct[0].partition(": ")[0]
    return StatusError(f"Service {quoted(name)} is invalid: {text}", code=422, path=path)


def bad_request(problem: str, *, path: str) -> StatusError:
    """Say that the object could not be decoded: 400."""
    text = f'Service in version "v1" cannot be handled as a Service: json: {problem}'
    return StatusError(text, code=400, path=path)


def internal_error(problem: str) -> StatusError:
    """Say that the server failed, which an exhausted range counts as: 500."""
    return StatusError(f"Internal error occurred: {problem}", code=500)


def required(path: str, detail: str = "") -> str:
    """Field error of a missing value."""
    return f"{path}: Required value" + (f": {detail}" if detail else "")


def invalid(path: str, value: object, detail: str) -> str:
    """Field error of a value that breaks a rule."""
    return f"{path}: Invalid value: {quoted(value)}: {detail}"


def duplicate(path: str, value: object) -> str:
    """Field error of a value that must be unique."""
    return f"{path}: Duplicate value: {quoted(value)}"


def forbidden(path: str, detail: str) -> str:
    """Field error of a field that may not be set here."""
    return f"{path}: Forbidden: {detail}"


def unsupported(path: str, value: str, supported: Iterable[str]) -> str:
    """Field error of a value outside an enumeration."""
    known = ", ".join(quoted(item) for item in supported)
    return f"{path}: Unsupported value: {quoted(value)}: supported values: {known}"


def quoted(value: object) -> str:
    """Write a value as the API server's messages do, which is JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

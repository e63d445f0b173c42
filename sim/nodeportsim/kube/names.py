"""Formats of names: each function lists what is wrong with a text, in the API server's words.

Sources: k8s:staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go and
pkg/api/validate/content; RFC 1123 section 2.1 (labels), RFC 6335 section 5.1 (port names).
"""

from __future__ import annotations

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_KEY})?"
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_KEY_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_LENGTH = 63
_SUBDOMAIN_LENGTH = 253
_PORT_NAME_LENGTH = 15


def dns_label(value: str) -> list[str]:
    """Check an RFC 1123 label: names of Services (since 1.36, KEP-5311), of namespaces, of ports."""
    errors = _too_long(value, _LABEL_LENGTH)
    if not re.fullmatch(_LABEL, value):
        dotted = re.fullmatch(_SUBDOMAIN, value)
        errors.append(
            "must not contain dots" if dotted else _regex(_LABEL_RULE, _LABEL, "my-name", "123-abc")
        )
    return errors


def dns_subdomain(value: str) -> list[str]:
    """Check an RFC 1123 subdomain: labels joined by dots."""
    errors = _too_long(value, _SUBDOMAIN_LENGTH)
    if not re.fullmatch(_SUBDOMAIN, value):
        errors.append(_regex(_SUBDOMAIN_RULE, _SUBDOMAIN, "example.com"))
    return errors


def label_key(value: str) -> list[str]:
    """Check a label key, also called a qualified name: ``[prefix/]name``."""
    rule = _regex(_KEY_RULE, _KEY, "MyName", "my.name", "123-abc")
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {rule} {optional}"]
    errors = []
    if slash:
        problems = dns_subdomain(prefix) if prefix else ["must be non-empty"]
        errors += [f"prefix part {problem}" for problem in problems]
    problems = _too_long(name, _LABEL_LENGTH) if name else ["must be non-empty"]
    errors += [f"name part {problem}" for problem in problems]
    if not re.fullmatch(_KEY, name):
        errors.append(f"name part {rule}")
    return errors


def label_value(value: str) -> list[str]:
    """Check a label's value."""
    errors = _too_long(value, _LABEL_LENGTH)
    if not re.fullmatch(_VALUE, value):
        errors.append(_regex(_VALUE_RULE, _VALUE, "MyValue", "my_value", "12345"))
    return errors


def port_name(value: str) -> list[str]:
    """Check an IANA port name, as a named `targetPort` is one (RFC 6335)."""
    rules = (
        (len(value) <= _PORT_NAME_LENGTH, f"must be no more than {_PORT_NAME_LENGTH} characters"),
        (
            re.fullmatch("[-a-z0-9]+", value),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (re.search("[a-z]", value), "must contain at least one letter (a-z)"),
        ("--" not in value, "must not contain consecutive hyphens"),
        (value.strip("-") == value, "must not begin or end with a hyphen"),
    )
    return [problem for holds, problem in rules if not holds]


def _too_long(value: str, limit_bytes: int) -> list[str]:
    size_bytes = len(value.encode(errors="surrogatepass"))
    return [f"must be no more than {limit_bytes} bytes"] if size_bytes > limit_bytes else []


def _regex(rule: str, pattern: str, *examples: str) -> str:
    # The two spaces before "or" are the server's own.
    given = "".join(
        f"'{example}', " if n == 0 else f" or '{example}', " for n, example in enumerate(examples)
    )
    return f"{rule} (e.g. {given}regex used for validation is '{pattern}')"

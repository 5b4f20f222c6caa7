"""The names that users may write, each with the reason why another spelling is refused.

Every type here is text with a pattern. The pattern goes into the CRD schema; the message a person sees is written by
hand, because "does not match ^[a-z0-9]..." helps nobody. Sources: RFC 1123 for names, the Kubernetes label syntax, and
``dev_valid_name`` of the Linux kernel for interfaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from isthmus.model.kinds.wrong import Wrong

__all__ = [
    "NAME",
    "AbsolutePath",
    "Installation",
    "Interface",
    "LabelKey",
    "LabelValue",
    "Name",
    "Namespace",
    "QualifiedName",
]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"

NAME = rf"^{_SUBDOMAIN}$"


def _schema(pattern: str, shortest: int, longest: int) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", "pattern": pattern, "maxLength": longest}
    if shortest:
        schema["minLength"] = shortest
    return WithJsonSchema(schema)


def _spelled(pattern: str, shortest: int, longest: int, what: str, rule: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not shortest <= len(value) <= longest:
            raise Wrong(f"{what} has {shortest} to {longest} characters, this has {len(value)}")
        # fullmatch, since "$" alone lets a newline at the end pass
        if not compiled.fullmatch(value):
            raise Wrong(f'"{value}" is not {what}', rule)
        return value

    return check


_NAME_RULE = "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit (RFC 1123)"
Name = Annotated[str, AfterValidator(_spelled(NAME, 1, 253, "a name", _NAME_RULE)), _schema(NAME, 1, 253)]

_NAMESPACE = rf"^{_LABEL}$"
Namespace = Annotated[
    str,
    AfterValidator(
        _spelled(_NAMESPACE, 1, 63, "a namespace name", "lower-case letters, digits and '-', no dots (RFC 1123)")
    ),
    _schema(_NAMESPACE, 1, 63),
]

_KEY = rf"^({_SUBDOMAIN}/)?{_WORD}$"
_KEY_RULE = "it looks like app or example.org/app"
LabelKey = Annotated[str, AfterValidator(_spelled(_KEY, 1, 317, "a label key", _KEY_RULE)), _schema(_KEY, 1, 317)]

_VALUE = rf"^({_WORD})?$"
_VALUE_RULE = "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
LabelValue = Annotated[
    str, AfterValidator(_spelled(_VALUE, 0, 63, "a label value", _VALUE_RULE)), _schema(_VALUE, 0, 63)
]

_QUALIFIED_RULE = "it looks like example.org/name, as spec.loadBalancerClass of a Service does"
QualifiedName = Annotated[
    str, AfterValidator(_spelled(_KEY, 1, 317, "a qualified name", _QUALIFIED_RULE)), _schema(_KEY, 1, 317)
]

_INSTALLATION = r"^[a-z0-9_]{1,24}$"
Installation = Annotated[
    str,
    AfterValidator(
        _spelled(
            _INSTALLATION, 1, 24, "an installation name", "it becomes part of an nft table's name: [a-z0-9_]{1,24}"
        )
    ),
    _schema(_INSTALLATION, 1, 24),
]

# The kernel also refuses "." and ".."; nothing that starts with a dot is an interface anybody has.
_INTERFACE = r"^[^/:\s.][^/:\s]{0,14}$"
Interface = Annotated[
    str,
    AfterValidator(_spelled(_INTERFACE, 1, 15, "an interface name", "at most 15 characters, no '/', ':' or spaces")),
    _schema(_INTERFACE, 1, 15),
]

_PATH = r"^/[^\x00]*$"
AbsolutePath = Annotated[
    str,
    AfterValidator(
        _spelled(
            _PATH, 1, 4096, "an absolute path", "write the whole path; a service has no useful current directory"
        )
    ),
    WithJsonSchema({"type": "string", "pattern": "^/", "maxLength": 4096}),
]

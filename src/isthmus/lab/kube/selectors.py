"""Label and field selectors: parse the query's text once, then ask it about objects.

Grammar and error texts follow k8s.io/apimachinery pkg/labels and pkg/fields. A selection sees only a record's labels and
the few fields its kind lets people select by; it never decodes an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from isthmus.lab.kube.status import bad_request


class Selectable(Protocol):
    """What a selection looks at."""

    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def fields(self) -> Mapping[str, str]: ...


Test = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Selection:
    """A parsed pair of selectors."""

    labels: tuple[Test, ...] = ()
    fields: tuple[Test, ...] = ()
    name: str = ""  # the one name it can match, when ``metadata.name=`` says so

    @property
    def everything(self) -> bool:
        """Return whether nothing is filtered."""
        return not self.labels and not self.fields

    def matches(self, record: Selectable) -> bool:
        """Return whether ``record`` is selected."""
        return all(test(record.labels) for test in self.labels) and all(test(record.fields) for test in self.fields)


EVERYTHING = Selection()

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^()]*)\)$")
_COMPARE = re.compile(rf"^({_KEY})\s*(==|=|!=|>|<)\s*([-A-Za-z0-9_.]*)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")


def _split(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _compare(key: str, operator: str, value: str) -> Test:
    if operator == "!=":
        return lambda have: have.get(key) != value
    if operator in (">", "<"):
        bound = _integer(value)
        if bound is None:
            raise bad_request(f"unable to parse requirement: values: Invalid value: {value!r}: must be an integer")
        sign = 1 if operator == ">" else -1

        def beyond(have: Mapping[str, str]) -> bool:
            number = _integer(have.get(key))
            return number is not None and (number - bound) * sign > 0

        return beyond
    return lambda have: have.get(key) == value


def parse_labels(text: str) -> tuple[Test, ...]:
    """Return the tests that ``text`` stands for; raise 400 when it cannot be read."""
    tests: list[Test] = []
    for part in _split(text) if text.strip() else []:
        if match := _SET.match(part):
            key, operator, listed = match.groups()
            values = frozenset(item.strip() for item in listed.split(","))
            if operator == "in":
                tests.append(lambda have, k=key, v=values: k in have and have[k] in v)  # type: ignore[misc]
            else:
                tests.append(lambda have, k=key, v=values: have.get(k) not in v)  # type: ignore[misc]
        elif match := _COMPARE.match(part):
            tests.append(_compare(*match.groups()))
        elif match := _EXISTS.match(part):
            negated, key = match.groups()
            tests.append(lambda have, k=key, n=bool(negated): (k in have) != n)  # type: ignore[misc]
        else:
            raise bad_request(f'unable to parse requirement: found "{part}", expected: a label selector requirement')
    return tuple(tests)


def parse_fields(text: str, known: tuple[str, ...]) -> tuple[tuple[Test, ...], str]:
    """Return the tests of a field selector and the one name it asks for, if any; raise 400."""
    tests: list[Test] = []
    name = ""
    for part in text.split(",") if text else []:
        match = re.match(r"^([^=!]+)(==|=|!=)(.*)$", part)
        if match is None:
            raise bad_request(f'invalid selector: "{text}"; can\'t understand "{part}"')
        key, operator, value = match.groups()
        if key not in ("metadata.name", "metadata.namespace", *known):
            raise bad_request(f"field label not supported: {key}")
        if key == "metadata.name" and operator != "!=":
            name = value
        if operator == "!=":
            tests.append(lambda have, k=key, v=value: have.get(k, "") != v)  # type: ignore[misc]
        else:
            tests.append(lambda have, k=key, v=value: have.get(k, "") == v)  # type: ignore[misc]
    return tuple(tests), name


def parse(labels: str, fields: str, known: tuple[str, ...] = ()) -> Selection:
    """Return the selection of a request's ``labelSelector`` and ``fieldSelector``."""
    if not labels and not fields:
        return EVERYTHING
    tests, name = parse_fields(fields, known)
    return Selection(parse_labels(labels), tests, name)

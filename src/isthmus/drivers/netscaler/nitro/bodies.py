"""An answer of the device, read: what it says of the whole request, of each item, and the rows it shows.

The status line says little: 200 may carry an error, 207 is part success, 209 a warning, 599 anything. What counts is
``errorcode`` in the body, and a status that nobody knows is a failure whatever the body says. Everything that is no such body
is an error that says so. Nothing here knows which request it was, but for the words that errors begin with.

The one confusing thing: devices repeat what they were sent, so whatever is quoted from an answer is scrubbed of our secrets.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError, meaning_of
from isthmus.drivers.netscaler.nitro.results import Result, Row

__all__ = ["LARGEST", "Answer", "Body", "item_code", "item_meaning", "outcomes", "read_body", "rows_of", "scrubbed"]

LARGEST = 64 << 20
"""Bytes of the largest body that is read; a thousand virtual servers with all their fields are about three million."""
_KNOWN = frozenset({200, 201, 207, 209})
_QUOTED = 300
PASSING = frozenset({Meaning.BUSY, Meaning.SECONDARY, Meaning.SESSION, Meaning.UNAVAILABLE, Meaning.UNREADABLE})
"""What says nothing about the object that was asked for."""
_REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came over the wire; ``warning`` and ``retry_after`` are headers, ``cookies`` the session that a login gives."""

    status: int
    body: bytes = field(repr=False)
    warning: str = ""
    retry_after: str = ""
    cookies: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was read: ``error`` if the request as a whole failed, ``items`` where each one's fate is told."""

    content: dict[str, Any] = field(repr=False)
    error: NitroError | None = None
    items: tuple[Any, ...] | None = None
    warning: str = ""


def scrubbed(text: str, secrets: Collection[str] = ()) -> str:
    """Return ``text`` in one printable line without any of ``secrets``, short enough for an error."""
    for secret in sorted((one for one in secrets if one), key=len, reverse=True):
        text = text.replace(secret, _REDACTED)
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * _QUOTED])
    return " ".join(line.split())[:_QUOTED]


def read_body(answer: Answer, place: str = "", secrets: Collection[str] = ()) -> Body:
    """Return what ``answer`` says; never raises, since what is said of a request as a whole is part of the result."""
    if not answer.body.strip():
        # Old releases answer a write, and a login by its old content type, with nothing but the status line (seen).
        if answer.status in (200, 201):
            return Body({})
        return Body({}, _no_body(answer, "no body", place))
    try:
        content = json.loads(answer.body.decode("utf-8", errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return Body({}, _no_body(answer, "an answer that is not JSON", place))
    if not isinstance(content, dict):
        return Body({}, _no_body(answer, f"JSON that is no object but {_named(content)}", place))
    try:
        code = _code(content, answer.status)
    except ValueError as error:
        return Body({}, _no_body(answer, str(error), place))
    message = scrubbed(_said(content, "message"), secrets)
    severity = scrubbed(_said(content, "severity"), secrets) or ("ERROR" if code else "NONE")
    warning = scrubbed(answer.warning, secrets)
    if severity == "WARNING" or (answer.status == 209 and code):
        warning, code = warning or f"{code} {message}".strip(), 0
    items = content.get("response") if answer.status == 207 or code == 1243 else None
    if answer.status not in _KNOWN and not code:
        return Body(content, _no_body(answer, f"status {answer.status}, which NITRO does not have", place))
    if isinstance(items, list):
        return Body(content, None, tuple(items), warning)
    if answer.status == 207 and not code:
        return Body({}, _no_body(answer, "part of a success without a word about its parts", place))
    if not code:
        return Body(content, None, None, warning)
    words = message or "no message"
    return Body(content, NitroError(words, code=code, severity=severity, http=answer.status, place=place))


def rows_of(body: Body, kind: str, http: int = 200, place: str = "") -> list[Row]:
    """Return the rows of ``kind`` in a successful body, none where the key is absent; raise NitroError for a wrong type."""
    name = next((name for name in body.content if name.lower() == kind.lower()), None)
    found = None if name is None else body.content[name]
    if found is None:
        return []
    rows = [found] if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise NitroError(
            f"{kind} is not a list of objects but {_named(found)}", http=http, meaning=Meaning.UNREADABLE, place=place
        )
    return rows


def outcomes(
    rows: Sequence[Row], body: Body, status: int, place: str = "", secrets: Collection[str] = ()
) -> list[Result]:
    """Return how each of ``rows`` ended, in their order.

    An error is one that the same request would meet again. What passes by itself (a save under way, a node that is not the
    primary) is unknown, as is an item that the answer does not tell of; so are all if there are more answers than items.
    """
    if body.error is not None:
        return [_refused(row, body.error) for row in rows]
    if body.items is None:
        return [Result(row, warning=body.warning) for row in rows]
    if len(body.items) > len(rows):
        return [Result(row, unknown=True, why=f"{place}: more answers than items") for row in rows]
    results = [
        _item(row, item, status, place, secrets)
        for row, item in zip(rows[: len(body.items)], body.items, strict=True)
    ]
    results += [Result(row, unknown=True, why=f"{place}: no answer for this item") for row in rows[len(results) :]]
    return results


def item_code(item: Any) -> int | None:
    """Return the error code of one item of a bulk answer; None for one that was carried out, or cannot be read."""
    try:
        return (_number(item.get("errorcode")) or None) if isinstance(item, dict) else None
    except ValueError:
        return None


def item_meaning(item: Any) -> Meaning | None:
    """Return what one item of a bulk answer means; None for one that was carried out, or cannot be read."""
    code = item_code(item)
    return None if code is None else meaning_of(code, 0)


def _item(row: Row, item: Any, status: int, place: str, secrets: Collection[str]) -> Result:
    try:
        if not isinstance(item, dict):
            raise ValueError(f"an item that is {_named(item)}")
        code = _number(item.get("errorcode"))
    except ValueError as error:
        return Result(row, unknown=True, why=f"{place}: {error}")
    message = scrubbed(_said(item, "message"), secrets)
    severity = scrubbed(_said(item, "severity"), secrets)
    if not code:
        return Result(row)
    if severity == "WARNING":
        return Result(row, warning=f"{code} {message}".strip())
    words = message or "no message"
    return _refused(row, NitroError(words, code=code, severity=severity or "ERROR", http=status, place=place))


def _refused(row: Row, error: NitroError) -> Result:
    return Result(row, unknown=True, why=str(error)) if error.meaning in PASSING else Result(row, error=error)


def _code(content: dict[str, Any], status: int) -> int:
    if "errorcode" not in content and status in (200, 201, 209):
        return 0  # as the vendor's own pages show some answers
    return _number(content.get("errorcode"))


def _number(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) < 12 and value.strip().removeprefix("-").isdecimal():
        return int(value)
    raise ValueError(f"an error code that is {_named(value)}" if value is not None else "no error code")


def _said(content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


def _no_body(answer: Answer, what: str, place: str) -> NitroError:
    """Return the error for an answer that is none of the API's; a web server's own 401 and 503 mean what they always do."""
    error = NitroError(f"HTTP {answer.status}, {what}", http=answer.status, place=place)
    if error.meaning in (Meaning.SESSION, Meaning.UNAVAILABLE):
        return error
    return NitroError(error.message, http=answer.status, meaning=Meaning.UNREADABLE, place=place)


def _named(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")

"""Read the URL of a request, and do to a result what its query asks for.

The one confusing thing: ids may be encoded twice, so they are decoded twice; and the keys of ``args`` come in any case and
any order, separated from their values by the *first* colon, for values hold colons of their own (MACs, IPv6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_plus

from isthmus.lab.nitro.answers import Refusal, bad_query

Json = dict[str, Any]

_BASE = "/nitro/v1/config/"


@dataclass(frozen=True, slots=True)
class Request:
    """What a URL asks for."""

    resource: str
    identifier: str = ""
    action: str = ""
    args: dict[str, str] = field(default_factory=dict)
    filters: dict[str, str] = field(default_factory=dict)
    attributes: tuple[str, ...] = ()
    count: bool = False
    idempotent: bool = False
    warning: bool = False
    bulk_bindings: bool = False
    summary: bool = False
    page_size: int = 0
    page: int = 1


def _yes(text: str) -> bool:
    return text.lower() in ("yes", "true", "1")


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise bad_query()
    return int(text)


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        name, colon, value = part.partition(":")
        if not name or not colon or not value:
            raise bad_query()
        found[name.strip().lower()] = unquote(value)
    return found


def read(raw_path: str, raw_query: str) -> Request:
    """Return what a URL asks for; raise Refusal."""
    if not raw_path.startswith(_BASE):
        raise Refusal(1232, raw_path.rpartition("/")[2], status=404)
    resource, _, identifier = raw_path.removeprefix(_BASE).strip("/").partition("/")
    words: dict[str, str] = {}
    for part in raw_query.split("&"):
        name, equals, value = part.partition("=")
        if name:
            words[unquote_plus(name).lower()] = unquote_plus(value) if equals else ""
    return Request(
        resource=unquote(resource).lower(),
        identifier=unquote(unquote(identifier)),
        action=words.get("action", "").lower(),
        args=_pairs(words["args"]) if "args" in words else {},
        filters=_pairs(words["filter"]) if "filter" in words else {},
        attributes=tuple(name.strip().lower() for name in words.get("attrs", "").split(",") if name.strip()),
        count=_yes(words.get("count", "")),
        idempotent=_yes(words.get("idempotent", "")),
        warning=_yes(words.get("warning", "")),
        bulk_bindings=_yes(words.get("bulkbindings", "")),
        summary=words.get("view", "").lower() == "summary",
        page_size=_number(words["pagesize"]) if "pagesize" in words else 0,
        page=_number(words["pageno"]) if "pageno" in words else 1,
    )


def choose(rows: list[Json], asked: Request) -> list[Json]:
    """Return the rows, and of each the fields, that the query asks for."""
    for name, wanted in asked.filters.items():
        rows = [row for row in rows if _fits(row, name, wanted)]
    if asked.page_size:
        start = (asked.page - 1) * asked.page_size
        rows = rows[start : start + asked.page_size]
    if asked.attributes:
        rows = [{name: value for name, value in row.items() if name.lower() in asked.attributes} for row in rows]
    return rows


def _fits(row: Json, name: str, wanted: str) -> bool:
    value = next((value for key, value in row.items() if key.lower() == name), None)
    if value is None:
        return False
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text == wanted:
        return True
    pattern = re.fullmatch(r"/(.*)/(i?)", wanted, re.DOTALL)
    try:
        if pattern is not None:
            return re.search(pattern[1], text, re.IGNORECASE if pattern[2] else 0) is not None
        return re.fullmatch(wanted, text) is not None
    except re.error:
        return False

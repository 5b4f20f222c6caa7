"""URLs of NITRO: which object, which rows, which action; and how anything may stand in them.

An id in the path is encoded twice, since the web server decodes once before the API does; the vendor's Go client does the
same. In ``args`` and ``filter`` a value is encoded once, but for what would end it there: a comma, and the percent sign.
The one confusing thing: a filter is a regular expression on the device, so what it lets through is compared again here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from isthmus.drivers.netscaler.nitro.results import Row

__all__ = ["BASE", "fits", "path"]

BASE = "/nitro/v1/config/"
_KIND = re.compile(r"[a-z][a-z0-9_]{0,95}")


def path(
    kind: str,
    name: str | None = None,
    *,
    args: Mapping[str, str] | None = None,
    filter: Mapping[str, str] | None = None,
    attrs: Sequence[str] = (),
    view: str | None = None,
    options: Mapping[str, str] | None = None,
) -> str:
    """Return path and query, ready for the wire; raise ValueError for a kind or a value that cannot be asked for.

    ``options`` are further words of the query (``{"action": "save"}``). An argument without a value is an error here since it
    is one there (599, "Invalid args in query parameters", seen).
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"no kind is called {kind[:40]!r}")
    if name == "":
        raise ValueError(f"an empty name of {kind}")
    where = BASE + kind + ("" if name is None else "/" + _twice(name))
    words = []
    if args:
        words.append("args=" + _pairs(kind, args))
    if filter:
        words.append("filter=" + _pairs(kind, filter))
    if attrs:
        words.append("attrs=" + ",".join(quote(one, safe="") for one in attrs))
    if view is not None:
        words.append("view=" + quote(view, safe=""))
    words += [f"{quote(word, safe='')}={quote(value, safe='')}" for word, value in (options or {}).items()]
    return where + ("?" + "&".join(words) if words else "")


def fits(row: Row, filter: Mapping[str, str]) -> bool:
    """Return whether ``row`` is what was asked for; a pattern between slashes is believed to the device."""
    lower = {name.lower(): value for name, value in row.items()}
    for name, wanted in filter.items():
        if len(wanted) > 1 and wanted.startswith("/") and wanted.rstrip("i").endswith("/"):
            continue
        value = lower.get(name.lower(), wanted)  # what was not asked for cannot be compared
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if text.lower() != wanted.lower():
            return False
    return True


def _pairs(kind: str, pairs: Mapping[str, str]) -> str:
    said = []
    for name, value in pairs.items():
        if not value or not name:
            raise ValueError(f"an empty argument of {kind}: {name}")
        said.append(f"{quote(name, safe='')}:{quote(value.replace('%', '%25').replace(',', '%2C'), safe='')}")
    return ",".join(said)


def _twice(text: str) -> str:
    return quote(quote(text, safe=""), safe="")

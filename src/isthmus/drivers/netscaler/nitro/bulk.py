"""Many rows in few requests: how they are split, and how a removal is asked for.

A bulk request is an array, carried out item by item and answered item by item (``X-NITRO-ONERROR: continue``). Pieces are
bounded by count and by bytes, so that one lost answer leaves few rows to look at, and no request outlasts a time-out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from isthmus.drivers.netscaler.nitro.results import Row

__all__ = ["ITEM", "MOST_BYTES", "MOST_ITEMS", "body_of", "pieces"]

MOST_ITEMS = 200
MOST_BYTES = 256 << 10
ITEM = 0.05
"""Seconds that each item of a request may take besides its time-out."""


def body_of(kind: str, rows: Sequence[Row]) -> bytes:
    """Return the body that asks for ``rows``: one as an object, several as an array."""
    said: Row | list[Row] = rows[0] if len(rows) == 1 else list(rows)
    return json.dumps({kind: said}, separators=(",", ":")).encode()


def pieces(rows: Sequence[Row]) -> Iterator[range]:
    """Yield the ranges of ``rows`` that go into one request each."""
    start = size = 0
    for index, row in enumerate(rows):
        bytes_ = len(json.dumps(row)) + 2
        if index > start and (index - start >= MOST_ITEMS or size + bytes_ > MOST_BYTES):
            yield range(start, index)
            start, size = index, 0
        size += bytes_
    if start < len(rows):
        yield range(start, len(rows))

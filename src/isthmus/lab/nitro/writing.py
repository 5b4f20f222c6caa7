"""How the device writes JSON.

The one confusing thing: there are two writers. What the packet engine answers has spaces inside the brackets, and clients
look for substrings such as ``"errorcode": 293`` in it; what the PHP layer before it refuses is compact.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Any

Json = dict[str, Any]


def spaced(value: object) -> str:
    """Return ``value`` as the packet engine writes it: ``{ "errorcode": 0, "list": [ 1, 2 ] }``."""
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{encode_basestring(name)}: {spaced(v)}" for name, v in value.items())
        return f"{{ {inner} }}" if inner else "{ }"
    if isinstance(value, list | tuple):
        inner = ", ".join(spaced(item) for item in value)
        return f"[ {inner} ]" if inner else "[ ]"
    return json.dumps(value, ensure_ascii=False)


def compact(value: object) -> str:
    """Return ``value`` as the PHP layer writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

"""The JSONPath that printer columns use: ``.a.b``, ``['a']``, ``[0]``, ``[*]`` and ``[?(@.type=="Ready")]``."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>(?:[A-Za-z0-9_/\-]|\\.)+|\*)
      | \['(?P<quoted>(?:[^'\\]|\\.)+)'\]
      | \[(?P<index>-?\d+)\]
      | (?P<all>\[\*\])
      | \[\?\(@\.(?P<field>[A-Za-z0-9_.\-]+)\s*==\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)')\)\]
    """,
    re.VERBOSE,
)


def find(document: Any, path: str) -> list[Any]:
    """Return every value that ``path`` leads to; none when it cannot be read or leads nowhere."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if not text.startswith((".", "[")):
        text = "." + text
    nodes, position = [document], 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            return []
        nodes = [child for node in nodes for child in _children(node, step)]
        position = step.end()
    return nodes


def _children(node: Any, step: re.Match[str]) -> list[Any]:
    name = re.sub(r"\\(.)", r"\1", step["name"] or step["quoted"] or "")
    if step["all"] or name == "*":
        return list(node.values()) if isinstance(node, dict) else list(node) if isinstance(node, list) else []
    if name:
        return [node[name]] if isinstance(node, dict) and name in node else []
    if not isinstance(node, list):
        return []
    if step["index"] is not None:
        index = int(step["index"])
        return [node[index]] if -len(node) <= index < len(node) else []
    wanted = step["double"] if step["double"] is not None else step["single"]
    return [item for item in node if find(item, "." + step["field"]) == [wanted]]

"""Reading our own source: every module's syntax tree, and a string with placeholders as people would write it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import isthmus

ROOT = Path(isthmus.__file__).parent


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Return path (below src/isthmus) and syntax tree of every module but the lab's, which users do not run in earnest."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("lab/"):
            found.append((name, ast.parse(path.read_text("utf-8"))))
    return tuple(found)


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield (module, call) of every call of a function or method with one of ``names``."""
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) in names:
                yield module, node


def called(call: ast.Call) -> str:
    """Return the last word of what is called."""
    function = call.func
    return (
        function.attr
        if isinstance(function, ast.Attribute)
        else function.id
        if isinstance(function, ast.Name)
        else ""
    )


def constant(node: ast.expr | None) -> str | None:
    """Return the text of a string constant, else none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def template(node: ast.expr | None) -> str:
    """Return a string expression as text with ``<placeholders>``; "…" for what is worked out elsewhere."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(template(value) for value in values)
        case ast.FormattedValue(value=value):
            return f"<{_placeholder(value)}>"
        case ast.IfExp(body=body, orelse=other):
            return f"{template(body)} / {template(other)}"
    return "…"


def _placeholder(node: ast.expr) -> str:
    text = ast.unparse(node)
    words = text.replace("self._", "").replace("self.", "").partition("(")[0]
    return words.replace("_", " ").replace(".", " ") if len(words) < 40 else "…"

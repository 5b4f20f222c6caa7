"""reasons.md and logs.md: what the program says, found where it says it.

A reason is one CamelCase word for programs with a sentence for people. It stands in a call of ``refuse``, ``Refusal``,
``Refused`` or ``_tell``, in a condition (a ``Statement``, or a tuple of status, reason, message), or in a table of what is
news. A log event is the constant text of a logging call.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from isthmus.kube.parse import SERVED_CONDITION
from reference import source
from reference.markdown import code, table

_LEVELS = ("debug", "info", "warning", "error")
_REASONS_INTRO = f"""# Reasons

Why something is not served, or that it is. A *plan* shows refusals by scope (`? node/lab/node3: …`); `isthmus status` lists
them; a Service has them in its condition `{SERVED_CONDITION}` and as Kubernetes Events. Placeholders are in angle brackets.

"""
_LOGS_INTRO = """# Log events

Logs are on standard error: lines at a terminal, one JSON object a line in a pipe. `event` is one of these constant texts;
what varies is in keys. Keys that look like credentials are redacted. A failing device, cluster or object is logged once when
it fails and once when it is well again.

"""
_SAID = {
    "refuse": "plan",
    "Refusal": "plan",
    "Refused": "Service condition and Event",
    "_tell": "Event",
    "tell": "Event",
    "Statement": "condition of the object",
    "Acceptance": "condition Accepted",
    "News": "Event",
}
_PLACES = {"refuse": 0, "Refused": 0, "News": 0, "Refusal": 1, "_tell": 1, "tell": 1, "Acceptance": 1, "Statement": 2}


@dataclass(frozen=True, order=True)
class Reason:
    """One reason as the code says it, wherever that is."""

    word: str
    where: str
    message: str
    remedy: str


def reasons() -> list[Reason]:
    """Return every reason in the code, sorted."""
    return sorted({*_in_calls(), *_in_tuples(), *_in_tables()})


def _in_calls() -> Iterator[Reason]:
    for _, call in source.calls(*_PLACES):
        name = source.called(call)
        after = call.args[_PLACES[name] :]
        message = source.template(after[1]) if len(after) > 1 else ""
        remedy = source.template(after[2]) if len(after) > 2 and _SAID[name] == "plan" else ""
        for word in _words(after[0]) if after else ():
            yield Reason(word, _SAID[name], message, remedy)


def _in_tuples() -> Iterator[Reason]:
    """Yield what stands in ``return status, reason, message`` and in ``return reason, message``."""
    for module, tree in source.modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Tuple):
                continue
            values = node.value.elts
            status = source.constant(values[0]) if values else None
            if len(values) == 3 and status in ("True", "False", "Unknown"):
                for word in _words(values[1]):
                    yield Reason(word, f"Service condition ({status})", source.template(values[2]), "")
            elif len(values) == 2 and module.endswith("conditions.py"):
                for word in _words(values[0]):
                    yield Reason(word, _SAID["Statement"], source.template(values[1]), "")


def _in_tables() -> Iterator[Reason]:
    """Yield the Events in a table from (kind, condition, status) to reason."""
    for _, tree in source.modules():
        for node in ast.walk(tree):
            for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if isinstance(key, ast.Tuple) and len(key.elts) == 3:
                    kind, condition, status = (source.constant(part) or "" for part in key.elts)
                    place = f"Event on {'any object' if kind == '*' else kind}"
                    for word in _words(value):
                        yield Reason(word, place, f"condition {condition} is {status} now", "")


def _words(node: ast.expr) -> list[str]:
    """Return the CamelCase words that ``node`` can be."""
    if isinstance(node, ast.IfExp):
        return [*_words(node.body), *_words(node.orelse)]
    word = source.constant(node)
    return [word] if word is not None and word[:1].isupper() and word.isalnum() else []


def reasons_page() -> str:
    """Return the page."""
    rows = [(code(one.word), one.where, one.message, one.remedy) for one in reasons()]
    return _REASONS_INTRO + table(("Reason", "Said in", "Message", "Way out"), rows)


def events() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Return (event, level, module, keys) of every logging call."""
    found = set()
    for module, call in source.calls(*_LEVELS):
        function = call.func
        text = source.constant(call.args[0]) if call.args else None
        if text is None or not isinstance(function, ast.Attribute):
            continue
        if not ast.unparse(function.value).lower().endswith("log"):
            continue
        keys = tuple(keyword.arg or "…" for keyword in call.keywords)
        found.add((text, function.attr, module, keys))
    return sorted(found)


def logs_page() -> str:
    """Return the page."""
    rows = [
        (text, level, ", ".join(code(key) for key in keys), code(module)) for text, level, module, keys in events()
    ]
    return _LOGS_INTRO + table(("Event", "Level", "Keys", "Said by"), rows)

"""reasons.md and logs.md: what the program says, found where it says it.

A reason is one CamelCase word for programs with a sentence for people. It stands in a call of ``refuse``, ``Refusal``,
``Refused`` or ``_tell``, or in a condition (status, reason, message). A log event is the constant text of a logging call.
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
    "condition": "Service condition",
}


@dataclass(frozen=True, order=True)
class Reason:
    """One reason as the code says it, wherever that is."""

    word: str
    where: str
    message: str
    remedy: str


def reasons() -> list[Reason]:
    """Return every reason in the code, sorted."""
    return sorted({*_in_calls(), *_in_conditions()})


def _in_calls() -> Iterator[Reason]:
    for _, call in source.calls("refuse", "Refusal", "Refused", "_tell"):
        name = source.called(call)
        place = {"refuse": 0, "Refused": 0, "Refusal": 1, "_tell": 1}[name]
        if len(call.args) <= place + 1:
            continue
        word = source.constant(call.args[place])
        if word is None or not word[:1].isupper():
            continue
        remedy = source.template(call.args[place + 2]) if len(call.args) > place + 2 else ""
        yield Reason(word, _SAID[name], source.template(call.args[place + 1]), remedy)


def _in_conditions() -> Iterator[Reason]:
    """Yield what stands in ``return status, reason, message``."""
    for _, tree in source.modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Tuple) or len(node.value.elts) != 3:
                continue
            status, reason, message = node.value.elts
            word = source.constant(reason)
            if source.constant(status) in ("True", "False", "Unknown") and word is not None:
                where = f"{_SAID['condition']} ({source.constant(status)})"
                yield Reason(word, where, source.template(message), "")


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

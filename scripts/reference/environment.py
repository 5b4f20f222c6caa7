"""environment.md: every variable of the older systems, what it says, and the field it becomes."""

from __future__ import annotations

from isthmus.compat.variables import VARIABLES
from reference.markdown import code, table

_TITLES = {
    "device": "The ADC",
    "overlay": "An overlay of our own (2.x, and the router)",
    "router": "An overlay to a device of somebody else's",
    "flannel": "A peer of flannel (1.x)",
    "names": "Names, and the way to the cluster",
    "unused": "Read by nobody any more",
}


def page() -> str:
    """Return the page."""
    parts = [
        "# Environment variables of the older systems",
        "What `--from-env` reads (`isthmus controller`, `plan`, `validate`, `config`, ...). A variable set to nothing "
        "counts as not set. Every variable that is missing, malformed or contradicted is told at once, with exit code 1; "
        "`NS_...` and `CNC_...` variables that nobody knows are warned about.",
    ]
    for use, title in _TITLES.items():
        rows = [
            (code(one.name), one.says, one.default or "-", code(one.field) if one.field else "-")
            for one in VARIABLES.values()
            if one.use == use
        ]
        parts += [f"## {title}", table(("Variable", "Says", "Default", "Becomes"), rows)]
    return "\n\n".join(parts)

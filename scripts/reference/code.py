"""errors.md and resources.md: the exception family as its own docstring draws it, and what we change on devices."""

from __future__ import annotations

import inspect
import math

import msgspec

from isthmus import errors
from isthmus.model import resources
from reference.markdown import code, first_line, prose, table


def errors_page() -> str:
    """Return the page of exceptions; every class must be in the tree."""
    heading, _, tree = inspect.cleandoc(errors.__doc__ or "").partition("::\n")
    missing = [name for name in errors.__all__ if f" {name} " not in tree.replace("\n", " \n") + " "]
    assert not missing, f"the tree in isthmus.errors lacks {missing}"
    rows = [(code(name), _parent(name), first_line(getattr(errors, name).__doc__)) for name in errors.__all__]
    drawn = inspect.cleandoc(tree).strip("\n")
    return (
        "# Errors\n\n"
        + prose(heading)
        + "\n\n```text\n"
        + drawn
        + "\n```\n\n"
        + table(("Error", "Is a", "Means"), rows)
    )


def _parent(name: str) -> str:
    return code(getattr(errors, name).__mro__[1].__name__)


def resources_page() -> str:
    """Return the page of resources, in the order in which a plan creates them."""
    kinds = sorted(
        (
            kind
            for kind in vars(resources).values()
            if isinstance(kind, type) and issubclass(kind, resources.Resource) and kind is not resources.Resource
        ),
        key=lambda kind: (_rank(kind) or math.inf, kind.__name__),
    )
    order = "A plan creates and updates by rising rank and deletes by falling rank."
    text = f"# Resources\n\n{prose(resources.__doc__)}\n\n{order}\n"
    for kind in kinds:
        fields = msgspec.structs.fields(kind)
        rows = [(code(field.name), code(_type_text(kind, field.name))) for field in fields]
        rank = _rank(kind) or "of what it is a part of"
        text += f"\n## {kind.__name__}\n\n{prose(inspect.getdoc(kind))}\n\nRank {rank}.\n\n" + table(
            ("Field", "Type"), rows
        )
    member = [
        (code(f.name), code(_type_text(resources.Member, f.name))) for f in msgspec.structs.fields(resources.Member)
    ]
    return text + f"\n## Member\n\n{prose(resources.Member.__doc__)}\n\n" + table(("Field", "Type"), member)


def _rank(kind: type[resources.Resource]) -> int | None:
    return kind.rank if isinstance(kind.rank, int) else None


def _type_text(kind: type, name: str) -> str:
    for base in kind.__mro__:
        annotations = inspect.get_annotations(base)
        if name in annotations:
            return str(annotations[name])
    raise AssertionError(f"{kind.__name__} has no field {name}")

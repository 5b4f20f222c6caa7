"""What a kind adds to storing: the shape of defaulting and validation.

A rule never stores and never looks at the wire. ``prepare`` may change the object, ``check`` only judges it; ``old`` is
None when the object is being made. Each takes the object without ``kind`` and ``apiVersion``.
"""

from __future__ import annotations

from typing import Any, Protocol

from isthmus.lab.kube.status import Cause

Json = dict[str, Any]


class Rule(Protocol):
    """Defaulting and validation of one kind."""

    def unknown(self, obj: Json) -> list[str]:
        """Return the paths of fields that the kind does not know, for ``fieldValidation``."""
        ...

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Fill in defaults and what the server decides, in place."""
        ...

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Return why the object cannot be stored; empty when it can."""
        ...


class Plain:
    """Accept everything; the base for kinds which need only a part of a rule."""

    def unknown(self, _obj: Json) -> list[str]:
        """Know every field."""
        return []

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Leave the object as it is."""

    def check(self, _obj: Json, _old: Json | None) -> list[Cause]:
        """Accept."""
        return []


PLAIN: Rule = Plain()

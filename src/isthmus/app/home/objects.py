"""One object of ours as an API server holds it: what the user says, kept apart from what we and the server added.

The split is the point. A status we have just written, a finalizer we have just set and a new resourceVersion are no news for
those who plan, so ``object`` holds none of them; those who write statuses and finalizers find them beside it.

The one confusing thing: ``object`` is none when what stands there does not parse, and then ``problems`` say why. The head
is still good, so a wrong object can be told that it is wrong, and can be deleted.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from isthmus.kube.kinds import KindRef, isthmus_kind
from isthmus.kube.parse import Projection
from isthmus.model.kinds import KINDS, FieldProblem, Key, Kind, parse
from isthmus.model.kinds.kind import Metadata

__all__ = ["REFERENCES", "HomeObject", "projection", "read"]

REFERENCES: dict[str, KindRef] = {name: isthmus_kind(kind.PLURAL, name) for name, kind in KINDS.items()}
"""Where each of our kinds stands in an API, by its name."""

# What of the metadata means something to us; the rest is the server's (and grows with its versions).
_HEAD = ("name", "labels", "annotations", "uid", "creationTimestamp", "deletionTimestamp")


@dataclass(frozen=True, slots=True)
class HomeObject:
    """An object of the home cluster. ``status`` is as it stands there; it is compared with and never believed."""

    key: Key
    object: Kind | None
    problems: tuple[FieldProblem, ...]
    metadata: Metadata | None
    uid: str
    resource_version: str
    generation: int
    created: str
    deleting: bool
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...]
    status: Mapping[str, Any]

    def revived(self, good: Kind) -> Kind:
        """Return ``good``, which it said before, under the head that it has now: a deletion counts whatever the spec says."""
        return good if self.metadata is None else good.model_copy(update={"metadata": self.metadata})


def projection(kind: str, drivers: Collection[str]) -> Projection[HomeObject]:
    """Return how objects of ``kind`` are read; ``drivers`` are the known ones."""
    return Projection(REFERENCES[kind], dict[str, Any], functools.partial(read, kind, drivers))


def read(kind: str, drivers: Collection[str], document: Mapping[str, Any]) -> HomeObject:
    """Return ``document`` taken apart. Raises only for a head that no API server would have stored."""
    head = document.get("metadata") or {}
    metadata = {field: head[field] for field in _HEAD if head.get(field) is not None}
    said = {field: value for field, value in document.items() if field not in ("status", "metadata")}
    parsed = parse(
        {"apiVersion": REFERENCES[kind].api_version, "kind": kind, **said, "metadata": metadata}, drivers=drivers
    )
    return HomeObject(
        key=(kind, head["name"]),
        object=parsed.object,
        problems=parsed.problems,
        metadata=parsed.object.metadata if parsed.object is not None else _metadata(metadata),
        uid=head.get("uid") or "",
        resource_version=head.get("resourceVersion") or "",
        generation=head.get("generation") or 0,
        created=head.get("creationTimestamp") or "",
        deleting=head.get("deletionTimestamp") is not None,
        annotations=head.get("annotations") or {},
        finalizers=tuple(head.get("finalizers") or ()),
        status=document.get("status") or {},
    )


def _metadata(head: Mapping[str, Any]) -> Metadata | None:
    try:
        return Metadata.model_validate(head)
    except ValidationError:
        return None

"""What RBAC manifests allow, one permission at a time, and what was asked for, to be held against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, order=True)
class Use:
    """One request: ``resource`` includes a subresource as in ``services/status``; ``name`` is empty for a collection."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, order=True)
class Right:
    """One permission: ``namespace`` and ``name`` are empty where it holds for all. ``role`` is where it is written."""

    verb: str
    group: str
    resource: str
    name: str = ""
    namespace: str = ""
    role: str = ""

    def allows(self, use: Use) -> bool:
        """Say whether it allows a request."""
        return (
            (use.verb, use.group, use.resource) == (self.verb, self.group, self.resource)
            and self.namespace in ("", use.namespace)
            and self.name in ("", use.name)
        )


def rights(documents: Iterable[Json]) -> Iterator[Right]:
    """Yield the rights that Roles and ClusterRoles among ``documents`` give."""
    for document in documents:
        if document["kind"] not in ("ClusterRole", "Role"):
            continue
        meta = document["metadata"]
        for rule in document["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames", [""]):
                            yield Right(verb, group, resource, name, meta.get("namespace", ""), meta["name"])


def uncovered(uses: Iterable[Use], given: Iterable[Right]) -> set[Use]:
    """Return the requests that nothing allows."""
    by_kind: dict[tuple[str, str, str], list[Right]] = {}
    for right in given:
        by_kind.setdefault((right.verb, right.group, right.resource), []).append(right)
    return {
        use
        for use in uses
        if not any(right.allows(use) for right in by_kind.get((use.verb, use.group, use.resource), ()))
    }

"""What the server can do, in the words of discovery: plain (one document per group and version) and aggregated (one for
all, which kubectl asks for first)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.lab.kube.kinds import ALL_VERBS, Kinds, Resource

Json = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.4+isthmus-lab",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2025-04-22T16:02:58Z",
    "goVersion": "go1.23.6",
    "compiler": "gc",
    "platform": "linux/amd64",
}

# Kinds that are answered at once and never stored: (group, version, plural, kind).
REVIEWS = (
    ("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview"),
    ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
)


def _groups(kinds: Kinds) -> dict[str, list[str]]:
    groups = kinds.groups()
    for group, version, _plural, _kind in REVIEWS:
        groups.setdefault(group, [version])
    return groups


def _group(name: str, versions: Iterable[str]) -> Json:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def core_versions(address: str) -> Json:
    """Return the answer to ``/api``."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(kinds: Kinds) -> Json:
    """Return the answer to ``/apis``."""
    groups = [_group(name, versions) for name, versions in _groups(kinds).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(kinds: Kinds, name: str) -> Json | None:
    """Return the answer to ``/apis/<name>``, or None for an unknown group."""
    versions = _groups(kinds).get(name)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def _singular(resource: Resource) -> str:
    return resource.singular or resource.kind.lower()


def _described(resource: Resource) -> Iterable[Json]:
    entry: Json = {
        "name": resource.plural,
        "singularName": _singular(resource),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(ALL_VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    yield entry
    if resource.status:
        yield {
            "name": f"{resource.plural}/status",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": ["get", "patch", "update"],
        }


def resource_list(kinds: Kinds, group_name: str, version: str) -> Json | None:
    """Return the answer to ``/api/v1`` or ``/apis/<group>/<version>``, or None for an unknown one."""
    found: list[Json] = []
    for resource in kinds:
        if (resource.group, resource.version) == (group_name, version):
            found.extend(_described(resource))
    for review_group, review_version, plural, kind in REVIEWS:
        if (review_group, review_version) == (group_name, version):
            entry = {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": False,
                "kind": kind,
                "verbs": ["create"],
            }
            found.append(entry)
    if not found:
        return None
    group_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}


def _aggregated_resource(resource: Resource) -> Json:
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    entry: Json = {
        "resource": resource.plural,
        "responseKind": kind,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": _singular(resource),
        "verbs": list(ALL_VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.status:
        sub = {"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]}
        entry["subresources"] = [sub]
    return entry


def aggregated(kinds: Kinds, *, core: bool) -> Json:
    """Return the APIGroupDiscoveryList of the core group or of all others."""
    groups: dict[str, dict[str, list[Json]]] = {}
    for resource in kinds:
        if (not resource.group) == core:
            versions = groups.setdefault(resource.group, {})
            versions.setdefault(resource.version, []).append(_aggregated_resource(resource))
    for group_name, version, plural, kind in () if core else REVIEWS:
        entry = {
            "resource": plural,
            "responseKind": {"group": group_name, "version": version, "kind": kind},
            "scope": "Cluster",
            "singularResource": kind.lower(),
            "verbs": ["create"],
        }
        groups.setdefault(group_name, {}).setdefault(version, []).append(entry)
    items = [
        {
            "metadata": {"name": name, "creationTimestamp": None},
            "versions": [
                {"version": version, "resources": resources, "freshness": "Current"}
                for version, resources in versions.items()
            ],
        }
        for name, versions in groups.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

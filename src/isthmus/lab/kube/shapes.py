"""How lists and maps merge: by keys, as sets, or as one piece.

Server-side apply and strategic merge patch both need it and do not agree: ports of a Service are keyed by port *and*
protocol in the one and by port alone in the other. The built-in rows are those of the comments ``+listType``,
``+mapType`` and ``patchMergeKey`` in k8s.io/api; a custom resource's come from its schema. A
path here is the names of fields from the root, with list items left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
FieldPath = tuple[str, ...]

KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}  # what an absent key means, wherever one may be absent


@dataclass(frozen=True, slots=True)
class Shape:
    """One list's or map's way to merge; the default is a granular map, or a list that is one piece."""

    keys: tuple[str, ...] = ()  # of a list's items, for apply
    is_set: bool = False  # a list of scalars without order
    one_piece: bool = False  # a map that is replaced as a whole
    merge_key: str = ""  # of a list's items, for strategic merge patch


PLAIN_SHAPE = Shape()

_META = {
    "metadata.finalizers": Shape(is_set=True),
    "metadata.ownerReferences": Shape(("uid",), merge_key="uid"),
}
_CONDITIONS = {"status.conditions": Shape(("type",), merge_key="type")}
_SELECTOR = {"spec.selector": Shape(one_piece=True)}


def _pod_spec(prefix: str) -> dict[str, Shape]:
    by_name = Shape(("name",), merge_key="name")
    rows = {
        "containers": by_name,
        "initContainers": by_name,
        "ephemeralContainers": by_name,
        "volumes": by_name,
        "imagePullSecrets": by_name,
        "hostAliases": Shape(("ip",), merge_key="ip"),
        "nodeSelector": Shape(one_piece=True),
        "topologySpreadConstraints": Shape(("topologyKey", "whenUnsatisfiable"), merge_key="topologyKey"),
    }
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        rows |= {
            f"{kind}.env": by_name,
            f"{kind}.ports": Shape(("containerPort", "protocol"), merge_key="containerPort"),
            f"{kind}.volumeMounts": Shape(("mountPath",), merge_key="mountPath"),
            f"{kind}.volumeDevices": Shape(("devicePath",), merge_key="devicePath"),
        }
    return {f"{prefix}.{path}": shape for path, shape in rows.items()}


_BUILTIN: dict[str, dict[str, Shape]] = {
    "nodes": {
        **_META,
        **_CONDITIONS,
        "spec.podCIDRs": Shape(is_set=True),
        "status.addresses": Shape(("type",), merge_key="type"),
    },
    "services": {
        **_META,
        **_CONDITIONS,
        **_SELECTOR,
        "spec.ports": Shape(("port", "protocol"), merge_key="port"),
    },
    "pods": {**_META, **_CONDITIONS, **_pod_spec("spec"), "status.podIPs": Shape(("ip",), merge_key="ip")},
    "daemonsets.apps": {**_META, **_CONDITIONS, **_SELECTOR, **_pod_spec("spec.template.spec")},
    "deployments.apps": {**_META, **_CONDITIONS, **_SELECTOR, **_pod_spec("spec.template.spec")},
    "serviceaccounts": {**_META, "secrets": Shape(("name",), merge_key="name")},
    "customresourcedefinitions.apiextensions.k8s.io": {**_META, **_CONDITIONS, "spec.versions": PLAIN_SHAPE},
}


class Shapes:
    """The shapes of one kind."""

    def __init__(self, rows: Mapping[str, Shape]) -> None:
        self._rows = {tuple(path.split(".")): shape for path, shape in rows.items()}

    def at(self, path: FieldPath) -> Shape:
        """Return the shape of the list or map at ``path``."""
        return self._rows.get(path, PLAIN_SHAPE)


def builtin_shapes(bucket: str) -> Shapes:
    """Return the shapes of a built-in kind."""
    return Shapes(_BUILTIN.get(bucket, {**_META, **_CONDITIONS}))


def schema_shapes(schema: Json) -> Shapes:
    """Return the shapes that a custom resource's structural schema declares."""
    rows: dict[str, Shape] = dict(_META)

    def walk(node: Any, path: FieldPath) -> None:
        if not isinstance(node, dict):
            return
        where = ".".join(path)
        match node.get("x-kubernetes-list-type"):
            case "map":
                rows[where] = Shape(tuple(node.get("x-kubernetes-list-map-keys") or ()))
            case "set":
                rows[where] = Shape(is_set=True)
        if node.get("x-kubernetes-map-type") == "atomic":
            rows[where] = Shape(one_piece=True)
        for name, child in (node.get("properties") or {}).items():
            if path or name != "metadata":
                walk(child, (*path, name))
        walk(node.get("items"), path)

    walk(schema, ())
    return Shapes(rows)

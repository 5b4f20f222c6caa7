"""OpenAPI, as far as kubectl needs it: to learn that ``fieldValidation`` and ``dryRun`` are understood, and to explain.

Custom resources are described by their own schemas; built-in kinds only as objects with spec and status. The document of
OpenAPI v2 is empty: kubectl asks for it in protobuf, and an empty message is a valid one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.lab.kube.kinds import Kinds, Resource

Json = dict[str, Any]

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2: Json = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": "lab"},
    "paths": {},
    "definitions": {},
}

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUERY = [
    {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
    for name, kind in (("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"))
]


def index(kinds: Kinds) -> Json:
    """Return the answer to ``/openapi/v3``: a document per group and version, its hash changing with the definitions."""
    paths = {}
    for resource in kinds:
        where = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
        paths[where] = {"serverRelativeURL": f"/openapi/v3/{where}?hash={kinds.generation}"}
    return {"paths": paths}


def _gvk(resource: Resource) -> Json:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _component(resource: Resource) -> str:
    group = ".".join(reversed(resource.group.split("."))) if resource.group else "io.k8s.api.core"
    return f"{group}.{resource.version}.{resource.kind}"


def _schema(resource: Resource) -> Json:
    base: Json = dict(resource.schema) if resource.schema else {"type": "object", "description": resource.kind}
    properties = dict(base.get("properties") or {})
    if not resource.schema:
        free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        properties = {"spec": free, **({"status": free} if resource.status else {})}
    base["properties"] = {
        **properties,
        "apiVersion": {"type": "string", "description": "The version of the schema that this object follows."},
        "kind": {"type": "string", "description": "The kind of this object."},
        "metadata": {"$ref": f"#/components/schemas/{_OBJECT_META}"},
    }
    return {**base, "x-kubernetes-group-version-kind": [_gvk(resource)]}


def _paths(resource: Resource) -> Iterable[tuple[str, Json]]:
    root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
    base = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
    answer = {
        "200": {
            "description": "OK",
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_component(resource)}"}}},
        }
    }

    def operation(action: str) -> Json:
        return {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(resource),
            "parameters": _QUERY,
            "responses": answer,
        }

    yield f"{base}/{resource.plural}", {"get": operation("list"), "post": operation("post")}
    yield (
        f"{base}/{resource.plural}/{{name}}",
        {"get": operation("get"), "put": operation("put"), "patch": operation("patch")},
    )


def document(kinds: Kinds, group: str, version: str) -> Json | None:
    """Return the OpenAPI v3 document of one group and version, or None for an unknown one."""
    rows = [row for row in kinds if (row.group, row.version) == (group, version)]
    if not rows:
        return None
    schemas: Json = {_component(row): _schema(row) for row in rows}
    schemas[_OBJECT_META] = {
        "type": "object",
        "description": "Metadata that all stored objects have: name, namespace, labels, annotations ...",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "lab"},
        "paths": dict(path for row in rows for path in _paths(row)),
        "components": {"schemas": schemas},
    }

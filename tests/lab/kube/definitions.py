"""One CustomResourceDefinition that uses every part of a structural schema that the server knows."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]

_SPEC: Json = {
    "type": "object",
    "description": "What you want.",
    "required": ["ranges"],
    "properties": {
        "ranges": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string", "pattern": "^10[.]"}},
        "size": {"type": "integer", "default": 4, "minimum": 1, "maximum": 9},
        "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "port": {"x-kubernetes-int-or-string": True},
        "mode": {"type": "string", "enum": ["auto", "hand"]},
        "note": {"type": "string", "nullable": True, "maxLength": 5},
        "address": {"type": "string", "format": "ipv4"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "deep": {
            "type": "object",
            "default": {},
            "properties": {"enabled": {"type": "boolean", "default": True}},
        },
        "rules": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "weight": {"type": "integer", "default": 1}},
            },
        },
    },
}


def definition(**changes: Any) -> Json:
    """Return the definition of ``pools.lab.dev``, with ``changes`` of its spec."""
    schema = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": copy.deepcopy(_SPEC),
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    spec: Json = {
        "group": "lab.dev",
        "scope": "Cluster",
        "names": {"plural": "pools", "kind": "Pool", "shortNames": ["pl"], "categories": ["lab"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
                "selectableFields": [{"jsonPath": ".spec.mode"}],
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }
        ],
        **changes,
    }
    return {
        "kind": "CustomResourceDefinition",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "pools.lab.dev"},
        "spec": spec,
    }


def pool(name: str, **spec: Any) -> Json:
    wanted = {"ranges": ["10.0.0.0/8"], **spec}
    return {"kind": "Pool", "apiVersion": "lab.dev/v1", "metadata": {"name": name}, "spec": wanted}

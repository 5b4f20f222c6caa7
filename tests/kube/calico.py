"""What a cluster with Calico has that others have not."""

from __future__ import annotations

from typing import Any


def block_definition() -> dict[str, Any]:
    """Return Calico's definition of its blocks."""
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "ipamblocks.crd.projectcalico.org"},
        "spec": {
            "group": "crd.projectcalico.org",
            "scope": "Cluster",
            "names": {
                "plural": "ipamblocks",
                "singular": "ipamblock",
                "kind": "IPAMBlock",
                "listKind": "IPAMBlockList",
            },
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }

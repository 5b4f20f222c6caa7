"""Which JSON type the fields of built-in kinds have, as far as anything here reads them.

The real server decodes into Go structs and refuses what does not fit before any rule sees it; so may the rules here rely
on the types below. ``[]`` in a path stands for every item of a list, ``{}`` for every value of a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "map": (dict,),
    "list": (list,),
    "text": (str,),
    "int": (int,),
    "bool": (bool,),
    "intstr": (int, str),
}
_FOUND = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


def _rows(text: str) -> dict[str, str]:
    rows = {}
    for line in text.split("\n"):
        if line.strip():
            kind, *paths = line.split()
            rows.update(dict.fromkeys(paths, kind))
    return rows


METADATA = _rows("""
    map metadata metadata.ownerReferences[] metadata.labels metadata.annotations metadata.managedFields[]
    list metadata.finalizers metadata.ownerReferences metadata.managedFields
    text metadata.name metadata.generateName metadata.namespace metadata.uid metadata.resourceVersion
    text metadata.finalizers[] metadata.labels{} metadata.annotations{}
""")

_POD = """
    map {0} {0}.containers[] {0}.nodeSelector
    list {0}.containers
    text {0}.nodeName {0}.containers[].name {0}.containers[].image
"""

_BUILTIN: dict[str, dict[str, str]] = {
    "nodes": _rows("""
        map spec status spec.taints[] status.conditions[] status.addresses[] status.nodeInfo
        list spec.podCIDRs spec.taints status.conditions status.addresses
        text spec.podCIDR spec.podCIDRs[] spec.providerID spec.taints[].key
        text status.conditions[].type status.addresses[].type status.addresses[].address
        bool spec.unschedulable
    """),
    "services": _rows("""
        map spec status spec.selector spec.ports[] status.loadBalancer status.loadBalancer.ingress[]
        list spec.ports spec.clusterIPs spec.ipFamilies spec.externalIPs status.loadBalancer.ingress
        list spec.loadBalancerSourceRanges
        text spec.type spec.clusterIP spec.clusterIPs[] spec.ipFamilies[] spec.ipFamilyPolicy spec.externalIPs[]
        text spec.selector{} spec.externalName spec.sessionAffinity spec.loadBalancerClass spec.loadBalancerIP
        text spec.internalTrafficPolicy spec.externalTrafficPolicy spec.ports[].name spec.ports[].protocol
        text status.loadBalancer.ingress[].ip status.loadBalancer.ingress[].hostname spec.loadBalancerSourceRanges[]
        int spec.ports[].port spec.ports[].nodePort
        intstr spec.ports[].targetPort
        bool spec.allocateLoadBalancerNodePorts spec.publishNotReadyAddresses
    """),
    "endpointslices.discovery.k8s.io": _rows("""
        map endpoints[] endpoints[].conditions ports[]
        list endpoints ports endpoints[].addresses
        text addressType endpoints[].addresses[] endpoints[].nodeName ports[].name ports[].protocol
        int ports[].port
    """),
    "endpoints": _rows("""
        map subsets[] subsets[].addresses[] subsets[].ports[]
        list subsets subsets[].addresses subsets[].ports
        text subsets[].addresses[].ip
        int subsets[].ports[].port
    """),
    "namespaces": _rows("map spec status\nlist spec.finalizers\ntext spec.finalizers[] status.phase"),
    "configmaps": _rows("map data binaryData\nbool immutable"),
    "secrets": _rows("map data stringData\ntext type data{} stringData{}\nbool immutable"),
    "serviceaccounts": _rows("list secrets"),
    "leases.coordination.k8s.io": _rows("""
        map spec
        text spec.holderIdentity spec.acquireTime spec.renewTime
        int spec.leaseDurationSeconds spec.leaseTransitions
    """),
    "pods": _rows("""
        map status status.containerStatuses[]
        list status.containerStatuses
        text status.phase status.podIP
    """ + _POD.format("spec")),
    "events": _rows("map involvedObject series source\ntext reason message type involvedObject.kind involvedObject.name"),
    **{
        bucket: _rows("""
            map spec status spec.selector spec.selector.matchLabels spec.template spec.template.metadata
            map spec.template.metadata.labels
            int spec.replicas
        """ + _POD.format("spec.template.spec"))
        for bucket in ("daemonsets.apps", "deployments.apps")
    },
    "customresourcedefinitions.apiextensions.k8s.io": _rows("""
        map spec status spec.names spec.versions[] spec.versions[].schema spec.versions[].schema.openAPIV3Schema
        map spec.versions[].subresources spec.versions[].additionalPrinterColumns[] spec.conversion
        map spec.versions[].selectableFields[]
        int spec.versions[].additionalPrinterColumns[].priority
        list spec.versions spec.names.shortNames spec.names.categories spec.versions[].additionalPrinterColumns
        list spec.versions[].selectableFields status.storedVersions status.conditions
        text spec.group spec.scope spec.names.plural spec.names.kind spec.names.singular spec.names.listKind
        text spec.names.shortNames[] spec.names.categories[] spec.versions[].name
        text spec.versions[].additionalPrinterColumns[].name spec.versions[].additionalPrinterColumns[].type
        text spec.versions[].additionalPrinterColumns[].jsonPath spec.versions[].selectableFields[].jsonPath
        bool spec.versions[].served spec.versions[].storage
    """),
}  # fmt: skip


def without_nulls(value: Any) -> Any:
    """Return ``value`` without the fields that are null: to Go's decoder null is the same as absent."""
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [without_nulls(child) for child in value]
    return value


_PARTS = {
    **dict.fromkeys(
        (
            "nodes",
            "services",
            "namespaces",
            "pods",
            "daemonsets.apps",
            "deployments.apps",
            "poddisruptionbudgets.policy",
        ),
        "spec status",
    ),
    **dict.fromkeys(("roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"), "rules"),
    **dict.fromkeys(
        ("rolebindings.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"),
        "subjects roleRef",
    ),
    "customresourcedefinitions.apiextensions.k8s.io": "spec status",
    "leases.coordination.k8s.io": "spec",
    "configmaps": "data binaryData immutable",
    "secrets": "data stringData type immutable",
    "serviceaccounts": "secrets imagePullSecrets automountServiceAccountToken",
    "endpoints": "subsets",
    "endpointslices.discovery.k8s.io": "addressType endpoints ports",
}


def parts_of(bucket: str) -> frozenset[str] | None:
    """Return the fields at the root of a built-in kind's objects, or None for a kind of which we do not know them."""
    return frozenset(("metadata", *_PARTS[bucket].split())) if bucket in _PARTS else None


def form_of(bucket: str) -> Mapping[str, str]:
    """Return the field types of a built-in kind, by path."""
    return _BUILTIN.get(bucket, {})


def _values(node: Any, steps: list[str]) -> Iterator[Any]:
    if not steps:
        yield node
        return
    step, rest = steps[0], steps[1:]
    if step == "[]":
        for child in node if isinstance(node, list) else ():
            yield from _values(child, rest)
    elif step == "{}":
        for child in node.values() if isinstance(node, dict) else ():
            yield from _values(child, rest)
    elif isinstance(node, dict) and step in node:
        yield from _values(node[step], rest)


_STEPS = {
    path: path.replace("[]", ".[]").replace("{}", ".{}").split(".")
    for rows in (METADATA, *_BUILTIN.values())
    for path in rows
}


def misfit(obj: Json, form: Mapping[str, str], kind: str) -> str:
    """Return what does not fit, in about the words of Go's decoder; empty when all fits."""
    for path, wanted in form.items():
        allowed = _TYPES[wanted]
        for value in _values(obj, _STEPS[path]):
            if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
                found = _FOUND.get(type(value), "null")
                field = path.replace("[]", "").replace("{}", "")
                return f"json: cannot unmarshal {found} into Go struct field {kind}.{field} of type {wanted}"
    return ""

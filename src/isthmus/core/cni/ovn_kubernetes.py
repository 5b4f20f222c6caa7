"""OVN-Kubernetes: Geneve between nodes; annotations on nodes say where pods are.

The one confusing thing: ``k8s.ovn.org/node-subnets`` is JSON with a string per network in older releases and a list in newer
ones; only the network "default" holds pods that are everybody's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from isthmus.core.cni import openshift
from isthmus.core.cni.evidence import Evidence, interface, prefix
from isthmus.core.cni.finding import Finding, NodeNetwork, Vtep
from isthmus.model.published import DaemonSet, PublishedNode
from isthmus.model.resources import IPAddress, IPNetwork

NAME = "ovn-kubernetes"
_TYPE = "OVNKubernetes"
_SUBNETS, _PRIMARY = "k8s.ovn.org/node-subnets", "k8s.ovn.org/node-primary-ifaddr"
_PORT = 6081


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of OVN-Kubernetes."""
    running = evidence.running(_is_ovn)
    seen, declared = openshift.sights(evidence, _TYPE)
    seen = [f"{one.place} runs ovnkube" for one in running] + seen
    annotated = evidence.annotated(_SUBNETS)
    if annotated:
        seen.append(f"annotation {_SUBNETS} is {evidence.on(annotated)}")
    if not seen:
        return None
    return Finding(
        NAME,
        sure=bool(running) or declared,
        mode="geneve",
        seen=tuple(seen),
        tunnels=("geneve",),
        port=_PORT,
        mtu=openshift.mtu(evidence, _TYPE),
    )


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what OVN-Kubernetes publishes of one node."""
    node = evidence.node_by_name.get(name)
    if node is None:
        return NodeNetwork(name, mtu=finding.mtu)
    oddities: list[str] = []
    endpoints = _primary(node, oddities)
    return NodeNetwork(
        name,
        pod_cidrs=_subnets(node, oddities),
        endpoints=endpoints,
        vteps=tuple(Vtep(address) for address in endpoints),
        interface="genev_sys_6081",
        mtu=finding.mtu,
        oddities=tuple(oddities),
    )


def _is_ovn(daemon_set: DaemonSet) -> bool:
    return any(
        not one.init and one.name in ("ovnkube-controller", "ovnkube-node", "ovn-controller")
        for one in daemon_set.containers
    ) and daemon_set.name.startswith(("ovnkube", "ovn-"))


def _subnets(node: PublishedNode, oddities: list[str]) -> tuple[IPNetwork, ...] | None:
    said = _document(node, _SUBNETS, oddities).get("default")
    texts = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    found = []
    for text in texts:
        try:
            found.append(prefix(text))
        except ValueError:
            oddities.append(f"annotation {_SUBNETS} names {text!r}, which is no network"[:200])
    return tuple(dict.fromkeys(found)) or None


def _primary(node: PublishedNode, oddities: list[str]) -> tuple[IPAddress, ...]:
    said = _document(node, _PRIMARY, oddities)
    found = []
    for key in ("ipv4", "ipv6"):
        text = said.get(key)
        if not text:
            continue
        try:
            found.append(interface(text).ip)
        except ValueError:
            oddities.append(f"annotation {_PRIMARY} names {text!r}, which is no address"[:200])
    return tuple(found)


def _document(node: PublishedNode, key: str, oddities: list[str]) -> dict[str, Any]:
    text = node.annotations.get(key)
    if text is None:
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        found = None
    if isinstance(found, dict):
        return found
    oddities.append(f"annotation {key} is no JSON object")
    return {}

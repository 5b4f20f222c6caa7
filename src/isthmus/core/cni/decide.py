"""Which CNI makes a cluster's pod network, from what is published; and a sentence of why.

What runs decides; traces do not contradict it. Where nothing that runs was seen, traces of one CNI make it likely, traces of
several make it unknown: no order among them would be more than a guess. Two CNIs that both run are both named, and no node's
pod CIDRs are told, for nobody says which of them has the node.

The one confusing thing: more evidence never makes a certain CNI less so, and less evidence never makes another one certain.
That is why a finding is sure by what is there alone, never by what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, cast

from isthmus.core.cni import (
    antrea,
    aws_vpc,
    calico,
    canal,
    cilium,
    flannel,
    kindnet,
    kube_router,
    openshift_sdn,
    ovn_kubernetes,
    weave,
)
from isthmus.core.cni.evidence import Evidence, count
from isthmus.core.cni.evidence import address as parsed
from isthmus.core.cni.finding import UNKNOWN, Certainty, Cni, Decision, Finding, NodeNetwork
from isthmus.model.published import Published
from isthmus.model.resources import IPAddress

CNIS: Mapping[str, Cni] = {
    module.NAME: cast("Cni", module)
    for module in (
        antrea,
        aws_vpc,
        calico,
        canal,
        cilium,
        flannel,
        kindnet,
        kube_router,
        openshift_sdn,
        ovn_kubernetes,
        weave,
    )
}


class _Object(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def problems(self) -> tuple[str, ...]: ...


_PARTS_OF_CANAL = (calico.NAME, flannel.NAME)


def decide(published: Published, told: str = "") -> Decision:
    """Return which CNI makes the pod network, how, why, and what is known of each node; ``told`` as in :func:`judge`."""
    evidence = Evidence(published)
    decision = judge(evidence, told)
    return replace(decision, nodes=tuple(network(evidence, decision, name) for name in evidence.names))


def judge(evidence: Evidence, told: str = "") -> Decision:
    """Return which CNI makes the pod network, how and why, without the nodes.

    ``told`` is the CNI that a person says it is, or empty: that goes before all that is seen.
    """
    findings = [found for cni in CNIS.values() if (found := cni.find(evidence)) is not None]
    if any(found.cni == canal.NAME for found in findings):
        findings = [found for found in findings if found.sure or found.cni not in _PARTS_OF_CANAL]
    networks = [found for found in findings if found.network]
    sure = [found for found in networks if found.sure]
    chosen = sure or (networks if len(networks) == 1 else [])
    if told:
        chosen = [_told(networks, told)]
        sure = chosen
    certainty: Certainty = "certain" if sure else "likely" if chosen else "unknown"
    return Decision(
        cni=" and ".join(found.cni for found in chosen) or UNKNOWN,
        certainty=certainty,
        mode="; ".join(found.mode for found in chosen) or UNKNOWN,
        why=_why(evidence, findings, chosen, certainty),
        networks=tuple(chosen),
        remarks=tuple(_remarks(evidence, findings, chosen)),
        traces=() if chosen else tuple(found.cni for found in networks),
    )


def _told(networks: list[Finding], told: str) -> Finding:
    said = "spec.cni of the KubeCluster says so"
    found = next((found for found in networks if found.cni == told), None)
    if found is None:
        return Finding(told, sure=True, mode="", seen=(said,))
    return replace(found, sure=True, seen=(said, *found.seen))


def _why(evidence: Evidence, findings: list[Finding], chosen: list[Finding], certainty: Certainty) -> str:
    if certainty == "certain":
        joined = "; and ".join(f"{found.title}: {'; '.join(found.seen)}" for found in chosen)
        return joined if len(chosen) == 1 else f"several run on this cluster: {joined}"
    if certainty == "likely":
        found = chosen[0]
        return f"likely {found.title}: {'; '.join(found.seen)}; none of this proves it"
    traces = [found for found in findings if found.network]
    if traces:
        listed = "; and ".join(f"{found.cni}: {'; '.join(found.seen)}" for found in traces)
        return f"unknown, for there are traces of several and nothing that runs: {listed}"
    others = [f"{found.title} makes no pod network here: {'; '.join(found.seen)}" for found in findings]
    looked = f"looked at {count(len(evidence.nodes), 'Node')} and {count(len(evidence.daemon_sets), 'DaemonSet')}"
    return f"unknown: {'; '.join([*others, 'no CNI that is known shows itself'])} ({looked})"


def _remarks(evidence: Evidence, findings: list[Finding], chosen: list[Finding]) -> list[str]:
    said = [doubt for found in chosen for doubt in found.doubts]
    for found in findings:
        if not chosen or any(found.cni == one.cni for one in chosen):
            continue
        if found.network:
            said.append(f"traces of {found.cni} are there, too, and nothing of it runs: {'; '.join(found.seen)}")
        else:
            said.append(f"{found.title} is there, too, and makes no pod network: {'; '.join(found.seen)}")
    published = evidence.published
    for kind, objects in (
        ("DaemonSet", published.daemon_sets),
        ("ConfigMap", published.config_maps),
        ("IPPool", published.pools),
        ("Installation", published.installations),
        ("FelixConfiguration", published.felix),
        ("Network.config", published.openshift),
    ):
        for one in cast("Sequence[_Object]", objects):
            said += [f"{kind} {one.name}: {problem}" for problem in one.problems]
    said += [f"not read: {what}" for what in published.unread]
    return sorted(set(said + list(published.problems)))


def network(evidence: Evidence, decision: Decision, name: str) -> NodeNetwork:
    """Return what is known of one node; where its pods are only if one CNI alone was chosen."""
    told, chosen = NodeNetwork(name), decision.networks
    if len(chosen) == 1:
        told = CNIS[chosen[0].cni].node(evidence, chosen[0], name)
    node, own = evidence.node_by_name.get(name), evidence.cilium_nodes.get(name)
    problems: list[str] = [*(node.problems if node is not None else ()), *(own.problems if own is not None else ())]
    calico_node = evidence.calico_nodes.get(name)
    problems += calico_node.problems if calico_node is not None else ()
    for block in evidence.blocks_by_node.get(name, ()):
        problems += [f"{block.source} {block.name}: {problem}" for problem in block.problems]
    subnet = evidence.subnet_by_node.get(name)
    if subnet is not None:
        problems += [f"HostSubnet {subnet.name}: {problem}" for problem in subnet.problems]
    if node is None and evidence.nodes:
        problems.append("there is no Node of that name (any more)")
    return replace(
        told,
        addresses=_addresses(evidence, told),
        assigned=node.assigned if node is not None else (),
        oddities=tuple(dict.fromkeys([*problems, *told.oddities])),
    )


def _addresses(evidence: Evidence, told: NodeNetwork) -> tuple[IPAddress, ...]:
    """Return the node's InternalIPs; without any, what k3s wrote on it, or by which address its CNI reaches it."""
    node = evidence.node_by_name.get(told.name)
    if node is not None and node.internal:
        return node.internal
    if told.addresses:
        return told.addresses
    found = []
    for text in (node.annotations.get("k3s.io/internal-ip", "") if node is not None else "").split(","):
        try:
            found.append(parsed(text.strip()))
        except ValueError:
            continue
    return tuple(found) or told.endpoints

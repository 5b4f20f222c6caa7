"""Cilium: its ConfigMap says tunnel or native, and which IPAM; its CiliumNodes say where pods are.

The one confusing thing: chaining. On top of another CNI (``cni-chaining-mode`` aws-cni, flannel, generic-veth ...) Cilium
makes no pod network; with ``portmap`` it does. So the DaemonSet alone proves that Cilium runs, not that the network is
its own.
"""

from __future__ import annotations

from isthmus.core.cni.evidence import Evidence, number, prefix
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import CiliumNode, ConfigMap, DaemonSet, PublishedNode
from isthmus.model.resources import IPNetwork

NAME = "cilium"
_MAIN = ("", "none", "portmap")
_PORTS = {"vxlan": 8472, "geneve": 6081}
_CLOUD = ("eni", "azure", "alibabacloud")
_ANNOTATIONS = tuple(
    f"{prefix}ipv{version}-pod-cidr" for prefix in ("network.cilium.io/", "io.cilium.network.") for version in (4, 6)
)
_INTERFACES = {"vxlan": "cilium_vxlan", "geneve": "cilium_geneve"}


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of Cilium."""
    running = evidence.running(_is_cilium)
    config = evidence.config_of("cilium-config", running)
    seen = [f"{one.place} runs cilium-agent" for one in running]
    if evidence.cilium_nodes:
        seen.append(f"CiliumNodes are there: {len(evidence.cilium_nodes)}")
    annotated = [node for node in evidence.nodes if any(key in node.annotations for key in _ANNOTATIONS)]
    if annotated:
        seen.append(f"Cilium's annotations are {evidence.on(annotated)}")
    seen += evidence.up_sight("CiliumIsUp")
    if config is None and not seen:
        return None
    values = config.values if config is not None else {}
    tunnel, how = _tunnel(config)
    ipam = _ipam(evidence)
    if config is not None:
        seen.append(f"{config.place} says {how}, ipam {values.get('ipam') or 'unset'}")
    chained = values.get("cni-chaining-mode", "")
    if chained not in _MAIN:
        seen.append(f"it is chained to another CNI (cni-chaining-mode {chained})")
        return Finding(NAME, sure=bool(running), mode="chained", seen=tuple(seen), network=False)
    if running and config is None:
        seen.append(f"no ConfigMap cilium-config was seen in namespace {running[0].namespace}")
    words = {"none": "native routing", "": ""}.get(tunnel, f"tunnel {tunnel}")
    return Finding(
        NAME,
        sure=bool(running) and config is not None,
        mode=", ".join(part for part in (words, f"ipam {ipam}" if ipam else "") if part),
        seen=tuple(seen),
        tunnels=(tunnel,) if tunnel else (),
        port=number(values.get("tunnel-port")) or _PORTS.get(tunnel),
        mtu=number(values.get("mtu")),
        bgp=values.get("enable-bgp-control-plane") == "true",
    )


def needs(evidence: Evidence) -> str | None:
    """Return the kind of object without which nobody knows where pods are; none where Kubernetes or a cloud says it."""
    return None if _ipam(evidence) in ("kubernetes", *_CLOUD) else "ciliumnodes"


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what Cilium publishes of one node."""
    own, node = evidence.cilium_nodes.get(name), evidence.node_by_name.get(name)
    oddities: list[str] = []
    return NodeNetwork(
        name,
        addresses=own.internal if own is not None else (),
        pod_cidrs=_pod_cidrs(_ipam(evidence), own, node, oddities),
        endpoints=own.internal if own is not None else (),
        tunnel_addresses=own.own if own is not None else (),
        interface=_INTERFACES.get(finding.tunnels[0], "") if finding.tunnels else "",
        mtu=finding.mtu,
        oddities=tuple(oddities),
    )


def _is_cilium(daemon_set: DaemonSet) -> bool:
    container = daemon_set.container("cilium-agent")
    return container is not None and not container.init


def _tunnel(config: ConfigMap | None) -> tuple[str, str]:
    """Return the tunnel ("none" for native routing, empty for not said) and the words that say it."""
    values = config.values if config is not None else {}
    mode, old = values.get("routing-mode"), values.get("tunnel")
    if mode == "native" or (mode is None and old == "disabled"):
        return "none", f"routing-mode {mode}" if mode else f"tunnel {old}"
    if mode == "tunnel":
        protocol = values.get("tunnel-protocol") or old
        said = f"routing-mode tunnel, tunnel-protocol {protocol or 'unset (which is vxlan)'}"
        return protocol or "vxlan", said
    if old is not None:
        return old, f"tunnel {old}"
    return "", "neither routing-mode nor tunnel"


def _ipam(evidence: Evidence) -> str:
    """Return how pods get addresses: as the ConfigMap says, else as the shape of CiliumNodes shows."""
    running = evidence.running(_is_cilium)
    config = evidence.config_of("cilium-config", running)
    if config is not None and config.values.get("ipam"):
        return config.values["ipam"]
    clouds = {node.cloud for node in evidence.cilium_nodes.values()} - {""}
    if len(clouds) == 1:
        return clouds.pop()
    return "multi-pool" if any(node.pools for node in evidence.cilium_nodes.values()) else ""


def _pod_cidrs(
    ipam: str, own: CiliumNode | None, node: PublishedNode | None, oddities: list[str]
) -> tuple[IPNetwork, ...] | None:
    claimed = _annotated(node)
    if ipam in _CLOUD:
        if claimed:
            oddities.append(
                f"its annotation says pod CIDR {claimed[0]}, but pods have addresses of the cloud's network"
            )
        return ()
    if own is not None and own.pools is not None and (own.pools or ipam == "multi-pool"):
        return own.pools
    if own is not None and own.pod_cidrs:
        return own.pod_cidrs
    if ipam == "kubernetes" and node is not None:
        return node.assigned or None
    if ipam in ("cluster-pool", "cluster-pool-v2beta") and claimed:
        return claimed
    if claimed:
        oddities.append(f"its annotation says pod CIDR {claimed[0]}, which some IPAM modes do not use: not believed")
    return None


def _annotated(node: PublishedNode | None) -> tuple[IPNetwork, ...]:
    found = []
    for key in _ANNOTATIONS if node is not None else ():
        try:
            found.append(prefix(node.annotations.get(key, "") if node is not None else ""))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))

"""Calico: pools say how packets travel, blocks say where pods are, and one cluster may mix several ways.

What is believed about encapsulation, best first: IPPool objects; the operator's Installation; the variables from which
calico-node made the first pool at its first start; tunnel addresses on nodes. The block size comes from blocks, never from
the pool: a pool's may have been changed since.

The one confusing thing: Calico without a network. On other CNIs it enforces policy only; the DaemonSet is the same, but
has no init container that installs the CNI plugin.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.core.cni import calico_nodes
from isthmus.core.cni.evidence import Evidence, count, number
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.core.cni.flannel_marks import runs_flanneld
from isthmus.model.published import CalicoPool, ConfigMap, Container, DaemonSet, PublishedNode

NAME = "calico"
_VXLAN_PORT = 4789
_ENCAPSULATIONS = {
    "IPIP": ("ipip", "Always"),
    "IPIPCrossSubnet": ("ipip", "CrossSubnet"),
    "VXLAN": ("vxlan", "Always"),
    "VXLANCrossSubnet": ("vxlan", "CrossSubnet"),
    "None": ("none", ""),
}
"""How an Installation spells what an IPPool says in two fields."""

Way = tuple[str, str]
"""How packets travel (ipip, vxlan, none) and when (Always, CrossSubnet)."""


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of Calico."""
    running = evidence.running(_is_calico)
    owners = [one for one in running if one.container("install-cni") is not None]
    daemon_set = next(iter(owners or running), None)
    config = _config(evidence, daemon_set)
    seen = [_running_sight(one) for one in running]
    if config is not None and not running:
        seen.append(f"{config.place} is there")
    seen += _object_sights(evidence) + _node_sights(evidence)
    if not seen:
        return None
    ways, told = _ways(evidence, daemon_set)
    backend = _backend(evidence, daemon_set)
    if _host_local(evidence):
        seen.append("its IPAM is host-local, so pods are where Kubernetes assigned them")
    if told:
        seen.append(told)
    if backend:
        seen.append(f"its backend is {backend}")
    if running and not owners:
        return Finding(NAME, sure=True, mode="policy only", seen=tuple(seen), network=False)
    routing = {"bird": "BGP", "none": "backend none"}.get(backend, "")
    tunnels = tuple(sorted({way for _, (way, _) in ways}))
    return Finding(
        NAME,
        sure=bool(owners),
        mode=", ".join(part for part in (_mode(ways), routing) if part),
        seen=tuple(seen),
        tunnels=tunnels,
        port=_port(evidence) if "vxlan" in tunnels else None,
        vni=next((one.vxlan_vni for one in evidence.felix if one.vxlan_vni), None) if "vxlan" in tunnels else None,
        mtu=_mtu(evidence, config),
        bgp=backend == "bird",
        doubts=_doubts(evidence),
    )


def needs(evidence: Evidence) -> str | None:
    """Return the kind of object without which nobody knows where pods are; none with host-local IPAM."""
    return None if _host_local(evidence) else "ipamblocks"


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what Calico publishes of one node."""
    return calico_nodes.network(evidence, finding, name, from_assigned=_host_local(evidence))


def _is_calico(daemon_set: DaemonSet) -> bool:
    container = daemon_set.container("calico-node")
    return container is not None and not container.init and not runs_flanneld(daemon_set)


def _running_sight(daemon_set: DaemonSet) -> str:
    installs = daemon_set.container("install-cni") is not None
    what = "and installs its CNI plugin" if installs else "but installs no CNI plugin"
    return f"{daemon_set.place} runs calico-node {what}"


def _config(evidence: Evidence, daemon_set: DaemonSet | None) -> ConfigMap | None:
    return evidence.config("calico-config", daemon_set)


def _object_sights(evidence: Evidence) -> list[str]:
    seen = [f"Installation {one.name} is there" for one in evidence.installations if one.cni in ("", "Calico")]
    if evidence.blocks:
        kinds = " and ".join(sorted({block.source for block in evidence.blocks}))
        blocks = count(len({block.prefix for block in evidence.blocks}), "block")
        seen.append(f"objects {kinds} give {blocks} to {count(len(evidence.blocks_by_node), 'node')}")
    if evidence.calico_nodes:
        seen.append(f"Calico's own Node objects are there for {', '.join(list(evidence.calico_nodes)[:3])}")
    if evidence.pools:
        seen.append(f"IPPools are there: {', '.join(pool.name for pool in evidence.pools[:5])}")
    return seen


def _node_sights(evidence: Evidence) -> list[str]:
    nodes = [node for node in evidence.nodes if _annotated(node)]
    key = calico_nodes.ADDRESS_KEYS[4]
    seen = [f"annotation {key} (or its IPv6 sibling) is {evidence.on(nodes)}"] if nodes else []
    return seen + evidence.up_sight("CalicoIsUp")


def _annotated(node: PublishedNode) -> bool:
    return any(key in node.annotations for key in calico_nodes.ADDRESS_KEYS.values())


def _ways(evidence: Evidence, daemon_set: DaemonSet | None) -> tuple[list[tuple[str, Way]], str]:
    """Return per range how packets travel (the range is empty for all), and the sentence of who says so."""
    pools = [pool for pool in evidence.pools if not pool.disabled]
    if pools:
        named = [(str(pool.prefix or pool.name), _way(pool.ipip, pool.vxlan)) for pool in pools]
        return named, "; ".join(_pool_sight(pool) for pool in pools)
    for one in evidence.installations:
        found = [(str(prefix or ""), _ENCAPSULATIONS[said]) for prefix, said in one.pools if said in _ENCAPSULATIONS]
        if found:
            said = ", ".join(f"{said} for {prefix}" for prefix, said in one.pools)
            return found, f"Installation {one.name} asks for encapsulation {said}"
    container = daemon_set.container("calico-node") if daemon_set is not None else None
    if daemon_set is not None and container is not None and (found := _first_pool(container)):
        said = " and ".join(f"{key}={container.env[key]}" for key in _variables(container))
        return found, f"{daemon_set.place} makes its first pool with {said}"
    return _by_tunnel_address(evidence)


def _first_pool(container: Container) -> list[tuple[str, Way]]:
    keys = _variables(container)
    families = {key.partition("IPV")[2][0] for key in keys}
    if container.env.get("FELIX_IPV6SUPPORT") != "true":
        families -= {"6"}
    found = []
    for family in sorted(families):
        ipip = container.env.get(f"CALICO_IPV{family}POOL_IPIP", "")
        vxlan = container.env.get(f"CALICO_IPV{family}POOL_VXLAN", "")
        found.append((container.env.get(f"CALICO_IPV{family}POOL_CIDR", ""), _way(ipip, vxlan)))
    return found


def _variables(container: Container) -> list[str]:
    keys = [f"CALICO_IPV{family}POOL_{way}" for family in "46" for way in ("IPIP", "VXLAN")]
    return [key for key in keys if key in container.env]


def _by_tunnel_address(evidence: Evidence) -> tuple[list[tuple[str, Way]], str]:
    given: dict[str, list[str]] = {}
    for name in evidence.names:
        for kind in calico_nodes.tunnel_kinds(evidence, name):
            given.setdefault(kind, []).append(name)
    if not given:
        return [], ""
    said = "; ".join(f"node {names[0]} has an address for {kind}" for kind, names in sorted(given.items()))
    return [("", (kind, "")) for kind in sorted(given)], said


def _way(ipip: str, vxlan: str) -> Way:
    if vxlan in ("Always", "CrossSubnet"):
        return ("vxlan", vxlan)
    if ipip in ("Always", "CrossSubnet", "cross-subnet", "always"):
        return ("ipip", "CrossSubnet" if "ross" in ipip else "Always")
    return ("none", "")


def _pool_sight(pool: CalicoPool) -> str:
    return f"IPPool {pool.name} ({pool.prefix}): ipipMode {pool.ipip or 'unset'}, vxlanMode {pool.vxlan or 'unset'}"


def _mode(ways: Iterable[tuple[str, Way]]) -> str:
    by_way: dict[str, list[str]] = {}
    for prefix, (kind, when) in ways:
        by_way.setdefault("no tunnel" if kind == "none" else f"{kind} {when}".strip(), []).append(prefix)
    if len(by_way) <= 1:
        return next(iter(by_way), "")
    return "; ".join(f"{way} for {', '.join(prefixes)}" for way, prefixes in by_way.items())


def _backend(evidence: Evidence, daemon_set: DaemonSet | None) -> str:
    container = daemon_set.container("calico-node") if daemon_set is not None else None
    if daemon_set is not None and container is not None:
        said = container.env.get("CALICO_NETWORKING_BACKEND", "")
        name, key = container.refs.get("CALICO_NETWORKING_BACKEND", ("", ""))
        config = evidence.config(name, daemon_set) if name else None
        said = said or (config.values.get(key, "") if config is not None else "")
        if said:
            return said
    return "bird" if any(one.bgp == "Enabled" for one in evidence.installations) else ""


def _mtu(evidence: Evidence, config: ConfigMap | None) -> int | None:
    said = next((one.mtu for one in evidence.installations if one.mtu), None)
    return said or (number(config.values.get("veth_mtu")) if config is not None else None)


def _port(evidence: Evidence) -> int:
    return next((one.vxlan_port for one in evidence.felix if one.vxlan_port), _VXLAN_PORT)


def _host_local(evidence: Evidence) -> bool:
    """Say whether pods get addresses from what Kubernetes assigned the node, not from Calico's blocks."""
    if any(one.ipam == "HostLocal" for one in evidence.installations):
        return True
    running = evidence.running(_is_calico)
    config = _config(evidence, running[0] if running else None)
    return config is not None and config.values.get("cni_network_config:plugins.0.ipam.type") == "host-local"


def _doubts(evidence: Evidence) -> tuple[str, ...]:
    return tuple(
        f"IPPool {pool.name} ({pool.prefix}) is disabled: no new pod gets an address there, old ones may have one"
        for pool in evidence.pools
        if pool.disabled
    )

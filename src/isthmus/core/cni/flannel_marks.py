"""What flanneld writes on nodes, for flannel itself and for Canal, which is flannel with Calico's policy.

Annotations ``flannel.alpha.coreos.com/``: ``backend-type`` is the mode at work; ``backend-data`` is JSON with VTEP MAC and
VNI for VXLAN, "null" or a plain string for others; a second set has ``-v6`` in it. flanneld writes them at its start and
nobody takes them away, so they tell what flannel did last, not that it runs.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import msgspec

from isthmus.core.attachment import is_station
from isthmus.core.cni.evidence import Evidence, number
from isthmus.core.cni.evidence import address as parsed
from isthmus.core.cni.finding import Finding, NodeNetwork, Vtep
from isthmus.model.published import ConfigMap, DaemonSet, PublishedNode
from isthmus.model.resources import IPNetwork

PREFIX = "flannel.alpha.coreos.com/"
_KEYS = {4: ("backend-data", "public-ip"), 6: ("backend-v6-data", "public-ipv6")}
_TUNNELS = {
    "vxlan": "vxlan",
    "host-gw": "none",
    "udp": "udp",
    "wireguard": "wireguard",
    "ipip": "ipip",
    "ipsec": "ipsec",
}
_PORTS = {"vxlan": 8472, "udp": 8285, "wireguard": 51820}
"""flannel's own defaults on Linux."""
_WINDOWS_VNI, _WINDOWS_PORT = 4096, 4789
"""What a cluster with Windows nodes has to use, on all of its nodes."""


def runs_flanneld(daemon_set: DaemonSet) -> bool:
    """Say whether a container of it runs flanneld, or whether it mounts flannel's ConfigMap under flannel's name."""
    for container in daemon_set.containers:
        if not container.init and (container.name == "kube-flannel" or "flanneld" in _program(container.words)):
            return True
    mounts = "kube-flannel-cfg" in daemon_set.config_maps
    return mounts and not daemon_set.containers and daemon_set.name.startswith("kube-flannel")


def backend(node: PublishedNode) -> str | None:
    """Return flannel's backend on that node: what it says, or VXLAN where it says nothing but has a VTEP MAC."""
    said = node.annotations.get(f"{PREFIX}backend-type", "").strip()
    if said:
        return said
    return "vxlan" if any(_data(node, version).get("VtepMAC") for version in _KEYS) else None


def backends(evidence: Evidence) -> dict[str, list[PublishedNode]]:
    """Return the nodes by flannel's backend on them."""
    found: dict[str, list[PublishedNode]] = {}
    for node in evidence.nodes:
        said = backend(node)
        if said is not None:
            found.setdefault(said, []).append(node)
    return dict(sorted(found.items()))


def sights(evidence: Evidence) -> list[str]:
    """Return what nodes tell of flannel, a sentence a backend."""
    return [
        f"annotation {PREFIX}backend-type is {said} {evidence.on(nodes)}"
        if any(f"{PREFIX}backend-type" in node.annotations for node in nodes)
        else f"annotation {PREFIX}backend-data has a VtepMAC {evidence.on(nodes)}"
        for said, nodes in backends(evidence).items()
    ]


def configured(config: ConfigMap | None) -> str | None:
    """Return the backend that the ConfigMap's net-conf.json asks for."""
    return config.values.get("net-conf.json:Backend.Type") or None if config is not None else None


def modes(evidence: Evidence, config: ConfigMap | None) -> tuple[str, ...]:
    """Return flannel's modes: those on the nodes, for they are at work; else the configured one."""
    at_work = tuple(backends(evidence))
    wanted = configured(config)
    return at_work or ((wanted,) if wanted else ())


def doubts(evidence: Evidence, config: ConfigMap | None) -> tuple[str, ...]:
    """Return where nodes and ConfigMap disagree."""
    wanted, at_work = configured(config), backends(evidence)
    if config is None or wanted is None:
        return ()
    return tuple(
        f"{config.place} asks for backend {wanted}, but {said} is at work {evidence.on(nodes)}: "
        "flanneld takes a new backend at its next start"
        for said, nodes in at_work.items()
        if said != wanted
    )


def ranges(config: ConfigMap | None) -> tuple[IPNetwork, ...]:
    """Return flannel's networks as its net-conf.json says them; what does not parse is none."""
    found: list[IPNetwork] = []
    for key in ("Network", "IPv6Network"):
        text = config.values.get(f"net-conf.json:{key}", "") if config is not None else ""
        with suppress(ValueError):
            found.append(ip_network(text))
    return tuple(found)


def tunnels(found: tuple[str, ...]) -> tuple[str, ...]:
    """Return how packets travel in those modes; "extension" runs somebody's scripts, and tells nothing."""
    return tuple(sorted({_TUNNELS[mode] for mode in found if mode in _TUNNELS}))


def vni(evidence: Evidence, found: tuple[str, ...], config: ConfigMap | None) -> int | None:
    """Return the VNI if there is one for all."""
    if found != ("vxlan",):
        return None
    said = {_vni(_data(node, 4)) or _vni(_data(node, 6)) for node in evidence.nodes} - {None}
    wanted = number(config.values.get("net-conf.json:Backend.VNI")) if config is not None else None
    return said.pop() if len(said) == 1 else wanted if not said else None


def port(evidence: Evidence, found: tuple[str, ...], config: ConfigMap | None) -> int | None:
    """Return the UDP port of the tunnels."""
    values = config.values if config is not None else {}
    said = number(values.get("net-conf.json:Backend.Port")) or number(values.get("net-conf.json:Backend.ListenPort"))
    if said is None and vni(evidence, found, config) == _WINDOWS_VNI:
        return _WINDOWS_PORT
    return said or (next((_PORTS[mode] for mode in found if mode in _PORTS), None) if len(found) == 1 else None)


def network(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what flannel publishes of one node: pods are where Kubernetes assigned them, the VTEP is in annotations."""
    node = evidence.node_by_name.get(name)
    if node is None:
        return NodeNetwork(name)
    oddities: list[str] = []
    ends = tuple(end for version in _KEYS if (end := _vtep(node, version, oddities)) is not None)
    addresses = tuple(end.address for end in ends if end.address is not None)
    number_there = next((end.vni for end in ends if end.vni), finding.vni)
    linux_vxlan = backend(node) == "vxlan" and number_there and not node.windows
    return NodeNetwork(
        name,
        pod_cidrs=node.assigned or None,
        endpoints=addresses,
        vteps=ends,
        interface=f"flannel.{number_there}" if linux_vxlan and number_there != _WINDOWS_VNI else "",
        oddities=tuple(oddities),
    )


def _vtep(node: PublishedNode, version: int, oddities: list[str]) -> Vtep | None:
    data_key, address_key = (PREFIX + key for key in _KEYS[version])
    if data_key not in node.annotations and address_key not in node.annotations:
        return None
    data, address, mac = _data(node, version), None, None
    if address_key in node.annotations:
        text = node.annotations[address_key]
        try:
            address = parsed(text)
        except ValueError:
            oddities.append(f"annotation {address_key} is no address: {text!r}")
        if address is not None and (address.version != version):
            oddities.append(f"annotation {address_key} is no IPv{version} address: {text!r}")
            address = None
    same_family = [own for own in node.internal if own.version == version]
    overwritten = node.annotations.get(f"{address_key}-overwrite") == str(address)
    if address is not None and same_family and address not in same_family and not overwritten:
        listed = ", ".join(map(str, same_family))
        oddities.append(f"flannel reaches it at {address}, which is none of its InternalIPs ({listed})")
    if backend(node) == "vxlan":
        mac = _mac(node, data, data_key, oddities)
    return Vtep(address, mac, _vni(data))


def _mac(node: PublishedNode, data: dict[str, Any], key: str, oddities: list[str]) -> str | None:
    said = data.get("VtepMAC")
    if isinstance(said, str) and is_station(said.lower()):
        return said.lower()
    text = node.annotations.get(key)
    if text is None:
        oddities.append(f"annotation {key} is missing, so its VTEP MAC is not known")
    elif not data:
        oddities.append(f"annotation {key} is no JSON object, so its VTEP MAC is not known: {text[:80]!r}")
    else:
        oddities.append(f"annotation {key} holds no usable VtepMAC: {said!r}"[:200])
    return None


def _data(node: PublishedNode, version: int) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(node.annotations.get(PREFIX + _KEYS[version][0], ""))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _vni(data: dict[str, Any]) -> int | None:
    said = data.get("VNI")
    return said if isinstance(said, int) and not isinstance(said, bool) and 0 < said < 2**24 else None


def _program(words: tuple[str, ...]) -> str:
    return words[0].rpartition("/")[2] if words else ""

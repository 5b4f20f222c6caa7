"""What an overlay is made of, as another program needs it to build the other end: the router's keys, and one document.

The keys are the old router's: text, IPv4, one family of keys per node. Beside them stands ``overlay.json`` with everything,
both families and numbers as numbers. A ConfigMap holds one MiB; what does not fit goes into numbered ones that the first one
names.

The marker ``Node-<address>`` is what readers wait for, so it never stands where the rest of its node does not: all keys of
a node are in one ConfigMap, and a ConfigMap is written as a whole. A node stays where it is once it stands somewhere.

Pure: from facts to texts, no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from isthmus.core import attachment
from isthmus.core.ground import Ground
from isthmus.core.paths import overlay
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import ZERO_MAC, IPAddress, IPInterface, IPNetwork

__all__ = [
    "DOCUMENT",
    "MOST",
    "Endpoint",
    "Node",
    "Overlay",
    "ours",
    "overlay_of",
    "parts_of",
    "shards",
    "standing_in",
]

DOCUMENT = "overlay.json"
MOST = 1_000_000
"""Bytes of keys and values that we put into one ConfigMap; the API takes 1,048,576."""

_VERSION = 1
_MOST_PARTS = 999
_FIRST = ("EndpointIP", "Type", "VTEP", DOCUMENT)
_FAMILIES = re.compile(r"(Host|Node|Interface|Mac|CNI)-")
_LONGEST_KEY = 253
# The interface that each CNI has on its nodes, as the old router put it behind the CNI's name.
_INTERFACES = {
    "flannel": "cni0",
    "canal": "flannel.1",
    "calico": "tunl0",
    "cilium": "cilium_host",
    "weave": "weave",
    "antrea": "antrea-gw0",
    "ovn-kubernetes": "ovn-k8s-mp0",
    "openshift-sdn": "tun0",
    "kube-router": "kube-bridge",
    "kindnet": "eth0",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A device on the overlay. Without a ``mac`` it may send from any: nodes find it by asking."""

    name: str
    vtep: IPAddress
    addresses: tuple[IPInterface, ...]
    mac: str = ""


@dataclass(frozen=True)
class Node:
    """A node on the overlay: its own addresses, its tunnel end (one of them), its place in the overlay, its pods.

    Its texts are made once: of thousands of nodes one has changed.
    """

    name: str
    id: str
    addresses: tuple[IPAddress, ...]
    vtep: IPAddress
    interfaces: tuple[IPInterface, ...]
    mac: str
    pod_cidrs: tuple[IPNetwork, ...]

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """Return the router's keys; a node that has no IPv4 there stands in the document alone."""
        address = next((one for one in (self.vtep, *self.addresses) if one.version == 4), None)
        inside = next((one for one in self.interfaces if one.version == 4), None)
        if address is None or inside is None:
            return {}
        return {
            f"Host-{self.id}": str(address),
            f"Interface-{address}": str(inside.ip),
            **({f"Mac-{address}": self.mac} if self.mac else {}),
            f"CNI-{address}": ",".join(str(cidr) for cidr in self.pod_cidrs if cidr.version == 4),
            f"Node-{address}": str(address),
        }

    @cached_property
    def told(self) -> str:
        """Return what the document says of it, as JSON."""
        return _compact(
            {
                "name": self.name,
                "addresses": [str(address) for address in self.addresses],
                "vtep": str(self.vtep),
                "overlay": [str(interface) for interface in self.interfaces],
                "mac": self.mac or None,
                "podCIDRs": [str(cidr) for cidr in self.pod_cidrs],
            }
        )

    @cached_property
    def size(self) -> int:
        """Return how many bytes of a ConfigMap it takes."""
        return sum(len(key) + len(text.encode()) for key, text in self.keys.items()) + len(self.told.encode()) + 1


@dataclass(frozen=True, slots=True)
class Overlay:
    """All of an overlay. ``mtu`` is that inside of it; ``cni`` is empty where nobody knows it."""

    type: str
    vni: int
    port: int
    mtu: int
    networks: tuple[IPNetwork, ...]
    endpoints: tuple[Endpoint, ...]
    nodes: tuple[Node, ...]
    cni: str = ""


Known = dict[str, tuple[NodeFacts, int, Node | None]]
"""What a node came to when it was last looked at, by its name."""


def overlay_of(grounds: Sequence[Ground], cni: str = "", known: Known | None = None) -> Overlay | None:
    """Return the overlay of a link as it is assigned now, or none while no device of it has its place.

    ``grounds`` are the link's devices; a node without a place is left out until it has one. ``known`` is what is remembered
    from one call to the next, so that a node that has not changed costs next to nothing.
    """
    spec = grounds[0].link.spec.overlay if grounds else None
    ends = [(ground, tunnel) for ground in grounds if (tunnel := overlay.device_tunnel(ground)) is not None]
    endpoints = tuple(
        Endpoint(ground.device_name, tunnel.local, own, "" if tunnel.mac == ZERO_MAC else tunnel.mac)
        for ground, tunnel in ends
        if (own := overlay.own_addresses(ground))
    )
    if spec is None or not endpoints:
        return None
    key = attachment.annotation(grounds[0].link_name)
    before: Known = {} if known is None else dict(known)
    now: Known = {}
    found = [_once(node, key, endpoints[0].vtep.version, before, now) for node in grounds[0].nodes()]
    if known is not None:
        known.clear()
        known.update(now)  # without those that are gone
    return Overlay(
        type=spec.encapsulation.upper(),
        vni=spec.vni,
        port=spec.port,
        mtu=min(tunnel.mtu for _, tunnel in ends),
        networks=spec.networks,
        endpoints=endpoints,
        nodes=tuple(node for node in found if node is not None),
        cni=cni,
    )


def _once(facts: NodeFacts, key: str, version: int, before: Known, now: Known) -> Node | None:
    known = before.get(facts.name)
    if known is None or known[0] is not facts or known[1] != version:
        known = facts, version, _node(facts, key, version)
    now[facts.name] = known
    return known[2]


def _node(facts: NodeFacts, key: str, version: int) -> Node | None:
    text, vtep = facts.annotations.get(key), facts.address(version)
    if text is None or vtep is None:
        return None
    try:
        attached = attachment.parse(text)
    except ValueError:
        return None
    # The old router labelled its nodes; whoever keyed something by that id finds it again.
    id = facts.labels.get("NodeID", "").removeprefix("Node-") or facts.name
    if len(f"Host-{id}") > _LONGEST_KEY:
        id = facts.uid or id[: _LONGEST_KEY - len("Host-")]
    # IP in IP has no Ethernet inside, so no MAC either.
    mac = attached.mac if attached.encapsulation == "vxlan" else ""
    return Node(facts.name, id, facts.addresses, vtep, attached.addresses, mac, facts.pod_cidrs)


# --- into ConfigMaps --------------------------------------------------------------------------------------------


def ours(key: str) -> bool:
    """Say whether ``key`` is one that we write: the router's, and the document. Others are somebody else's."""
    return key in _FIRST or _FAMILIES.match(key) is not None


def standing_in(data: Mapping[str, str]) -> frozenset[str]:
    """Return the names of the nodes that stand in a ConfigMap of ours."""
    listed = _listed(data, "nodes")
    return frozenset(str(node.get("name")) for node in listed if isinstance(node, Mapping))


def parts_of(data: Mapping[str, str], name: str) -> list[str]:
    """Return the numbered ConfigMaps that the first one, called ``name``, says there are."""
    return [_part(name, number) for number in range(1, len(_listed(data, "parts")) + 1)]


def _listed(data: Mapping[str, str], key: str) -> list[Any]:
    try:
        found = json.loads(data.get(DOCUMENT, "{}")).get(key)
    except (ValueError, AttributeError, RecursionError):
        return []  # somebody else's text: it is written anew
    return (
        found[:_MOST_PARTS]
        if isinstance(found, list) and key == "parts"
        else found
        if isinstance(found, list)
        else []
    )


def shards(
    what: Overlay,
    name: str,
    standing: Sequence[frozenset[str]] = (),
    foreign: Sequence[int] = (),
    most: int = MOST,
) -> list[dict[str, str]]:
    """Return the data of each ConfigMap: the first, called ``name``, and as many numbered ones as are needed or stand.

    ``standing`` are the nodes that stand in each now, ``foreign`` the bytes that are somebody else's there.
    """
    nodes = _apart(what.nodes)
    home = {node: index for index, names in reversed(list(enumerate(standing))) for node in names}
    held: list[list[Node]] = [[] for _ in standing] or [[]]
    header = len(_compact(_head(what, [_part(name, number) for number in range(1, 100)]))) + 1000
    left = [
        most - (header if index == 0 else 200) - (foreign[index] if index < len(foreign) else 0)
        for index in range(len(held))
    ]
    waiting: list[Node] = []
    for node in nodes:
        index = home.get(node.name, -1)
        size = node.size
        if index < 0 or left[index] < size:
            waiting.append(node)
            continue
        held[index].append(node)
        left[index] -= size
    for node in waiting:
        size = node.size
        index = next((index for index, room in enumerate(left) if room >= size), len(held))
        if index == len(held):
            held.append([])
            left.append(most - 200)
        held[index].append(node)
        left[index] -= size
    parts = [_part(name, number) for number in range(1, len(held))]
    first = {"EndpointIP": _first_v4(what), "Type": what.type, "VTEP": _vtep(what)}
    documents = [_head(what, parts), *({"version": _VERSION, "partOf": name} for _ in parts)]
    return [
        {
            **({key: text for key, text in first.items() if text} if index == 0 else {}),
            **{key: text for node in members for key, text in node.keys.items()},
            DOCUMENT: f'{_compact(document)[:-1]},"nodes":[{",".join(node.told for node in members)}]}}',
        }
        for index, (document, members) in enumerate(zip(documents, held, strict=True))
    ]


def _part(name: str, number: int) -> str:
    return f"{name}-{number}"


def _apart(nodes: Iterable[Node]) -> list[Node]:
    """Return ``nodes`` by name, the first of those that claim one address: keys are by address, and must be one node's."""
    taken: set[IPAddress] = set()
    found = []
    for node in sorted(nodes, key=lambda one: one.name):
        if node.vtep not in taken:
            taken.add(node.vtep)
            found.append(node)
    return found


def _head(what: Overlay, parts: Sequence[str]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "type": what.type,
        "vni": what.vni,
        "port": what.port,
        "mtu": what.mtu,
        "networks": [str(network) for network in what.networks],
        "endpoints": [
            {
                "name": endpoint.name,
                "vtep": str(endpoint.vtep),
                "overlay": [str(interface) for interface in endpoint.addresses],
                "mac": endpoint.mac or None,
            }
            for endpoint in what.endpoints
        ],
        "parts": list(parts),
    }


def _first_v4(what: Overlay) -> str:
    inside = (one.ip for endpoint in what.endpoints for one in endpoint.addresses if one.version == 4)
    return next((str(address) for address in inside), "")


def _vtep(what: Overlay) -> str:
    return f"{what.cni}{_INTERFACES.get(what.cni, '')}" if what.cni else ""


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))

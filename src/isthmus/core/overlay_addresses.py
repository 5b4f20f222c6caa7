"""Who has which address on an overlay: the devices at its upper end, the nodes from its lower end, each once and for good.

A node's address lives in its own annotation, a device's in the record the caller keeps; neither depends on the order in
which anything appeared, because what is recorded is never computed again. Network and broadcast address of an IPv4 network
(RFC 919, RFC 3021 for /31) and the subnet-router anycast of an IPv6 network (RFC 4291, 2.6.1) are given to nobody.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

from isthmus.core import attachment
from isthmus.core.attachment import Attachment, Peer, unused_mac
from isthmus.core.ground import Ground
from isthmus.core.paths import overlay
from isthmus.core.world import World
from isthmus.model.facts import NodeFacts
from isthmus.model.kinds import ClusterLink
from isthmus.model.kinds.addresses import address_of
from isthmus.model.resources import IPAddress, IPInterface, IPNetwork


def usable(network: IPNetwork) -> tuple[int, int]:
    """Return the first and last address of ``network`` that somebody may have, as integers."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4:
        return first + 1, last - 1
    return first + 1, last


def device_addresses(
    link: ClusterLink, recorded: Mapping[str, tuple[IPInterface, ...]], nodes: Container[IPAddress] = ()
) -> dict[str, tuple[IPInterface, ...]]:
    """Return the overlay addresses of every device of ``link``: the recorded ones that still fit, else the highest free.

    ``nodes`` are the addresses that nodes have, as far as they are known: a device that joins later takes none of them.
    A network too small for all its devices leaves the last ones without an address.
    """
    assert link.spec.overlay is not None, "asked for a link with an overlay"
    result: dict[str, tuple[IPInterface, ...]] = {}
    for network in link.spec.overlay.networks:
        first, last = usable(network)
        kept: dict[str, int] = {}
        for device in (*link.spec.devices, *sorted(recorded.keys() - set(link.spec.devices))):
            found = next((int(a.ip) for a in recorded.get(device, ()) if a.network == network), None)
            if found is not None and first <= found <= last and found not in kept.values():
                kept[device] = found
        taken = set(kept.values())
        candidate = last
        for device in link.spec.devices:
            number = kept.get(device)
            if number is None:
                while candidate in taken or (candidate >= first and _address(candidate, network) in nodes):
                    candidate -= 1
                if candidate < first:
                    continue
                taken.add(candidate)
                number = candidate
            result[device] = (*result.get(device, ()), _interface(number, network))
    return result


class OverlayAddresses:
    """The addresses and MACs of one link's nodes; kept between calls so that one more node costs no scan of the others.

    Two nodes may say that they have one address (a Node copied, a backup restored): it is the older one's, whichever was
    heard of first. What was proposed to a node stays its own until its annotation says so or the node is gone.
    """

    def __init__(self, world: World, link: str) -> None:
        self._world = world
        self._link = link
        self._held: dict[str, _Held] = {}
        self._claims: dict[IPAddress | str, tuple[str, ...]] = {}  # nearly always of one
        self._proposed: dict[str, dict[IPNetwork | None, IPAddress | str]] = {}
        self._next: dict[IPNetwork, int] = {}
        self._devices: set[IPAddress] = set()

    def __contains__(self, address: object) -> bool:
        """Say whether some node has ``address`` or was proposed it."""
        return address in self._claims

    def learn(self, node: str, facts: NodeFacts | None) -> set[str]:
        """Take what a node's annotation says it has (none: the node is gone and its address free again).

        Return the other nodes that have, or were proposed, some of it: one of them must give way.
        """
        attached = self._read(facts)
        if facts is None or attached is not None:
            for value in self._proposed.pop(node, {}).values():
                self._unclaim(value, node)
        held = self._held.pop(node, None)
        for value in held.values if held is not None else ():
            self._unclaim(value, node)
        if facts is None or attached is None:
            return set()
        rivals: set[str] = set()
        values = (*(address.ip for address in attached.addresses), attached.mac)
        self._held[node] = _Held(facts.created, values)
        for value in values:
            others = tuple(name for name in self._claims.get(value, ()) if name != node)
            self._claims[value] = (*others, node)
            rivals.update(others)
        return rivals

    def attachment(self, ground: Ground, node: NodeFacts, grounds: Iterable[Ground]) -> Attachment | str:
        """Return the node's attachment as it should be, or the sentence that says why there is none.

        What the node has already stays, unless it lies outside the link's networks or an older node has it too.
        ``grounds`` are the link's devices as far as they are known.
        """
        link, grounds = ground.link, tuple(grounds)
        if link.spec.overlay is None:
            return f"ClusterLink {link.name} has no overlay network"
        taken = overlay.refused_port(ground)
        if taken is not None and self._read(node) is None:
            return f"{taken}; choose another spec.overlay.port of ClusterLink {link.name}"
        peers = tuple(_peers(grounds))
        tunnels = [tunnel for g in grounds if (tunnel := overlay.device_tunnel(g)) is not None]
        if not peers or not tunnels:
            return f"no device of ClusterLink {link.name} has a tunnel end yet"
        # Also those of devices that are not observed yet: they come, and their addresses are assigned.
        devices = {a.ip for (of, _), own in self._world.device_addresses.items() if of == link.name for a in own}
        if devices != self._devices:
            self._devices = devices
            self._next.clear()
        had = self._read(node)
        addresses: list[IPInterface] = []
        for network in link.spec.overlay.networks:
            kept = next((a for a in had.addresses if a.network == network), None) if had is not None else None
            if kept is None or kept.ip in devices or not _within(kept, network) or not self._owns(node.name, kept.ip):
                found = self._propose(node.name, network, devices)
                if found is None:
                    return (
                        f"overlay network {network} is too small: no address is left for node {node.name} "
                        "(give the link a larger one, or a nodeSelector)"
                    )
                kept = _interface(int(found), network)
            addresses.append(kept)
        # A device that nobody describes any more may be a mistake in the configuration, not an order: its way back stays.
        gone = [p for p in had.peers if p.device not in self._world.devices] if had is not None else []
        peers = (*peers, *sorted(gone, key=lambda peer: peer.device))
        macs = {peer.mac for peer in peers}
        mac = had.mac if had is not None and had.mac not in macs and self._owns(node.name, had.mac) else None
        if mac is None:
            mac = self._propose_mac(node, macs)
        return Attachment(
            tuple(addresses),
            mac,
            link.spec.overlay.vni,
            link.spec.overlay.port,
            min(tunnel.mtu for tunnel in tunnels),
            peers,
            link.spec.overlay.encapsulation,
            link.spec.direct_return,
        )

    def _read(self, facts: NodeFacts | None) -> Attachment | None:
        text = facts.annotations.get(attachment.annotation(self._link)) if facts is not None else None
        if text is None:
            return None
        try:
            return attachment.parse(text)
        except ValueError:
            return None  # it is written anew; the node's scope says why until then

    def _owns(self, node: str, value: IPAddress | str) -> bool:
        """Say whether ``value`` is the node's: of all who have it the oldest; who has it goes before who is to get it."""
        claimants = [
            name for name in self._claims.get(value, ()) if name in self._held and value in self._held[name].values
        ]
        if not claimants:
            return node in self._claims.get(value, (node,))
        return min(claimants, key=lambda name: (self._held[name].created, name)) == node

    def _unclaim(self, value: IPAddress | str, node: str) -> None:
        claimants = tuple(name for name in self._claims.get(value, ()) if name != node)
        if claimants:
            self._claims[value] = claimants
        elif self._claims.pop(value, None) is not None:
            self._next.clear()

    def _propose(self, node: str, network: IPNetwork, devices: Container[IPAddress]) -> IPAddress | None:
        """Return the address proposed for ``node`` already, or the lowest free one, which is then kept for it."""
        proposed = self._proposed.setdefault(node, {})
        address = proposed.get(network)
        if address is not None and address not in devices and self._owns(node, address):
            assert not isinstance(address, str), "networks have addresses"
            return address
        if address is not None:
            self._unclaim(proposed.pop(network), node)
        free = self._lowest_free(network, devices)
        if free is not None:
            proposed[network] = free
            self._claims[free] = (node,)
        return free

    def _propose_mac(self, node: NodeFacts, devices: Container[str]) -> str:
        proposed = self._proposed.setdefault(node.name, {})
        mac = proposed.get(None)
        if not isinstance(mac, str) or mac in devices or not self._owns(node.name, mac):
            if mac is not None:
                self._unclaim(mac, node.name)
            mac = unused_mac(
                lambda mac: mac in self._claims or mac in devices, "overlay", self._link, node.name, node.uid
            )
            proposed[None] = mac
            self._claims[mac] = (node.name,)
        return mac

    def _lowest_free(self, network: IPNetwork, devices: Container[IPAddress]) -> IPAddress | None:
        first, last = usable(network)
        for candidate in range(max(first, self._next.get(network, first)), last + 1):
            address = _address(candidate, network)
            if address not in self._claims and address not in devices:
                self._next[network] = candidate
                return address
        self._next[network] = last + 1  # a full network is not searched again for every node that waits
        return None


class _Held(NamedTuple):
    created: str
    values: tuple[IPAddress | str, ...]


def _peers(grounds: Iterable[Ground]) -> Iterable[Peer]:
    for ground in grounds:
        tunnel, own = overlay.device_tunnel(ground), overlay.own_addresses(ground)
        if tunnel is not None and own:
            yield Peer(ground.device_name, tunnel.local, tunnel.mac, tuple(address.ip for address in own))


def _within(address: IPInterface, network: IPNetwork) -> bool:
    first, last = usable(network)
    return first <= int(address.ip) <= last


def _address(number: int, network: IPNetwork) -> IPAddress:
    return address_of(number, 4 if network.version == 4 else 6)


def _interface(number: int, network: IPNetwork) -> IPInterface:
    if network.version == 4:
        return IPv4Interface((number, network.prefixlen))
    return IPv6Interface((number, network.prefixlen))

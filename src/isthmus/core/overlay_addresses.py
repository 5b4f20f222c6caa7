"""Who has which address on an overlay: the devices at its upper end, the nodes from its lower end, each once and for good.

A node's address lives in its own annotation, a device's in the record the caller keeps; neither depends on the order in
which anything appeared, because what is recorded is never computed again. Network and broadcast address of an IPv4 network
(RFC 919, RFC 3021 for /31) and the subnet-router anycast of an IPv6 network (RFC 4291, 2.6.1) are given to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Interface, IPv6Interface

from isthmus.core import attachment
from isthmus.core.attachment import Attachment, Peer, unused_mac
from isthmus.core.ground import Ground
from isthmus.core.paths import overlay
from isthmus.core.world import World
from isthmus.model.facts import NodeFacts
from isthmus.model.kinds import ClusterLink
from isthmus.model.kinds.addresses import address_of
from isthmus.model.resources import IPInterface, IPNetwork


def usable(network: IPNetwork) -> tuple[int, int]:
    """Return the first and last address of ``network`` that somebody may have, as integers."""
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.version == 4:
        return first + 1, last - 1
    return first + 1, last


def device_addresses(
    link: ClusterLink, recorded: Mapping[str, tuple[IPInterface, ...]]
) -> dict[str, tuple[IPInterface, ...]]:
    """Return the overlay addresses of every device of ``link``: the recorded ones that still fit, else the highest free.

    A network too small for all its devices leaves the last ones without an address.
    """
    assert link.spec.overlay is not None, "asked for a link with an overlay"
    result: dict[str, tuple[IPInterface, ...]] = {}
    fitting = {
        device: {a.version: a for a in addresses if a.network in link.spec.overlay.networks}
        for device, addresses in recorded.items()
    }
    for network in link.spec.overlay.networks:
        first, last = usable(network)
        taken = {int(found[network.version].ip) for found in fitting.values() if network.version in found}
        candidate = last
        for device in link.spec.devices:
            kept = fitting.get(device, {}).get(network.version)
            if kept is None:
                while candidate in taken:
                    candidate -= 1
                if candidate < first:
                    continue
                taken.add(candidate)
                kept = _interface(candidate, network)
            result[device] = (*result.get(device, ()), kept)
    return result


class OverlayAddresses:
    """The addresses and MACs of one link's nodes; kept between calls so that one more node costs no scan of the others."""

    def __init__(self, world: World, link: str) -> None:
        self._world = world
        self._link = link
        self._held: dict[str, tuple[frozenset[tuple[int, int]], str]] = {}
        self._taken: dict[tuple[int, int], str] = {}
        self._macs: dict[str, str] = {}
        self._next: dict[IPNetwork, int] = {}
        self._proposed: dict[str, dict[IPNetwork, int]] = {}

    def learn(self, node: str, facts: NodeFacts | None) -> None:
        """Take what a node's annotation says it has (none: the node is gone and its address free again)."""
        numbers, mac = self._held.pop(node, (frozenset[tuple[int, int]](), ""))
        proposed = {(network.version, number) for network, number in self._proposed.pop(node, {}).items()}
        for number in numbers | proposed:
            if self._taken.get(number) == node:
                del self._taken[number]
                self._next.clear()
        if self._macs.get(mac) == node:
            del self._macs[mac]
        attached = self._read(facts)
        if attached is None:
            return
        numbers = frozenset((address.version, int(address.ip)) for address in attached.addresses)
        self._held[node] = (numbers, attached.mac)
        for number in numbers:
            self._taken.setdefault(number, node)
        self._macs.setdefault(attached.mac, node)

    def attachment(self, ground: Ground, node: NodeFacts, grounds: Iterable[Ground]) -> Attachment | str:
        """Return the node's attachment as it should be, or the sentence that says why there is none.

        What the node has already stays, unless it lies outside the link's networks or an older node has it too.
        ``grounds`` are the link's devices as far as they are known.
        """
        link = ground.link
        if link.spec.overlay is None:
            return f"ClusterLink {link.name} has no overlay network"
        peers = tuple(self._peers(grounds))
        tunnels = [tunnel for g in grounds if (tunnel := overlay.device_tunnel(g)) is not None]
        if not peers or not tunnels:
            return f"no device of ClusterLink {link.name} has a tunnel end yet"
        devices: set[tuple[int, int]] = {(a.version, int(a.ip)) for g in grounds for a in self._of_device(g)}
        had = self._read(node)
        addresses: list[IPInterface] = []
        for network in link.spec.overlay.networks:
            kept = next((a for a in had.addresses if a.network == network), None) if had is not None else None
            number = None if kept is None else (kept.version, int(kept.ip))
            if number is None or number in devices or self._taken.get(number, node.name) != node.name:
                found = self._propose(node.name, network, devices)
                if found is None:
                    return f"overlay network {network} is too small: no address is left for node {node.name}"
                kept = _interface(found, network)
            assert kept is not None, "kept, or just found"
            addresses.append(kept)
        mac = had.mac if had is not None and self._macs.get(had.mac, node.name) == node.name else None
        if mac is None:
            taken = {*self._macs, *(peer.mac for peer in peers)}
            mac = unused_mac(taken, "overlay", link.name, node.name, node.uid)
        return Attachment(
            tuple(addresses),
            mac,
            link.spec.overlay.vni,
            link.spec.overlay.port,
            min(tunnel.mtu for tunnel in tunnels),
            peers,
        )

    def _peers(self, grounds: Iterable[Ground]) -> Iterable[Peer]:
        for ground in grounds:
            tunnel, own = overlay.device_tunnel(ground), self._of_device(ground)
            if tunnel is not None and own:
                yield Peer(ground.device_name, tunnel.local, tunnel.mac, tuple(address.ip for address in own))

    def _of_device(self, ground: Ground) -> tuple[IPInterface, ...]:
        return self._world.device_addresses.get((self._link, ground.device_name), ())

    def _read(self, facts: NodeFacts | None) -> Attachment | None:
        text = facts.annotations.get(attachment.annotation(self._link)) if facts is not None else None
        if text is None:
            return None
        try:
            return attachment.parse(text)
        except ValueError:
            return None  # it is written anew; the node's scope says why until then

    def _propose(self, node: str, network: IPNetwork, devices: set[tuple[int, int]]) -> int | None:
        """Return the address proposed for ``node`` already, or the lowest free one, which is then kept for it."""
        proposed = self._proposed.setdefault(node, {})
        number = proposed.get(network)
        if number is None or (network.version, number) in devices:
            number = self._lowest_free(network, devices)
            if number is None:
                return None
            proposed[network] = number
            self._taken[network.version, number] = node
        return number

    def _lowest_free(self, network: IPNetwork, devices: set[tuple[int, int]]) -> int | None:
        first, last = usable(network)
        for candidate in range(max(first, self._next.get(network, first)), last + 1):
            if (network.version, candidate) not in self._taken and (network.version, candidate) not in devices:
                self._next[network] = candidate
                return candidate
        return None


def _interface(number: int, network: IPNetwork) -> IPInterface:
    address = address_of(number, 4 if network.version == 4 else 6)
    if network.version == 4:
        return IPv4Interface((int(address), network.prefixlen))
    return IPv6Interface((int(address), network.prefixlen))

"""Resources as elements of our nft maps, and elements as resources again, exactly.

What a slot map says is not enough to read a service back (is a member with half the slots light, or is the share just
uneven?), so a weight other than 1 is written down in a map of its own, and 0 there is a member that drains. So is a member
that stands and has no slots just now, because its node is silent (``members``): what is wanted is still to be read. The one
confusing thing: elements that add up to nothing we could have written are spelled as a value nobody desires, so that a
diff finds them and one update puts them right.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple, TypeAlias
from zlib import crc32

from isthmus.drivers.linux.elements import Element, verdict
from isthmus.drivers.linux.ruleset import SHARDS, chain_of
from isthmus.drivers.linux.slots import CLASSES, fill
from isthmus.model.resources import (
    Algorithm,
    AnyResource,
    IPAddress,
    Member,
    MssClamp,
    PortFilter,
    Protocol,
    VirtualAddress,
    VirtualServer,
)

__all__ = ["Held", "NftResource", "elements_of", "member_key", "read_all", "service_key", "shard_of", "silent_of"]

NftResource: TypeAlias = VirtualServer | VirtualAddress | MssClamp | PortFilter
Rows: TypeAlias = Mapping[str, list[tuple[bytes, bytes]]]

PROTOCOLS: dict[str, int] = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES: dict[int, Protocol] = {6: "tcp", 17: "udp", 132: "sctp"}
_U32 = struct.Struct("=I")
_ONE = _U32.pack(1)
_PORT = struct.Struct("!Hxx")
_SLOT = [_U32.pack(number) for number in range(420)]
_HEADERS = {4: 40, 6: 60}
_ALGORITHMS: tuple[Algorithm, ...] = ("round-robin", "source-hash")
_ALGORITHM_OF: dict[str, Algorithm] = {
    chain_of(algorithm, size, shard): algorithm
    for algorithm in _ALGORITHMS
    for size in (0, *CLASSES)
    for shard in SHARDS
}
_VERDICTS = {chain: verdict(chain) for chain in _ALGORITHM_OF}


_NOBODY: frozenset[bytes] = frozenset()
"""One for all: each empty set of its own is 200 bytes, and nearly every Service would have one."""


class Held(NamedTuple):
    """A resource that stands in the table; ``raw`` are its elements where they are not what we would have written.

    ``silent`` are the keys of those of its members that have no slots because they do not answer.
    """

    resource: NftResource
    raw: tuple[Element, ...] | None = None
    silent: frozenset[bytes] = _NOBODY

    def elements(self) -> Iterable[Element]:
        """Return the elements that stand for it."""
        return elements_of(self.resource, self.silent) if self.raw is None else self.raw


def service_key(address: IPAddress, protocol: str, port: int) -> bytes:
    """Return the key of a service: address, protocol, port."""
    return address.packed + bytes((PROTOCOLS[protocol], 0, 0, 0)) + _PORT.pack(port)


def silent_of(resource: AnyResource, is_silent: Callable[[IPAddress], bool]) -> frozenset[bytes]:
    """Return the keys of the members that get no new flows because they are silent; none where all of them are."""
    if not isinstance(resource, VirtualServer):
        return _NOBODY
    active = [member for member in resource.members if member.weight > 0]
    quiet = [member for member in active if is_silent(member.address)]
    return frozenset(map(member_key, quiet)) if 0 < len(quiet) < len(active) else _NOBODY


def elements_of(resource: AnyResource, silent: Collection[bytes] = ()) -> list[Element]:
    """Return the elements that stand for ``resource``, none for kinds that nft does not hold."""
    match resource:
        case VirtualServer():
            return _server(resource, silent)
        case VirtualAddress(address=address):
            return [Element(f"vips{address.version}", address.packed)]
        case MssClamp(link=link, mtu=mtu):
            name = link.encode().ljust(16, b"\0")
            sizes = [
                Element(f"mss{v}", name, struct.pack("!H", max(0, mtu - header))) for v, header in _HEADERS.items()
            ]
            return [Element("clamped", name), *sizes]
        case PortFilter(port=port, sources=sources):
            key = _PORT.pack(port)
            allowed = [Element(f"allowed{source.version}", key + source.packed) for source in sources]
            return [Element("filtered", key[:2]), *allowed]
    return []


def shard_of(key: bytes) -> int:
    """Return which of the slot maps a service is in."""
    return crc32(key) % len(SHARDS)


def _serving(server: VirtualServer, silent: Collection[bytes]) -> Sequence[Member]:
    return [m for m in server.members if member_key(m) not in silent] if silent else server.members


def _server(server: VirtualServer, silent: Collection[bytes]) -> list[Element]:
    version = server.address.version
    key = service_key(server.address, server.protocol, server.port)
    shard = shard_of(key)
    name = f"slots{version}_{shard}"
    active, order = fill(_serving(server, silent), server.algorithm)
    pods = [member_key(member) for member in active]
    found = [Element(name, key + slot, pods[number]) for slot, number in zip(_SLOT, order, strict=False)]
    found.append(Element(f"services{version}", key, _VERDICTS[chain_of(server.algorithm, len(order), shard)]))
    if not order:
        found.append(Element(f"empty{version}", key))
    if server.source is not None:
        found.append(Element(f"sources{version}", key, server.source.packed))
    found += [
        Element(f"weights{version}", key + member_key(member), _U32.pack(member.weight))
        for member in server.members
        if member.weight != 1
    ]
    found += [Element(f"silent{version}", key + member) for member in sorted(silent)]
    return found


def member_key(member: Member) -> bytes:
    """Return the data of a slot that leads to ``member``: address, port."""
    return member.address.packed + _PORT.pack(member.port)


def read_all(rows: Rows) -> dict[str, Held]:
    """Return what the elements of all maps add up to, by identity."""
    held: dict[str, Held] = {}
    for version, kind in ((4, IPv4Address), (6, IPv6Address)):
        for server in _Servers(rows, version, kind).read():
            held[server.resource.identity] = server
        for key, _ in rows.get(f"vips{version}", ()):
            vip = VirtualAddress(ip_address(key), "")
            held[vip.identity] = Held(vip)
    for clamp in _clamps(rows):
        held[clamp.resource.identity] = clamp
    for port_filter in _filters(rows):
        held[port_filter.resource.identity] = port_filter
    return held


class _Servers:
    """Gather the elements of one IP version by service."""

    def __init__(self, rows: Rows, version: int, kind: Callable[[bytes], IPAddress]) -> None:
        self.version = version
        self.kind = kind
        self.length = 12 if version == 4 else 24
        self.chains = {key: chain.decode(errors="replace") for key, chain in rows.get(f"services{version}", ())}
        self.empty = {key for key, _ in rows.get(f"empty{version}", ())}
        self.sources = dict(rows.get(f"sources{version}", ()))
        self.weights = self._gather(rows.get(f"weights{version}", ()))
        gathered = self._gather(rows.get(f"silent{version}", ()))
        self.silent = {key: frozenset(member for member, _ in found) for key, found in gathered.items()}
        self.slots: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self.strays: dict[bytes, list[Element]] = {}
        for shard in SHARDS:
            name = f"slots{version}_{shard}"
            for key, slots in self._gather(rows.get(name, ())).items():
                if shard_of(key) == shard:
                    self.slots[key] = slots
                else:
                    self.strays.setdefault(key, []).extend(Element(name, key + slot, data) for slot, data in slots)

    def _gather(self, rows: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[tuple[bytes, bytes]]]:
        length = self.length
        found: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for key, data in rows:
            service = key[:length]
            if service in found:
                found[service].append((key[length:], data))
            else:
                found[service] = [(key[length:], data)]
        return found

    def read(self) -> Iterable[Held]:
        """Yield every service there is anything of."""
        for key in {*self.chains, *self.empty, *self.sources, *self.slots, *self.strays, *self.weights, *self.silent}:
            server, silent = self._server(key), self.silent.get(key, _NOBODY)
            if self._stands(key, server, silent):
                yield Held(server, silent=silent)
            else:
                nobody = Member(self.kind(bytes(len(key) - 8)), 0, 0)
                yield Held(_with(server, (nobody,)), tuple(self._raw(key)))

    def _stands(self, key: bytes, server: VirtualServer, silent: frozenset[bytes]) -> bool:
        """Say whether the elements are exactly those that we would write for ``server``."""
        active, order = fill(_serving(server, silent), server.algorithm)
        pods = [member_key(member) for member in active]
        return (
            self.chains.get(key) == chain_of(server.algorithm, len(order), shard_of(key))
            and (key in self.empty) == (not order)
            and dict(self.slots.get(key, ())) == {slot: pods[n] for slot, n in zip(_SLOT, order, strict=False)}
            and all(weight != _ONE for _, weight in self.weights.get(key, ()))
            and key not in self.strays
            and (not silent or bool(order))
        )

    def _raw(self, key: bytes) -> list[Element]:
        version = self.version
        name = f"slots{version}_{shard_of(key)}"
        found = [Element(name, key + slot, data) for slot, data in self.slots.get(key, ())]
        found += self.strays.get(key, ())
        if key in self.chains:
            chain = self.chains[key]
            found.append(Element(f"services{version}", key, _VERDICTS.get(chain, b"")))
        if key in self.empty:
            found.append(Element(f"empty{version}", key))
        if key in self.sources:
            found.append(Element(f"sources{version}", key, self.sources[key]))
        found += [Element(f"weights{version}", key + member, weight) for member, weight in self.weights.get(key, ())]
        found += [Element(f"silent{version}", key + member) for member in self.silent.get(key, ())]
        return found

    def _server(self, key: bytes) -> VirtualServer:
        weights: dict[bytes, int] = {data: 1 for _, data in self.slots.get(key, ())}
        weights |= dict.fromkeys(self.silent.get(key, ()), 1)
        weights |= {member: int.from_bytes(weight, sys.byteorder) for member, weight in self.weights.get(key, ())}
        size = len(key) - 8
        members = [
            Member(self.kind(data[:size]), int.from_bytes(data[size : size + 2], "big"), weight)
            for data, weight in sorted(weights.items())
        ]
        source = self.sources.get(key)
        return VirtualServer(
            self.kind(key[:size]),
            _NAMES.get(key[size], "tcp"),
            int.from_bytes(key[size + 4 : size + 6], "big"),
            tuple(members),
            self.kind(source) if source else None,
            _ALGORITHM_OF.get(self.chains.get(key, ""), "round-robin"),
        )


def _with(server: VirtualServer, members: tuple[Member, ...]) -> VirtualServer:
    return VirtualServer(server.address, server.protocol, server.port, members, server.source, server.algorithm)


def _clamps(rows: Rows) -> Iterable[Held]:
    clamped = {key for key, _ in rows.get("clamped", ())}
    sizes = {version: dict(rows.get(f"mss{version}", ())) for version in _HEADERS}
    for key in {*clamped, *sizes[4], *sizes[6]}:
        raw = [Element("clamped", key)] if key in clamped else []
        raw += [Element(f"mss{version}", key, seen[key]) for version, seen in sizes.items() if key in seen]
        mtu = int.from_bytes(sizes[4].get(key, b""), "big") + _HEADERS[4]
        clamp = MssClamp(key.rstrip(b"\0").decode(errors="replace"), mtu)
        yield Held(clamp) if set(raw) == set(elements_of(clamp)) else Held(MssClamp(clamp.link, 0), tuple(raw))


def _filters(rows: Rows) -> Iterable[Held]:
    filtered = {key for key, _ in rows.get("filtered", ())}
    allowed: dict[bytes, list[Element]] = {}
    for version in (4, 6):
        for key, _ in rows.get(f"allowed{version}", ()):
            allowed.setdefault(key[:4], []).append(Element(f"allowed{version}", key))
    for key in {*(port + b"\0\0" for port in filtered), *allowed}:
        sources = sorted((ip_address(element.key[4:]) for element in allowed.get(key, ())), key=by_version)
        port = int.from_bytes(key[:2], "big")
        if key[:2] in filtered:
            yield Held(PortFilter(port, tuple(sources)))
        else:
            yield Held(PortFilter(port, (IPv4Address(0),)), tuple(allowed[key]))


def by_version(address: IPAddress) -> tuple[int, int]:
    """Return what addresses of both versions are sorted by."""
    return (address.version, int(address))

"""Links and addresses: the VXLAN tunnels we make, the addresses we put up, and reading back all that stand.

It spells rtnetlink's link and address messages and reads their dumps. A tunnel is made and marked as ours in one send,
by an index of our choosing: the kernel cannot set the alias while it creates, and a crash between the two would leave a
tunnel that is nobody's. The one confusing thing: the mark of a link is its alias, that of an address its protocol
number (IFA_PROTO, kernel 5.18).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Sequence
from ipaddress import ip_address, ip_interface
from typing import NamedTuple

from isthmus.drivers.linux import netlink
from isthmus.drivers.linux.netlink import Message, split
from isthmus.drivers.linux.rtnetlink import mac_bytes, mac_text
from isthmus.drivers.linux.wire import attribute, attributes, be16, nested, text, u8, u32
from isthmus.model.resources import IPAddress, IPInterface, IpTunnel, Tunnel

__all__ = ["AddressRow", "LinkRow", "Vxlan", "address_rows", "link_rows"]

NEW_LINK, DEL_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
LINK = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, change."""
ADDRESS = struct.Struct("=BBBBi")
"""ifaddrmsg: family, prefixlen, flags, scope, index."""
UP, LOWER_UP = 0x1, 0x10000
NODAD = 0x02
FOR_EVER = 0xFFFFFFFF

_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_INFO, _IFLA_ALIAS, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 1, 3, 4, 18, 20, 26, 29
_SKIP_STATISTICS = 1 << 3
_INFO_KIND, _INFO_DATA = 1, 2
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
_VXLAN_ZERO_CSUM6_TX, _VXLAN_ZERO_CSUM6_RX, _VXLAN_COLLECT_METADATA = 19, 20, 25
_IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_TTL, _IPTUN_PMTUDISC = 2, 3, 4, 10
_TTL = 64
_ADDR_GEN_MODE, _GEN_NONE = 8, 1
_INET_CONF, _RP_FILTER = 1, 8
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
_CACHEINFO = struct.Struct("=IIII")
"""ifa_cacheinfo: preferred and valid lifetime in seconds, when made and when updated."""
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Vxlan(NamedTuple):
    """The fields of a VXLAN link that never change while it stands."""

    vni: int
    port: int
    local: IPAddress | None
    underlay: int
    metadata: bool

    @property
    def versions(self) -> tuple[int, ...]:
        """Return the IP versions of the underlay in which its VNI and port are taken; the two do not exclude each other."""
        if self.metadata:
            return (4, 6)
        return (4,) if self.local is None else (self.local.version,)


class LinkRow(NamedTuple):
    """One link as it stands; ``vxlan`` is none for any other kind, as is ``ipip``, the two ends of an IP-in-IP tunnel."""

    ifindex: int
    name: str
    mac: str
    mtu: int
    flags: int
    alias: str
    kind: str
    vxlan: Vxlan | None
    ipip: tuple[IPAddress | None, IPAddress | None] | None = None

    @property
    def up(self) -> bool:
        """Say whether the link is administratively up."""
        return bool(self.flags & UP)

    @property
    def running(self) -> bool:
        """Say whether the link is up and has a carrier: whether anybody at its other end can hear us."""
        return self.flags & (UP | LOWER_UP) == UP | LOWER_UP


class AddressRow(NamedTuple):
    """One address on a link; ``protocol`` is 0 where nobody left a mark, ``lapses`` says that its lifetime ends."""

    link: int
    address: IPAddress
    length: int
    protocol: int
    lapses: bool = False

    @property
    def interface(self) -> IPInterface:
        """Return the address with its prefix length."""
        return ip_interface((self.address.packed, self.length))


def create_tunnel(tunnel: Tunnel, index: int, underlay: int, alias: str, *, reverse_path: int) -> list[Message]:
    """Return the messages that make ``tunnel`` with link ``index``, mark it and bring it up; send them as one batch."""
    data = [
        u32(_VXLAN_ID, tunnel.vni),
        be16(_VXLAN_PORT, tunnel.port),
        u8(_VXLAN_LEARNING, 0),
        attribute(_VXLAN_LOCAL if tunnel.local.version == 4 else _VXLAN_LOCAL6, tunnel.local.packed),
    ]
    if underlay:
        data.append(u32(_VXLAN_LINK, underlay))
    if tunnel.local.version == 6:
        # Linux peers (flannel's, for one) drop a zero checksum over IPv6 by default, so ours is real; what comes in
        # may be zero, as hardware VTEPs send it (RFC 6935, RFC 7348 section 5).
        data += [u8(_VXLAN_ZERO_CSUM6_TX, 0), u8(_VXLAN_ZERO_CSUM6_RX, 1)]
    create = (
        LINK.pack(0, 0, index, 0, 0)
        + text(_IFLA_NAME, tunnel.name)
        + attribute(_IFLA_ADDRESS, mac_bytes(tunnel.mac))
        + u32(_IFLA_MTU, tunnel.mtu)
        + nested(_IFLA_INFO, text(_INFO_KIND, "vxlan"), nested(_INFO_DATA, *data))
    )
    return [
        *_made(index, create, alias, reverse_path),
        # At creation the kernel silently cuts an MTU that the underlay cannot hold; told again, it refuses in words.
        Message(NEW_LINK, 0, LINK.pack(0, 0, index, UP, UP) + u32(_IFLA_MTU, tunnel.mtu)),
    ]


def create_ip_tunnel(tunnel: IpTunnel, index: int, alias: str, *, reverse_path: int) -> list[Message]:
    """Return the messages that make an IP-in-IP tunnel with link ``index``, mark it and bring it up; send them as one batch.

    Its MTU is the kernel's own, from that of the way to the other end.
    """
    data = [
        attribute(_IPTUN_LOCAL, tunnel.local.packed),
        attribute(_IPTUN_REMOTE, tunnel.remote.packed),
        u8(_IPTUN_TTL, _TTL),
        u8(_IPTUN_PMTUDISC, 1),
    ]
    info = nested(_IFLA_INFO, text(_INFO_KIND, "ipip"), nested(_INFO_DATA, *data))
    create = LINK.pack(0, 0, index, 0, 0) + text(_IFLA_NAME, tunnel.name) + info
    return [
        *_made(index, create, alias, reverse_path),
        Message(NEW_LINK, 0, LINK.pack(0, 0, index, UP, UP)),
    ]


def _made(index: int, create: bytes, alias: str, reverse_path: int) -> list[Message]:
    no_link_local = nested(_IFLA_AF_SPEC, nested(socket.AF_INET6, u8(_ADDR_GEN_MODE, _GEN_NONE)))
    mark = LINK.pack(0, 0, index, 0, 0) + text(_IFLA_ALIAS, alias)
    return [
        Message(NEW_LINK, netlink.CREATE | netlink.EXCL, create),
        Message(NEW_LINK, 0, mark),
        Message(NEW_LINK, 0, LINK.pack(0, 0, index, 0, 0) + no_link_local),
        set_reverse_path(index, reverse_path),
    ]


def change_tunnel(index: int, tunnel: Tunnel) -> Message:
    """Return the message that gives a standing tunnel another MAC or MTU, and brings it up."""
    payload = LINK.pack(0, 0, index, UP, UP) + u32(_IFLA_MTU, tunnel.mtu)
    return Message(NEW_LINK, 0, payload + attribute(_IFLA_ADDRESS, mac_bytes(tunnel.mac)))


def set_reverse_path(index: int, value: int) -> Message:
    """Return the message that sets a link's ``rp_filter``: it needs no writable /proc/sys, which containers lack."""
    conf = nested(_INET_CONF, u32(_RP_FILTER, value))
    return Message(NEW_LINK, 0, LINK.pack(0, 0, index, 0, 0) + nested(_IFLA_AF_SPEC, nested(socket.AF_INET, conf)))


def delete_link(index: int) -> Message:
    """Return the message that deletes a link by its index."""
    return Message(DEL_LINK, 0, LINK.pack(0, 0, index, 0, 0))


def dump_links() -> Message:
    """Return the request for all links."""
    return Message(GET_LINK, 0, LINK.pack(0, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, _SKIP_STATISTICS))


def dump_addresses() -> Message:
    """Return the request for all addresses."""
    return Message(GET_ADDRESS, 0, ADDRESS.pack(0, 0, 0, 0, 0))


def new_address(address: IPInterface, link: int, protocol: int, lifetime: int = FOR_EVER) -> Message:
    """Return the message that puts up ``address``; IPv6 is usable at once (no duplicate address detection)."""
    payload = _address(address, link) + u8(_IFA_PROTO, protocol) + _lifetime(lifetime)
    return Message(NEW_ADDRESS, netlink.CREATE | netlink.EXCL, payload)


def set_lifetime(address: IPInterface, link: int, protocol: int, lifetime: int) -> Message:
    """Return the message that gives a standing address ``lifetime`` seconds from now.

    The kernel puts up an address that does not stand, whatever the flags say: whoever sends this must know that it does.
    """
    payload = _address(address, link) + u8(_IFA_PROTO, protocol) + _lifetime(lifetime)
    return Message(NEW_ADDRESS, netlink.REPLACE, payload)


def _lifetime(seconds: int) -> bytes:
    return attribute(_IFA_CACHEINFO, _CACHEINFO.pack(seconds, seconds, 0, 0))


def mark_address(address: IPInterface, link: int, protocol: int) -> Message:
    """Return the message that makes a standing address ours and changes nothing else of it."""
    return Message(NEW_ADDRESS, netlink.REPLACE, _address(address, link) + u8(_IFA_PROTO, protocol))


def delete_address(address: IPInterface, link: int) -> Message:
    """Return the message that takes ``address`` down; the kernel has no match by protocol here, look first."""
    return Message(DEL_ADDRESS, 0, _address(address, link))


def _address(address: IPInterface, link: int) -> bytes:
    packed = address.ip.packed
    length = address.network.prefixlen
    payload = ADDRESS.pack(_FAMILY[address.version], length, 0, 0, link)
    payload += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    return payload + (u32(_IFA_FLAGS, NODAD) if address.version == 6 else b"")


def link_row(buffer: bytes, start: int, end: int) -> LinkRow:
    """Return the link message in ``buffer[start:end]``."""
    _family, _type, index, flags, _change = LINK.unpack_from(buffer, start)
    found = attributes(buffer, start + LINK.size, end)
    info = attributes(found.get(_IFLA_INFO, b""))
    kind = _text(info.get(_INFO_KIND, b""))
    mac = found.get(_IFLA_ADDRESS, b"")
    return LinkRow(
        index,
        _text(found.get(_IFLA_NAME, b"")),
        mac_text(mac) if len(mac) == 6 else "",
        struct.unpack("=I", found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0,
        flags,
        _text(found.get(_IFLA_ALIAS, b"")),
        kind,
        _vxlan(info.get(_INFO_DATA, b"")) if kind == "vxlan" else None,
        _ipip(info.get(_INFO_DATA, b"")) if kind == "ipip" else None,
    )


def _ipip(data: bytes) -> tuple[IPAddress | None, IPAddress | None]:
    found = attributes(data)
    ends = (found.get(_IPTUN_LOCAL, b""), found.get(_IPTUN_REMOTE, b""))
    local, remote = (ip_address(packed) if any(packed) else None for packed in ends)
    return local, remote


def _vxlan(data: bytes) -> Vxlan:
    found = attributes(data)
    packed = found.get(_VXLAN_LOCAL) or found.get(_VXLAN_LOCAL6)
    return Vxlan(
        struct.unpack("=I", found[_VXLAN_ID])[0] if _VXLAN_ID in found else 0,
        int.from_bytes(found.get(_VXLAN_PORT, b""), "big"),
        ip_address(packed) if packed and any(packed) else None,
        struct.unpack("=I", found[_VXLAN_LINK])[0] if _VXLAN_LINK in found else 0,
        found.get(_VXLAN_COLLECT_METADATA, b"\0") != b"\0",
    )


def link_rows(buffers: Sequence[bytes]) -> list[LinkRow]:
    """Return the links in a dump."""
    return [link_row(*place) for place in split(buffers, NEW_LINK)]


def address_row(buffer: bytes, start: int, end: int) -> AddressRow | None:
    """Return the address message in ``buffer[start:end]``; none where it holds no address of ours to read."""
    _family, length, _flags, _scope, link = ADDRESS.unpack_from(buffer, start)
    found = attributes(buffer, start + ADDRESS.size, end)
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed is None or len(packed) not in (4, 16):
        return None
    protocol = found.get(_IFA_PROTO)
    times = found.get(_IFA_CACHEINFO)
    lapses = times is not None and _CACHEINFO.unpack_from(times)[1] != FOR_EVER
    return AddressRow(link, ip_address(packed), length, protocol[0] if protocol else 0, lapses)


def address_rows(
    buffers: Sequence[bytes], protocol: int = 0, among: Collection[IPAddress] | None = None
) -> list[AddressRow]:
    """Return the addresses in a dump; with ``among``, of the single addresses that bear ``protocol`` only those.

    A gateway has ten thousand VIPs, and who puts up one more need not spell them all. The mark is searched for as the
    kernel writes it, padding and all, at the place where an attribute may begin.
    """
    places = split(buffers, NEW_ADDRESS)
    if among is not None:
        mark = struct.pack("=HHB3x", 5, _IFA_PROTO, protocol)
        wanted = [address.packed for address in among]
        places = [place for place in places if not _is_other_vip(*place, mark, wanted)]
    rows = [row for row in (address_row(*place) for place in places) if row is not None]
    if among is None:
        return rows
    return [
        row
        for row in rows
        if row.protocol != protocol or row.length != row.address.max_prefixlen or row.address in among
    ]


def _is_other_vip(buffer: bytes, start: int, end: int, mark: bytes, wanted: Sequence[bytes]) -> bool:
    if buffer[start + 1] != (32 if buffer[start] == socket.AF_INET else 128):
        return False
    at = buffer.find(mark, start + ADDRESS.size, end)
    return at >= 0 and (at - start) % 4 == 0 and not any(buffer.find(packed, start, end) >= 0 for packed in wanted)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")

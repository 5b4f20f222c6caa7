"""How one node is attached to an overlay: its addresses and MAC there, and the devices it talks to.

The whole attachment is one small JSON annotation on the Node: the controller writes it, the node's own agent realises it,
and the controller reads it back to program the devices. So addresses and MACs are assigned once and live with the node,
an agent needs to see nothing but its own Node, and no object grows with the cluster.

The one confusing thing: of the annotation only addresses and MAC are *memory*; VNI, port, MTU and devices are derived
and rewritten whenever they change.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Literal

import msgspec

from isthmus.model.plain import encode_value
from isthmus.model.resources import ZERO_MAC, IPAddress, IPInterface, IPNetwork

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LONGEST_NAME = 63


class Peer(msgspec.Struct, frozen=True):
    """A device on the overlay, as a node must know it."""

    device: str
    vtep: IPAddress
    mac: str
    addresses: tuple[IPAddress, ...]


class Attachment(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node's place on an overlay."""

    addresses: tuple[IPInterface, ...]
    mac: str
    vni: int
    port: int
    mtu: int
    peers: tuple[Peer, ...] = ()
    encapsulation: Literal["vxlan", "ipip"] = "vxlan"
    direct_return: tuple[IPNetwork, ...] = ()

    def render(self) -> str:
        """Return the annotation's text; the same attachment is always the same text."""
        return msgspec.json.encode(self, enc_hook=encode_value).decode()


def annotation(link: str) -> str:
    """Return the annotation's key for ``link``; names too long for a key are cut and told apart by a digest."""
    name = f"overlay.{link}"
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(link.encode()).hexdigest()[:8]}"
    return f"isthmus.dev/{name}"


def parse(text: str) -> Attachment:
    """Return the attachment that an annotation says; raise ``ValueError`` with the reason if it says none."""
    try:
        raw = msgspec.json.decode(text, type=_Raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not is_station(raw.mac):
        raise ValueError(f"{raw.mac!r} is not the MAC address of one station")
    if zoned := [text for text in (*raw.addresses, *(peer.vtep for peer in raw.peers)) if "%" in text]:
        raise ValueError(f"{zoned[0]!r} has a zone, which means something on one host only")
    return Attachment(
        tuple(ip_interface(address) for address in raw.addresses),
        raw.mac,
        raw.vni,
        raw.port,
        raw.mtu,
        tuple(
            Peer(p.device, ip_address(p.vtep), p.mac, tuple(ip_address(address) for address in p.addresses))
            for p in raw.peers
        ),
        raw.encapsulation,
        tuple(ip_network(text) for text in raw.direct_return),
    )


def mac_for(*parts: str) -> str:
    """Return a locally administered unicast MAC (IEEE 802) derived from ``parts``: the same every time."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def is_station(mac: str) -> bool:
    """Say whether ``mac`` is lower-case text for one station: neither a group address (IEEE 802) nor all zero.

    An FDB entry for the zero MAC floods, so a node that could choose it would get everybody's frames.
    """
    return _MAC.fullmatch(mac) is not None and not int(mac[:2], 16) & 1 and mac != ZERO_MAC


def unused_mac(taken: Callable[[str], bool], *parts: str) -> str:
    """Return :func:`mac_for` of ``parts``, or the first variation of it that is not ``taken``."""
    mac = mac_for(*parts)
    attempt = 0
    while taken(mac):
        attempt += 1
        mac = mac_for(*parts, str(attempt))
    return mac


class _RawPeer(msgspec.Struct):
    device: str
    vtep: str
    mac: str
    addresses: list[str]


class _Raw(msgspec.Struct):
    addresses: list[str]
    mac: str
    vni: int
    port: int
    mtu: int
    peers: list[_RawPeer] = []
    encapsulation: Literal["vxlan", "ipip"] = "vxlan"
    direct_return: list[str] = []

"""Tell a segment where an address is now: a gratuitous ARP (RFC 5227) or an unsolicited advertisement (RFC 4861, 7.2.6).

A device does so when it takes an address, so that nobody goes on sending to whoever had it before.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv6Address

from isthmus.lab.adc.wiring import Address
from isthmus.lab.net.clients import checksum
from isthmus.lab.net.netns import call_in

_ARP, _IPV6 = 0x0806, 0x86DD
_ALL_NODES = IPv6Address("ff02::1")


def announce(namespace: str, link: str, mac: str, addresses: Iterable[Address]) -> None:
    """Say on ``link`` that ``mac`` has ``addresses``; a link that is down hears nothing, which is no error."""
    own = bytes.fromhex(mac.replace(":", ""))

    def send() -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((link, 0))
            for address in addresses:
                sock.send(_arp(own, address) if address.version == 4 else _advertisement(own, address))

    call_in(namespace, send)


def _arp(mac: bytes, address: Address) -> bytes:
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return b"\xff" * 6 + mac + struct.pack("!H", _ARP) + header + mac + address.packed + bytes(6) + address.packed


def _advertisement(mac: bytes, address: Address) -> bytes:
    # Override, not solicited; the option says the MAC.
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address.packed + b"\x02\x01" + mac
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255)
    ethernet = b"\x33\x33\x00\x00\x00\x01" + mac + struct.pack("!H", _IPV6)
    return ethernet + header + address.packed + _ALL_NODES.packed + body

"""Asking a segment whether somebody has an address before we take it: ARP probe (RFC 5227 §2.1), NS as for DAD (RFC 4862).

A probe's sender address is nobody's, so that asking changes no cache. Three go out, a tenth of a second apart: RFC 5227
waits for seconds, which is right for a host that joins and too long for one that takes over. The one confusing thing:
two may ask at once, and neither has the address yet. Then the lower MAC goes on and the other waits: it hears the same.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

from isthmus.drivers.linux.announce import checksum
from isthmus.drivers.linux.links import LinkRow
from isthmus.drivers.linux.rtnetlink import mac_bytes, mac_text
from isthmus.errors import DeviceUnreachable
from isthmus.model.resources import IPAddress

__all__ = ["answering", "arp_probe", "neighbor_solicitation", "read_claim"]

_TIMES, _INTERVAL = 3, 0.1
_ARP, _IPV6 = 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_SOLICITATION, _ADVERTISEMENT = 135, 136
_GROUP = bytes.fromhex("ff0200000000000000000001ff")
_SO_ATTACH_FILTER = 26
_SOL_PACKET, _ADD_MEMBERSHIP, _ALL_MULTICAST = 263, 1, 2
_AT_ONCE = 64


def arp_probe(address: IPv4Address, mac: bytes) -> bytes:
    """Return the ARP request for ``address`` whose sender has no address."""
    return (
        _BROADCAST
        + mac
        + struct.pack("!HHHBBH", _ARP, 1, 0x0800, 6, 4, 1)
        + mac
        + bytes(4)
        + bytes(6)
        + address.packed
    )


def neighbor_solicitation(address: IPv6Address, mac: bytes) -> bytes:
    """Return the neighbor solicitation for ``address`` whose sender has no address; it is answered to all nodes."""
    group = _GROUP + address.packed[13:]
    body = bytes(4) + address.packed
    length = 4 + len(body)
    pseudo = bytes(16) + group + struct.pack("!II", length, 58)
    total = checksum(pseudo + bytes((_SOLICITATION, 0, 0, 0)) + body)
    header = struct.pack("!IHBB", 6 << 28, length, 58, 255) + bytes(16) + group
    ethernet = b"\x33\x33" + group[12:] + mac + struct.pack("!H", _IPV6)
    return ethernet + header + struct.pack("!BBH", _SOLICITATION, 0, total) + body


def read_claim(frame: bytes) -> tuple[bytes, bytes, bool] | None:
    """Return whose address (packed) a frame is about, its sender's MAC, and whether it has it or only asks; or none."""
    if len(frame) < 42:
        return None
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == _ARP:
        mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
        if any(sender):
            return sender, mac, True
        return (target, mac, False) if frame[20:22] == b"\0\x01" else None
    if kind != _IPV6 or len(frame) < 78 or frame[20] != 58:
        return None
    target, sender = frame[62:78], frame[6:12]
    if frame[54] == _ADVERTISEMENT:
        return target, frame[80:86] if frame[78:80] == b"\x02\x01" else sender, True
    if frame[54] == _SOLICITATION and not any(frame[22:38]):
        return target, sender, False
    return None


async def answering(
    link: LinkRow, addresses: Collection[IPAddress], own: Mapping[IPAddress, Collection[str]] | None = None
) -> dict[IPAddress, str]:
    """Return which of ``addresses`` somebody else on ``link`` has or is about to take, with that one's MAC.

    ``own`` are the MACs of other links of this host on which it has an address itself.

    Raises ``DeviceUnreachable`` where the segment cannot be asked: then nothing may be taken.
    """
    questions = []
    for version, kind in ((4, _ARP), (6, _IPV6)):
        asked = [address for address in addresses if address.version == version]
        if asked:
            questions.append(_ask(link, kind, asked, own or {}))
    found: dict[IPAddress, str] = {}
    for answers in await asyncio.gather(*questions):
        found |= answers
    return found


async def _ask(
    link: LinkRow, kind: int, addresses: Sequence[IPAddress], own: Mapping[IPAddress, Collection[str]]
) -> dict[IPAddress, str]:
    mac = mac_bytes(link.mac)
    wanted = {address.packed: address for address in addresses}
    frames = {
        address: arp_probe(address, mac) if isinstance(address, IPv4Address) else neighbor_solicitation(address, mac)
        for address in addresses
    }
    found: dict[IPAddress, str] = {}
    loop = asyncio.get_running_loop()
    try:
        with _listen(link.name, kind) as sock:

            def hear() -> None:
                for _ in range(256):
                    try:
                        frame = sock.recv(2048)
                    except OSError:
                        return
                    claim = read_claim(frame)
                    if claim is None or claim[1] == mac or claim[0] not in wanted:
                        continue
                    address = wanted[claim[0]]
                    if (claim[2] or claim[1] < mac) and mac_text(claim[1]) not in own.get(address, ()):
                        found[address] = mac_text(claim[1])

            loop.add_reader(sock, hear)
            try:
                for _ in range(_TIMES):
                    # Who has answered is not asked again; while another is active that is all of them, at once.
                    for number, address in enumerate([one for one in addresses if one not in found]):
                        if number % _AT_ONCE == _AT_ONCE - 1:
                            await asyncio.sleep(0.005)  # leave the link's queue and the loop room
                        sock.send(frames[address])
                    if len(found) < len(frames):
                        await asyncio.sleep(_INTERVAL)
            finally:
                loop.remove_reader(sock)
            hear()
    except OSError as error:
        raise DeviceUnreachable(f"cannot ask on {link.name} who has a VIP: {error.strerror or error}") from error
    return found


def _listen(link: str, kind: int) -> socket.socket:
    """Return a packet socket on ``link`` that hears ARP, or of IPv6 neighbor discovery alone."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        if kind == _IPV6:
            _only_neighbor_discovery(sock)
        sock.bind((link, kind))
        # Others' questions go to groups that our own addresses are not in.
        request = struct.pack("=iHH8s", socket.if_nametoindex(link), _ALL_MULTICAST, 0, b"")
        sock.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
    except OSError:
        sock.close()
        raise
    return sock


def _only_neighbor_discovery(sock: socket.socket) -> None:
    """Let through ICMPv6 types 135 and 136 alone: a busy gateway must not read every packet for this."""
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 20),  # the next header
            (0x15, 0, 4, 58),
            (0x30, 0, 0, 54),  # the ICMPv6 type
            (0x15, 1, 0, _SOLICITATION),
            (0x15, 0, 1, _ADVERTISEMENT),
            (0x06, 0, 0, 2048),
            (0x06, 0, 0, 0),
        )
    )
    held = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 7, ctypes.addressof(held)))

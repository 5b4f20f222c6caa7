"""What the lab's clients make of bytes, without a network."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from isthmus.lab.net import clients, sctp, segment
from isthmus.lab.net.clients import Why


def test_the_checksum_is_that_of_rfc_1071() -> None:
    """The example of RFC 1071, section 3, sums to 0xddf2 and is complemented."""
    assert clients.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
    assert clients.checksum(b"\x01") == 0xFFFF - 0x0100


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", Why.RESET),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npod=a nod", Why.OK),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npod=a nod", Why.GARBLED),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Why.GARBLED),
        (b"SSH-2.0-x\r\n", Why.GARBLED),
    ],
)
def test_only_a_complete_answer_counts(reply: bytes, why: Why) -> None:
    """A cut body, another status or another protocol is no success."""
    assert clients._read_reply(reply, "t", 1.0, 2.0).why is why


def test_a_router_that_says_too_big_is_understood_in_both_families() -> None:
    """Fragmentation needed (RFC 1191) and Packet Too Big (RFC 8201) about our own request carry the MTU."""
    request4 = clients._echo_request(0x1234, 8, six=False)
    inner4 = b"\x45" + bytes(19) + request4
    needed = b"\x45" + bytes(19) + struct.pack("!BBHHH", 3, 4, 0, 0, 1400) + inner4
    assert clients._echo_reply(needed, 0x1234, six=False) == (Why.TOO_BIG, 1400)
    assert clients._echo_reply(needed, 0x9999, six=False) is None
    request6 = clients._echo_request(0x1234, 8, six=True)
    too_big = struct.pack("!BBHI", 2, 0, 0, 1430) + bytes(40) + request6
    assert clients._echo_reply(too_big, 0x1234, six=True) == (Why.TOO_BIG, 1430)


def test_a_gratuitous_arp_is_an_announcement_and_a_reply_to_one_is_not() -> None:
    """An announcement names itself as target; a reply to somebody's question is a claim, but none to everybody."""
    mac, other = bytes.fromhex("020000030001"), bytes.fromhex("020000020001")
    vip, client = ip_address("203.0.113.129").packed, ip_address("203.0.113.20").packed

    def arp(operation: int, target_mac: bytes, target: bytes) -> bytes:
        head = b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        return head + mac + vip + target_mac + target

    for operation in (1, 2):
        claim = segment._read(arp(operation, bytes(6), vip), announcement=True)
        assert claim is not None
        assert (str(claim.address), claim.mac) == ("203.0.113.129", "02:00:00:03:00:01")
    assert segment._read(arp(2, other, client), announcement=True) is None
    assert segment._read(arp(2, other, client)) is not None
    assert segment._read(arp(1, bytes(6), client)) is None


def test_sctp_packets_carry_the_checksum_of_rfc_9260() -> None:
    """CRC32c gives the well-known check value, and an INIT ACK's cookie is found by the tag of its INIT alone."""
    assert sctp.crc32c(b"123456789") == 0xE3069283
    reply = sctp.init_ack(sctp.init(40000, 80, 7), b"pod=a src=b\n")
    assert reply is not None
    assert sctp.cookie_of(reply, 7) == b"pod=a src=b\n"
    assert sctp.cookie_of(reply, 8) is None
    assert struct.unpack_from("!HH", reply) == (80, 40000)
    assert sctp.init_ack(reply, b"") is None

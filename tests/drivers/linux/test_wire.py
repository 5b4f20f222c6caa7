"""What is packed for netlink unpacks to the same."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.drivers.linux import elements, links, netlink, rtnetlink, ruleset, tables
from isthmus.drivers.linux.announce import advertisement, gratuitous
from isthmus.drivers.linux.elements import Element
from isthmus.drivers.linux.hops import Silence
from isthmus.drivers.linux.netlink import HEADER, Message, read_acks
from isthmus.drivers.linux.ruleset import SETS, VERDICT
from isthmus.drivers.linux.services import elements_of, read_all, silent_of
from isthmus.drivers.linux.slots import CLASSES, HASH_CLASSES
from isthmus.drivers.linux.wire import attribute, attributes, children
from isthmus.model.resources import (
    FdbEntry,
    Member,
    MssClamp,
    Neighbor,
    PortFilter,
    Route,
    VirtualServer,
)

MACS = st.binary(min_size=6, max_size=6).map(lambda packed: packed.hex(":"))


def framed(message: Message) -> tuple[bytes, int, int]:
    """Return the message as a dump would hold it, with the place of its payload."""
    data = HEADER.pack(16 + len(message.payload), message.kind, 0, 1, 0) + message.payload
    return data, 16, len(data)


@given(st.lists(st.tuples(st.integers(1, 100), st.binary(max_size=40)), unique_by=lambda pair: pair[0]))
def test_attributes_round_trip(pairs: list[tuple[int, bytes]]) -> None:
    """Attributes come back in order with exactly their values, padding left out."""
    packed = b"".join(attribute(kind, value) for kind, value in pairs)
    assert len(packed) % 4 == 0
    assert children(packed) == pairs
    assert attributes(packed) == dict(pairs)


@given(st.binary(max_size=200))
def test_garbage_ends_the_walk(garbage: bytes) -> None:
    """Broken lengths neither raise nor loop."""
    attributes(garbage)
    children(garbage)
    read_acks(garbage)


@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
    )
)
def test_routes_round_trip(place: tuple[IPv4Address | IPv6Address, int]) -> None:
    """A route that we would send reads back as the same row."""
    address, length = place
    prefix = ip_network((address, length), strict=False)
    route = Route(prefix, address, "isth0", onlink=True, source=address)
    row = tables.route_row(*framed(rtnetlink.new_route(route, 7, 200, 0)))
    assert row is not None
    assert (row.destination, row.length, row.gateway, row.source) == (
        prefix.network_address.packed,
        length,
        address.packed,
        address.packed,
    )
    assert (row.link, row.protocol, row.table, row.hops) == (7, 200, 254, ())
    assert row.flags & rtnetlink.ONLINK


@given(st.ip_addresses(), MACS)
def test_neighbors_round_trip(address: IPv4Address | IPv6Address, mac: str) -> None:
    """A neighbor and an FDB entry that we would send read back as the same rows."""
    row = tables.neighbor_row(*framed(rtnetlink.new_neighbor(Neighbor("isth0", address, mac), 7, 200, 0)))
    assert (row.link, row.destination, row.mac.hex(":"), row.protocol) == (7, address.packed, mac, 200)
    row = tables.neighbor_row(*framed(rtnetlink.new_fdb(FdbEntry("isth0", mac, address), 7)))
    assert (row.family, row.link, row.destination, row.mac.hex(":")) == (rtnetlink.AF_BRIDGE, 7, address.packed, mac)


@given(
    st.lists(
        st.tuples(st.ip_addresses(), st.booleans(), st.sampled_from([0, 4, 200])),
        max_size=8,
        unique_by=lambda one: one[0],
    ),
    st.data(),
)
def test_other_vips_are_left_out_of_a_dump_and_nothing_else(
    found: list[tuple[IPv4Address | IPv6Address, bool, int]], data: st.DataObject
) -> None:
    """Who asks for some places gets what stands there, and all that is not a VIP with our mark."""
    buffers = []
    for address, single, mark in found:
        length = address.max_prefixlen if single else address.max_prefixlen - 8
        message = links.new_address(ip_interface(f"{address}/{length}"), 1, mark)
        buffers.append(framed(message)[0])
    among = [address for address, _, _ in found if data.draw(st.booleans())]
    every = links.address_rows(buffers)
    others = [
        row
        for row in every
        if row.protocol == 200 and row.length == row.address.max_prefixlen and row.address not in among
    ]
    assert links.address_rows(buffers, 200, among) == [row for row in every if row not in others]


def packed_rows(found: list[Element]) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return the elements as a dump of each map would give them, through their packed form."""
    by_set: dict[str, list[tuple[bytes, bytes]]] = {}
    for element in found:
        by_set.setdefault(element.set, []).append((element.key, element.data))
    return {
        name: elements.read(
            name,
            [attributes(message.payload, 4)[3] for message in elements.messages("isthmus_main", name, rows)],
        )
        for name, rows in by_set.items()
    }


def pods(version: int) -> st.SearchStrategy[tuple[Member, ...]]:
    one = st.builds(Member, st.ip_addresses(v=version), st.integers(1, 65535), st.integers(0, 5))
    return st.lists(one, max_size=40, unique_by=lambda pod: (pod.address, pod.port)).map(
        lambda found: tuple(sorted(found))
    )


def servers(version: int) -> st.SearchStrategy[VirtualServer]:
    return st.builds(
        VirtualServer,
        st.ip_addresses(v=version),
        st.sampled_from(["tcp", "udp", "sctp"]),
        st.integers(1, 65535),
        pods(version),
        st.none() | st.ip_addresses(v=version),
        st.sampled_from(["round-robin", "source-hash"]),
    )


SERVERS = st.one_of(servers(4), servers(6))


@given(SERVERS, st.data())
def test_what_is_wanted_is_read_back_whoever_is_silent(server: VirtualServer, data: st.DataObject) -> None:
    """Silent members have no slots and are members all the same; if all that serve are silent, all keep their slots."""
    active = {member.address for member in server.members if member.weight}
    gone = data.draw(st.sets(st.sampled_from(sorted(active)))) if active else set()
    silent = silent_of(server, Silence.of(gone))
    found = elements_of(server, silent)
    size = 4 if server.address.version == 4 else 16
    served = {element.data[:size] for element in found if element.set.startswith("slots")}
    assert served == {address.packed for address in active if gone == active or address not in gone}
    held = read_all(packed_rows(found))[server.identity]
    assert (held.resource, held.silent, held.raw) == (server, silent, None)
    assert sorted(held.elements()) == sorted(found)


@given(st.lists(SERVERS, max_size=5, unique_by=lambda server: server.identity))
def test_services_read_back_exactly(wanted: list[VirtualServer]) -> None:
    """Members, weights, source and algorithm come back from the elements as they went in."""
    rows = packed_rows([element for server in wanted for element in elements_of(server)])
    held = read_all(rows)
    assert {identity: one.resource for identity, one in held.items()} == {
        server.identity: server for server in wanted
    }
    assert all(one.raw is None for one in held.values())


@given(SERVERS, st.data())
def test_an_element_less_is_noticed(server: VirtualServer, data: st.DataObject) -> None:
    """A service that lacks one of its elements reads back as something nobody desires, if not as another service."""
    whole = elements_of(server)
    lost = data.draw(st.integers(0, len(whole) - 1))
    held = read_all(packed_rows([element for number, element in enumerate(whole) if number != lost]))
    for one in held.values():
        assert one.resource != server
        if one.raw is not None:
            assert {element.key for element in one.raw} <= {element.key for element in whole}


@given(
    st.builds(MssClamp, st.sampled_from(["eth0", "isth0", "a23456789012345"]), st.integers(576, 65535)),
    st.builds(
        PortFilter,
        st.integers(1, 65535),
        st.lists(st.ip_addresses(), max_size=5, unique=True).map(
            lambda found: tuple(sorted(found, key=lambda address: (address.version, int(address))))
        ),
    ),
)
def test_clamps_and_filters_read_back_exactly(clamp: MssClamp, port_filter: PortFilter) -> None:
    """A clamp and a filter come back as they went in."""
    held = read_all(packed_rows(elements_of(clamp) + elements_of(port_filter)))
    assert held[clamp.identity].resource == clamp
    assert held[port_filter.identity].resource == port_filter


def test_an_ack_tells_the_kernels_sentence() -> None:
    """Errno and extended acknowledgement of a refused message become one reason."""
    told = attribute(1, b"Nexthop has invalid gateway\0")
    body = (-101).to_bytes(4, "little", signed=True) + HEADER.pack(60, 24, 5, 9, 0) + told
    ack = HEADER.pack(16 + len(body), netlink.ERROR, 0x300, 9, 0) + body
    [(sequence, reply)] = read_acks(ack)
    assert sequence == 9
    assert reply.sentence() == "Nexthop has invalid gateway (ENETUNREACH)"


def test_elements_never_outgrow_a_message() -> None:
    """Many elements are spread over messages whose list fits an attribute."""
    rows = [(number.to_bytes(16, "big"), bytes(8)) for number in range(5000)]
    messages = elements.messages("isthmus_main", "slots4_0", rows)
    assert len(messages) > 1
    assert all(len(message.payload) < 65_000 for message in messages)
    assert elements.read("slots4_0", [attributes(m.payload, 4)[3] for m in messages]) == rows


def test_gratuitous_arp_is_as_the_rfc_says() -> None:
    """Sender and target are the VIP, the sender's MAC is ours, the frame goes to everybody, in both forms."""
    mac = bytes.fromhex("020000000001")
    request, reply = gratuitous(IPv4Address("203.0.113.10"), mac)
    assert request[:14] == b"\xff" * 6 + mac + b"\x08\x06"
    assert (request[20:22], reply[20:22]) == (b"\0\1", b"\0\2")
    for frame in (request, reply):
        assert frame[22:28] == mac
        assert frame[28:32] == frame[38:42] == IPv4Address("203.0.113.10").packed


def test_neighbor_advertisement_is_as_the_rfc_says() -> None:
    """Hop limit 255, to all nodes, override set, a checksum that adds up, and our MAC as the target's."""
    frame = advertisement(IPv6Address("2001:db8::10"), bytes.fromhex("020000000001"))
    packet = frame[14:]
    assert packet[7] == 255
    assert packet[24:40] == IPv6Address("ff02::1").packed
    body = packet[40:]
    assert body[0] == 136
    assert body[4] & 0x20
    assert body[-6:] == bytes.fromhex("020000000001")
    total = packet[8:40] + len(body).to_bytes(4, "big") + b"\0\0\0\x3a" + body
    words = sum(int.from_bytes(total[n : n + 2], "big") for n in range(0, len(total), 2))
    assert words % 0xFFFF == 0


def test_the_lengths_of_keys_are_what_their_parts_are() -> None:
    """Each part of a concatenated key takes a multiple of four bytes."""
    for entry in SETS.values():
        assert entry.data == VERDICT or entry.data >= 0
        if " . " in entry.declaration:
            assert entry.key % 4 == 0


def test_rules_never_name_a_protocol_for_a_port_of_any() -> None:
    """No rule or map says ``tcp dport``: nft 1.0.6 would then let UDP and SCTP pass by."""
    assert "tcp dport" not in ruleset.text("isthmus_main", "isthmus protocol=200")


@pytest.mark.packets
def test_nft_compiles_the_ports_for_any_protocol(own_network: None) -> None:
    """What nft makes of the rules reads port bytes only, with no comparison of the protocol before a slot is found."""
    nft = shutil.which("nft")
    assert nft
    script = ruleset.text("isthmus_main", "isthmus protocol=200")
    shown = subprocess.run(
        [nft, "--debug=netlink", "-c", "-f", "-"], input=script, capture_output=True, text=True, check=True
    )
    rules = [rule for rule in (shown.stdout + shown.stderr).split("\ninet ") if "lookup reg 1 set slots4_" in rule]
    assert len(rules) == (len(CLASSES) + len(HASH_CLASSES)) * 16
    for rule in rules:
        assert "payload load 2b @ transport header + 2" in rule
        assert "cmp eq reg 1 0x00000006" not in rule

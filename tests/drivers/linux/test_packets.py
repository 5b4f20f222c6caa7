"""What the gateway does to packets: clients reach pods through VIPs, and nothing else is answered."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from ipaddress import ip_address

import msgspec
import pytest

from isthmus.drivers.base import ProbeTarget
from isthmus.drivers.linux import LinuxDriver
from isthmus.model.resources import Algorithm, Member, PortFilter, Protocol, VirtualAddress, VirtualServer

from ..bench import by_identity, settle
from .conftest import run
from .yard import (
    CLIENT4,
    POD_PORT,
    Connection,
    ask_tcp,
    ask_udp,
    build,
    inside,
    ping,
    pod_address,
    sctp_init,
    serve_pods,
    socket_in,
)

pytestmark = pytest.mark.packets

VIPS = {4: "203.0.113.10", 6: "2001:db8:cafe::10"}
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}


@pytest.fixture
async def gateway(underlay: str, other_networks: list[str]) -> AsyncIterator[LinuxDriver]:
    build(other_networks)
    async with contextlib.AsyncExitStack() as stack:
        await serve_pods(stack)
        driver = LinuxDriver()
        await driver.open()
        await driver.prepare()
        stack.push_async_callback(driver.close)
        yield driver


def server(
    version: int = 4,
    protocol: Protocol = "tcp",
    pods: dict[int, int] | None = None,
    *,
    source: bool = False,
    algorithm: Algorithm = "round-robin",
) -> VirtualServer:
    """Return port 80 of the VIP, served by ``pods`` (number to weight)."""
    weights = pods if pods is not None else {1: 1, 2: 1, 3: 1}
    members = tuple(Member(pod_address(n, version), POD_PORT, weight) for n, weight in sorted(weights.items()))
    sender = ip_address(OWN[version]) if source else None
    return VirtualServer(ip_address(VIPS[version]), protocol, 80, members, sender, algorithm)


def vip(version: int = 4, link: str = "lo") -> VirtualAddress:
    return VirtualAddress(ip_address(VIPS[version]), link)


@pytest.mark.parametrize("version", [4, 6])
async def test_round_robin_is_exact(gateway: LinuxDriver, version: int) -> None:
    """Thirty connections to three pods are ten each, and pods see the client's own address."""
    await settle(gateway, by_identity(server(version), vip(version)))
    answers = [await ask_tcp(VIPS[version], 80) for _ in range(30)]
    assert Counter(pod for pod, _ in answers) == {"pod1": 10, "pod2": 10, "pod3": 10}
    assert {sender for _, sender in answers} == {CLIENT4 if version == 4 else "2001:db8::100"}


@pytest.mark.parametrize("version", [4, 6])
async def test_pods_see_the_source_where_there_is_one(gateway: LinuxDriver, version: int) -> None:
    """With a source address, pods see it as the sender, over TCP and UDP."""
    wanted = [server(version, "tcp", source=True), server(version, "udp", source=True), vip(version)]
    await settle(gateway, by_identity(*wanted))
    assert (await ask_tcp(VIPS[version], 80))[1] == OWN[version]
    with socket_in("seg", version, socket.SOCK_DGRAM) as sock:
        assert (await ask_udp(sock, VIPS[version], 80))[1] == OWN[version]


@pytest.mark.parametrize("version", [4, 6])
async def test_udp_is_served(gateway: LinuxDriver, version: int) -> None:
    """Thirty UDP flows to three pods are ten each."""
    await settle(gateway, by_identity(server(version, "udp"), vip(version)))
    seen: Counter[str] = Counter()
    for _ in range(30):
        with socket_in("seg", version, socket.SOCK_DGRAM) as sock:
            seen[(await ask_udp(sock, VIPS[version], 80))[0]] += 1
    assert set(seen.values()) == {10}


async def test_sctp_is_served(gateway: LinuxDriver) -> None:
    """An SCTP INIT to the VIP arrives at a pod, its port translated."""
    await settle(gateway, by_identity(server(4, "sctp", {2: 1}), vip()))
    with (
        socket_in("seg", 4, socket.SOCK_RAW, 132) as client,
        socket_in("pod2", 4, socket.SOCK_RAW, 132) as pod,
    ):
        client.connect((VIPS[4], 0))
        client.send(sctp_init(5000, 80))
        packet = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(pod, 2000), 3)
    sctp = packet[(packet[0] & 15) * 4 :]
    assert socket.inet_ntoa(packet[16:20]) == "10.244.2.2"
    assert struct.unpack_from("!HH", sctp) == (5000, POD_PORT)


async def test_source_hash_keeps_a_client_with_its_pod(gateway: LinuxDriver) -> None:
    """By source hash one client always meets one pod."""
    await settle(gateway, by_identity(server(algorithm="source-hash"), vip()))
    assert len({(await ask_tcp(VIPS[4], 80))[0] for _ in range(10)}) == 1


async def test_weights_are_kept(gateway: LinuxDriver) -> None:
    """A pod of weight 3 beside one of weight 1 gets three connections of four."""
    await settle(gateway, by_identity(server(pods={1: 3, 2: 1}), vip()))
    seen = Counter([(await ask_tcp(VIPS[4], 80))[0] for _ in range(24)])
    assert seen == {"pod1": 18, "pod2": 6}


async def test_who_drains_keeps_its_connections_and_gets_no_new_ones(gateway: LinuxDriver) -> None:
    """Draining leaves the open connection alone and sends new ones elsewhere."""
    await settle(gateway, by_identity(server(pods={1: 1}), vip()))
    connection = await Connection.open(VIPS[4], 80)
    assert (await connection.ask())[0] == "pod1"
    await settle(gateway, by_identity(server(pods={1: 0, 2: 1}), vip()))
    assert (await connection.ask())[0] == "pod1"
    assert {(await ask_tcp(VIPS[4], 80))[0] for _ in range(5)} == {"pod2"}
    connection.close()


async def test_a_flow_leaves_a_pod_that_is_gone(gateway: LinuxDriver) -> None:
    """A UDP flow moves on as soon as its pod is no member any more; it does not wait for a time-out."""
    await settle(gateway, by_identity(server(4, "udp", {1: 1}), vip()))
    with socket_in("seg", 4, socket.SOCK_DGRAM) as sock:
        assert (await ask_udp(sock, VIPS[4], 80))[0] == "pod1"
        await settle(gateway, by_identity(server(4, "udp", {1: 0, 2: 1}), vip()))
        assert (await ask_udp(sock, VIPS[4], 80))[0] == "pod1"
        await settle(gateway, by_identity(server(4, "udp", {2: 1}), vip()))
        assert (await ask_udp(sock, VIPS[4], 80))[0] == "pod2"


async def test_a_flow_from_before_the_service_finds_it(gateway: LinuxDriver) -> None:
    """A client that has been sending to the VIP already is served from the moment the service stands."""
    await settle(gateway, by_identity(vip()))
    with socket_in("seg", 4, socket.SOCK_DGRAM) as sock:
        with pytest.raises((ConnectionRefusedError, TimeoutError)):
            await ask_udp(sock, VIPS[4], 80)
        await settle(gateway, by_identity(server(4, "udp", {3: 1}), vip()))
        assert (await ask_udp(sock, VIPS[4], 80))[0] == "pod3"


@pytest.mark.parametrize("version", [4, 6])
async def test_a_service_without_members_refuses_at_once(gateway: LinuxDriver, version: int) -> None:
    """TCP gets a reset and UDP a port unreachable, not silence, where nobody serves."""
    wanted = [server(version, "tcp", {}), server(version, "udp", {}), vip(version)]
    await settle(gateway, by_identity(*wanted))
    with pytest.raises(ConnectionRefusedError):
        await ask_tcp(VIPS[version], 80)
    with socket_in("seg", version, socket.SOCK_DGRAM) as sock, pytest.raises(ConnectionRefusedError):
        await ask_udp(sock, VIPS[version], 80)


@pytest.mark.parametrize("version", [4, 6])
async def test_a_vip_answers_echo_and_nothing_unserved(gateway: LinuxDriver, version: int) -> None:
    """The gateway's own daemons are not to be had through a VIP, while ping and the served port work."""
    await settle(gateway, by_identity(server(version), vip(version)))
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as daemon:
        daemon.bind(("0.0.0.0" if version == 4 else "::", 0))
        daemon.listen()
        port = daemon.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await Connection.open(VIPS[version], port)
        (await Connection.open(OWN[version], port)).close()
    await ping(VIPS[version])
    assert (await ask_tcp(VIPS[version], 80))[0].startswith("pod")


async def test_the_gateway_itself_reaches_the_vip(gateway: LinuxDriver) -> None:
    """A process on the gateway is served as any client is."""
    await settle(gateway, by_identity(server(4, source=True), vip()))
    reader, writer = await asyncio.wait_for(asyncio.open_connection(VIPS[4], 80), 3)
    writer.write(b"who\n")
    assert (await asyncio.wait_for(reader.readline(), 3)).startswith(b"pod")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("version", [4, 6])
async def test_a_vip_on_a_segment_is_announced(gateway: LinuxDriver, version: int) -> None:
    """At take-over the segment hears a gratuitous ARP, or an unsolicited advertisement, and the VIP answers there."""
    address = ip_address("192.0.2.50" if version == 4 else "2001:db8::50")
    ears = inside("seg", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
    ears.setblocking(False)
    ears.bind(("seg0", 3))
    with ears:
        await settle(gateway, by_identity(VirtualAddress(address, "up0")))
        loop = asyncio.get_running_loop()
        heard = 0
        async with asyncio.timeout(5):
            while heard < 2:
                frame = await loop.sock_recv(ears, 2000)
                arp = frame[12:14] == b"\x08\x06" and frame[28:32] == frame[38:42] == address.packed
                advertised = frame[12:14] == b"\x86\xdd" and frame[54] == 136 and frame[62:78] == address.packed
                heard += arp or advertised
    await ping(str(address))


async def test_a_filtered_port_hears_its_sources_alone(gateway: LinuxDriver, underlay: str) -> None:
    """UDP to a filtered port passes from the named sender and is dropped from any other, in both IP versions."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear, socket_in("seg", 4, socket.SOCK_DGRAM) as mouth:
        ear.setblocking(False)
        ear.bind((OWN[4], 4789))
        await settle(gateway, by_identity(PortFilter(4789, (ip_address("192.0.2.99"),))))
        mouth.sendto(b"no", (OWN[4], 4789))
        await settle(gateway, by_identity(PortFilter(4789, (ip_address(CLIENT4),))))
        mouth.sendto(b"yes", (OWN[4], 4789))
        assert await asyncio.wait_for(loop.sock_recv(ear, 100), 3) == b"yes"


async def test_probes_tell_who_answers_and_why_not(gateway: LinuxDriver) -> None:
    """A probe reaches the pod, names the MTU that is too small, and says when nobody answers."""
    run("ip", "link", "set", "p2", "mtu", "1400")
    targets = [
        ProbeTarget(ip_address("10.244.1.2")),
        ProbeTarget(ip_address("2001:db8:f:1::2"), source=ip_address("2001:db8::1"), size=1500),
        ProbeTarget(ip_address("10.244.2.2"), size=1450),
        ProbeTarget(ip_address("10.244.1.77")),
        ProbeTarget(ip_address("10.99.0.1")),
        ProbeTarget(ip_address("10.244.1.2"), source=ip_address("198.51.100.1")),
        ProbeTarget(ip_address("10.244.3.2"), interface="nolink"),
    ]
    answers = await gateway.probe(targets)
    assert [answer.target for answer in answers] == targets
    assert [answer.reached for answer in answers] == [True, True, *[False] * 5], [answer.why for answer in answers]
    assert 0 < answers[0].milliseconds < 1000
    assert "1400" in answers[2].why
    assert "no answer" in answers[3].why
    assert "route" in answers[4].why
    assert "198.51.100.1" in answers[5].why
    assert answers[6].why


async def test_a_hundred_targets_are_asked_at_once(gateway: LinuxDriver) -> None:
    """Many silent targets take no longer than one."""
    started = asyncio.get_running_loop().time()
    answers = await gateway.probe([ProbeTarget(ip_address(0x0AF4010A + n)) for n in range(200)])
    assert asyncio.get_running_loop().time() - started < 2.5
    assert not any(answer.reached for answer in answers)


async def test_services_change_under_load_without_an_error(gateway: LinuxDriver) -> None:
    """While members drain, return and change weight, no connection fails (only one whose pod is removed may)."""
    await settle(gateway, by_identity(server(), vip()))
    stop = asyncio.Event()

    async def load() -> int:
        count = 0
        while not stop.is_set():
            assert (await ask_tcp(VIPS[4], 80))[0].startswith("pod")
            count += 1
        return count

    loading = asyncio.create_task(load())
    full = server()
    for turn in range(12):
        pods = ({1: 1, 2: 1, 3: 0}, {1: 1, 2: 0, 3: 2}, {1: 1, 2: 1, 3: 1})[turn % 3]
        await settle(gateway, by_identity(msgspec.structs.replace(full, members=server(pods=pods).members), vip()))
    stop.set()
    assert await loading > 5

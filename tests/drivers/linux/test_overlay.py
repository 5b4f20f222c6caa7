"""A whole overlay carries packets: gateway, a node made by ``ip`` alone, a pod behind it and a client before it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.drivers.base import ProbeTarget
from isthmus.drivers.linux import LinuxDriver
from isthmus.model.resources import (
    ZERO_MAC,
    AnyResource,
    FdbEntry,
    MssClamp,
    Neighbor,
    PortFilter,
    Route,
    SourceAddress,
    Tunnel,
)

from ..bench import by_identity, settle
from .conftest import run
from .yard import socket_in

pytestmark = pytest.mark.packets

MAC, NODE_MAC = "02:00:00:00:70:01", "02:00:00:00:71:0b"
PODS = {4: "10.244.11.2", 6: "2001:db8:fb::2"}


def overlay(version: int) -> list[AnyResource]:
    """Return the overlay over an IPv4 or IPv6 underlay; inside it carries both."""
    local, node = (("192.0.2.1", "192.0.2.11"), ("2001:db8::1", "2001:db8::11"))[version == 6]
    return [
        PortFilter(47001, (ip_address(node),)),
        Tunnel("isth0", 7001, 47001, ip_address(local), MAC, 1430, "up0"),
        SourceAddress(ip_interface("198.18.0.1/24"), "isth0"),
        SourceAddress(ip_interface("2001:db8:f::1/64"), "isth0"),
        SourceAddress(ip_interface("fe80::ff:fe00:7001/64"), "isth0"),
        MssClamp("isth0", 1300),
        FdbEntry("isth0", ZERO_MAC, ip_address(node)),
        FdbEntry("isth0", NODE_MAC, ip_address(node)),
        Neighbor("isth0", ip_address("198.18.0.11"), NODE_MAC),
        Neighbor("isth0", ip_address("2001:db8:f::b"), NODE_MAC),
        Route(ip_network("10.244.11.0/24"), ip_address("198.18.0.11"), "isth0", onlink=True),
        Route(ip_network("2001:db8:fb::/64"), ip_address("2001:db8:f::b"), "isth0", onlink=True),
    ]


def build_node(version: int) -> None:
    """Make the node's side in the namespace ``seg``, with the tools of iproute2."""
    gateway, node = (("192.0.2.1", "192.0.2.11"), ("2001:db8::1", "2001:db8::11"))[version == 6]
    run("ip", "-n", "seg", "address", "add", "192.0.2.11/24", "dev", "seg0")
    run("ip", "-n", "seg", "address", "add", "2001:db8::11/64", "dev", "seg0", "nodad")
    vxlan = f"vx address {NODE_MAC} mtu 1430 type vxlan id 7001 local {node} dev seg0 dstport 47001 nolearning"
    run("ip", "-n", "seg", "link", "add", *vxlan.split())
    run("ip", "-n", "seg", "link", "set", "vx", "up")
    run("bridge", "-n", "seg", "fdb", "append", MAC, "dev", "vx", "dst", gateway)
    for address, gateway_inside, clients in (
        ("198.18.0.11/24", "198.18.0.1", "198.51.100.0/24"),
        ("2001:db8:f::b/64", "2001:db8:f::1", "2001:db8:c::/64"),
    ):
        run("ip", "-n", "seg", "address", "add", address, "dev", "vx", *(["nodad"] if ":" in address else []))
        run("ip", "-n", "seg", "neighbor", "add", gateway_inside, "lladdr", MAC, "dev", "vx", "nud", "permanent")
        run("ip", "-n", "seg", "route", "add", clients, "via", gateway_inside, "dev", "vx")
    for pod in PODS.values():
        run("ip", "-n", "seg", "address", "add", pod, "dev", "lo", *(["nodad"] if ":" in pod else []))


def build_client(names: list[str]) -> None:
    """Add a client network on the gateway's other side."""
    run("ip", "netns", "add", "cli")
    names.append("cli")
    run("ip", "link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", "cli")
    run("ip", "link", "set", "c0", "up")
    run("ip", "-n", "cli", "link", "set", "eth0", "up")
    for inside, outside in (("198.51.100.2/24", "198.51.100.1/24"), ("2001:db8:c::2/64", "2001:db8:c::1/64")):
        nodad = ["nodad"] if ":" in inside else []
        run("ip", "address", "add", outside, "dev", "c0", *nodad)
        run("ip", "-n", "cli", "address", "add", inside, "dev", "eth0", *nodad)
        run("ip", "-n", "cli", "route", "add", "default", "via", outside.partition("/")[0])


@pytest.fixture
async def gateway(underlay: str, other_networks: list[str]) -> AsyncIterator[LinuxDriver]:
    build_client(other_networks)
    driver = LinuxDriver()
    await driver.open()
    await driver.prepare()
    yield driver
    await driver.close()


async def connected(client: socket.socket, listener: socket.socket, address: str) -> socket.socket:
    """Connect ``client`` to ``listener`` and return the pod's end."""
    loop = asyncio.get_running_loop()
    listener.bind((address, 8080))
    listener.listen()
    async with asyncio.timeout(5):
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await loop.sock_connect(client, (address, 8080))
        pod, _ = await accepting
    return pod


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
async def test_an_overlay_carries_clients_to_pods(gateway: LinuxDriver, outer: int, inner: int) -> None:
    """A client reaches a pod through the tunnel, with the segment size that both ends were told to keep."""
    build_node(outer)
    await settle(gateway, by_identity(*overlay(outer)))
    with (
        socket_in("cli", inner, socket.SOCK_STREAM) as client,
        socket_in("seg", inner, socket.SOCK_STREAM) as listener,
        await connected(client, listener, PODS[inner]) as pod,
    ):
        most = 1300 - (40 if inner == 4 else 60)
        for end in (client, pod):
            assert 1000 < end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= most
        body = bytes(200_000)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            sending = asyncio.create_task(loop.sock_sendall(pod, body))
            received = 0
            while received < len(body):
                received += len(await loop.sock_recv(client, 65536))
            await sending
    size = ProbeTarget(ip_address(PODS[inner]), size=1430)
    assert [answer.reached for answer in await gateway.probe([size])] == [True]


async def test_a_tunnel_hears_its_nodes_alone(gateway: LinuxDriver) -> None:
    """Packets of a sender that is not among the nodes never get into the overlay."""
    build_node(4)
    things = overlay(4)
    things[0] = PortFilter(47001, (ip_address("192.0.2.12"),))
    await settle(gateway, by_identity(*things))
    [answer] = await gateway.probe([ProbeTarget(ip_address(PODS[4]))])
    assert not answer.reached
    await settle(gateway, by_identity(*overlay(4)))
    [answer] = await gateway.probe([ProbeTarget(ip_address(PODS[4]))])
    assert answer.reached

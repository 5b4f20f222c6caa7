"""Direct return: a node answers clients itself, from the VIP, and passes on nothing that the overlay brought for a VIP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from isthmus.drivers.linux import LinuxDriver
from isthmus.drivers.linux.owner import Owner
from isthmus.model.resources import AnyResource, DirectReturn, FdbEntry, Neighbor, SourceAddress, Tunnel

from ..bench import by_identity, settle
from .conftest import run
from .yard import Connection, build, serve_pods

pytestmark = pytest.mark.packets

MAC, DEVICE_MAC = "02:00:00:00:70:01", "02:00:00:00:70:99"
RANGES = ("203.0.113.0/25", "2001:db8:cafe::/64")


def attached() -> list[AnyResource]:
    """Return the node's end of an overlay whose device is 192.0.2.50, with direct return for both families."""
    return [
        Tunnel("isth0", 7001, 47001, ip_address("192.0.2.1"), MAC, 1430, "up0"),
        SourceAddress(ip_interface("198.18.0.1/24"), "isth0"),
        SourceAddress(ip_interface("2001:db8:0:f::1/64"), "isth0"),
        FdbEntry("isth0", DEVICE_MAC, ip_address("192.0.2.50")),
        Neighbor("isth0", ip_address("198.18.0.254"), DEVICE_MAC),
        Neighbor("isth0", ip_address("2001:db8:0:f::fe"), DEVICE_MAC),
        *(DirectReturn(ip_network(text), "isth0") for text in RANGES),
    ]


def build_device() -> None:
    """Have ``seg`` be the device: it hands what comes for VIPs to the node's end of the overlay, as it came."""
    run("ip", "-n", "seg", "address", "add", "192.0.2.50/24", "dev", "seg0")
    vxlan = f"vx address {DEVICE_MAC} mtu 1430 type vxlan id 7001 local 192.0.2.50 dev seg0 dstport 47001 nolearning"
    run("ip", "-n", "seg", "link", "add", *vxlan.split())
    run("ip", "-n", "seg", "link", "set", "vx", "up")
    run("bridge", "-n", "seg", "fdb", "append", MAC, "dev", "vx", "dst", "192.0.2.1")
    for own, node, vips in (
        ("198.18.0.254/24", "198.18.0.1", "203.0.113.0/24"),
        ("2001:db8:0:f::fe/64", "2001:db8:0:f::1", "2001:db8:cafe::/64"),
    ):
        run("ip", "-n", "seg", "address", "add", own, "dev", "vx", *(["nodad"] if ":" in own else []))
        run("ip", "-n", "seg", "neighbor", "add", node, "lladdr", MAC, "dev", "vx", "nud", "permanent")
        run("ip", "-n", "seg", "route", "replace", vips, "via", node, "dev", "vx")


def build_client(names: list[str]) -> None:
    """Add a client that reaches VIPs through the device, and is reached by the node on its own segment."""
    run("ip", "netns", "add", "cli")
    names.append("cli")
    run("ip", "link", "add", "c0", "type", "veth", "peer", "name", "eth0", "netns", "cli")
    run("ip", "link", "add", "d0", "netns", "seg", "type", "veth", "peer", "name", "eth1", "netns", "cli")
    run("ip", "link", "set", "c0", "up")
    run("ip", "-n", "seg", "link", "set", "d0", "up")
    for link in ("eth0", "eth1"):
        run("ip", "-n", "cli", "link", "set", link, "up")
    for client, node, near, device, vips in (
        ("198.51.100.2/24", "198.51.100.1/24", "10.9.0.2/24", "10.9.0.1/24", "203.0.113.0/24"),
        ("2001:db8:c::2/64", "2001:db8:c::1/64", "fd09::2/64", "fd09::1/64", "2001:db8:cafe::/64"),
    ):
        nodad = ["nodad"] if ":" in client else []
        run("ip", "address", "add", node, "dev", "c0", *nodad)
        run("ip", "-n", "seg", "address", "add", device, "dev", "d0", *nodad)
        run("ip", "-n", "cli", "address", "add", client, "dev", "eth0", *nodad)
        run("ip", "-n", "cli", "address", "add", near, "dev", "eth1", *nodad)
        via, own = device.partition("/")[0], client.partition("/")[0]
        run("ip", "-n", "cli", "route", "add", vips, "via", via, "dev", "eth1", "src", own)
    for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
        run("ip", "netns", "exec", "seg", "sysctl", "-qw", key)


def serve_vip() -> None:
    """Do what kube-proxy does for one VIP per family; and count what leaves this host for VIPs."""
    run(
        "nft",
        """
        add table inet proxy
        add chain inet proxy pre { type nat hook prerouting priority dstnat ; }
        add rule inet proxy pre ip daddr 203.0.113.9 tcp dport 80 dnat ip to 10.244.1.2:8080
        add rule inet proxy pre ip6 daddr 2001:db8:cafe::9 tcp dport 80 dnat ip6 to [2001:db8:f:1::2]:8080
        add counter inet proxy astray
        add chain inet proxy post { type filter hook postrouting priority 0 ; }
        add rule inet proxy post ip daddr 203.0.113.0/24 counter name astray
        add rule inet proxy post ip6 daddr 2001:db8:cafe::/64 counter name astray
        add counter inet proxy overlaid
        add rule inet proxy post oifname isth0 meta l4proto tcp counter name overlaid
        """,
    )
    run("ip", "route", "add", "default", "via", "192.0.2.50")
    run("ip", "-6", "route", "add", "2001:db8:cafe::/48", "dev", "up0")


def astray() -> int:
    """Return how many packets for VIPs this host has passed on."""
    return counted("astray")


def counted(name: str) -> int:
    found = json.loads(run("nft", "-j", "list", "counter", "inet", "proxy", name))
    return int(next(one["counter"]["packets"] for one in found["nftables"] if "counter" in one))


def answered_into_the_overlay() -> int:
    """Return how much TCP went into the tunnel; what the node says there of its own address is none."""
    return counted("overlaid")


@pytest.fixture
async def node(underlay: str, other_networks: list[str]) -> AsyncIterator[LinuxDriver]:
    build(other_networks)
    build_device()
    build_client(other_networks)
    serve_vip()
    driver = LinuxDriver()
    await driver.open()
    await driver.prepare()
    yield driver
    await driver.close()


@pytest.mark.parametrize("vip", ["203.0.113.9", "2001:db8:cafe::9"])
async def test_the_node_answers_the_client_itself_from_the_vip(node: LinuxDriver, vip: str) -> None:
    """The pod sees the client's own address, the client an answer from the VIP, and the overlay no answer at all."""
    await settle(node, by_identity(*attached()))
    async with contextlib.AsyncExitStack() as stack:
        await serve_pods(stack)
        connection = await Connection.open(vip, 80, "cli")
        stack.callback(connection.sock.close)
        client = "198.51.100.2" if "." in vip else "2001:db8:c::2"
        assert await connection.ask() == ["pod1", client]
    assert answered_into_the_overlay() == 0


@pytest.mark.parametrize(("vip", "passed_on"), [("203.0.113.10", False), ("203.0.113.200", True)])
async def test_what_nobody_takes_is_refused_and_goes_no_further(node: LinuxDriver, vip: str, passed_on: bool) -> None:
    """A VIP of the range that no Service has is answered for at once; one outside of it is none of our business."""
    await settle(node, by_identity(*attached()))
    with pytest.raises(OSError):
        await Connection.open(vip, 80, "cli")
    assert (astray() > 0) == passed_on


async def test_rules_of_others_stay_and_ours_come_and_go(node: LinuxDriver) -> None:
    """A rule with another protocol number is nobody's of ours; ours goes with the wish, and an odd one of ours, too."""
    run("ip", "rule", "add", "iif", "isth0", "to", "203.0.113.0/25", "unreachable", "pref", "20010", "protocol", "77")
    wanted = by_identity(*attached())
    await settle(node, wanted)
    assert run("ip", "rule", "list", "pref", "20010").count("unreachable") == 2
    number = str(Owner("main", 200).protocol)
    run("ip", "rule", "add", "iif", "isth0", "to", "198.51.100.0/24", "blackhole", "pref", "9", "protocol", number)
    await settle(node, wanted)
    assert "198.51.100.0/24" not in run("ip", "rule", "list")
    await settle(node, {})
    assert run("ip", "rule", "list", "pref", "20010").count("unreachable") == 1
    assert "unreachable" not in run("ip", "-6", "rule", "list")

"""The lab's network by itself: what is built, how fast, and what its clients see."""

from __future__ import annotations

import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from isthmus.errors import InputError, LabError
from isthmus.lab.joined import until
from isthmus.lab.net.build import Network
from isthmus.lab.net.clients import Why, ask_udp, fetch, ping
from isthmus.lab.net.command import command_in, ip_batch, run
from isthmus.lab.net.netns import read_sysctl
from isthmus.lab.net.pods import HTTP_PORT, UDP_PORT, PodServers
from isthmus.lab.net.processes import Processes
from isthmus.lab.net.sctp import SCTP_PORT, ask_sctp
from isthmus.lab.net.segment import Announcements, who_has
from isthmus.lab.net.topology import Address, Topology, first
from packets.conftest import MakeNetwork


async def test_twenty_nodes_are_built_in_under_two_seconds(make_network: MakeNetwork) -> None:
    """Twenty nodes with their pods take less than two seconds to build."""
    began = time.monotonic()
    network = await make_network(nodes=20)
    assert time.monotonic() - began < 2
    assert len(network.nodes) == 20


async def test_a_network_is_built_again_right_after_it_went_down() -> None:
    """The same names can be used again at once, although the kernel reaps namespaces later."""
    for _ in range(4):
        async with Network(Topology(nodes=2)) as network:
            assert (await ping("", network.nodes["node2"].leg.address("ipv4"))).ok
    assert (await run(["ip", "netns", "list"])).out == ""
    assert "control" not in (await run(["ip", "-o", "link"])).out


async def test_a_second_network_in_one_sandbox_is_refused(make_network: MakeNetwork) -> None:
    """Names are fixed: a second network is refused, and the first does not notice."""
    network = await make_network(nodes=1)
    with pytest.raises(LabError, match="one at a time"):
        await make_network(nodes=1)
    assert (await ping("", network.nodes["node1"].leg.address("ipv4"))).ok


async def test_addresses_can_be_used_at_once_in_both_families(make_network: MakeNetwork) -> None:
    """No duplicate address detection holds an address, or a router's link-local address, back."""
    network = await make_network(nodes=2)
    for family in network.topology.families:
        assert (await ping("client-far", network.gateways[0].front.address(family))).ok
        assert (await ping("node1", network.nodes["node2"].leg.address(family))).ok


async def test_a_pod_says_who_it_is_and_whom_it_sees(make_network: MakeNetwork) -> None:
    """HTTP, UDP and SCTP answers name pod, node and the source address, in both families."""
    network = await make_network(nodes=1)
    servers = PodServers()
    await servers.start(network.pods)
    node = network.nodes["node1"]
    try:
        for family in network.topology.families:
            address = node.pods[0].address(family)
            bridge = str(first(node.bridge_addresses, family).ip)
            for answer in (
                await fetch("node1", address, HTTP_PORT, "/bytes/32768"),
                await ask_udp("node1", address, UDP_PORT, b"x" * 1000),
                await ask_sctp("node1", address, SCTP_PORT),
            ):
                assert answer.ok, answer
                assert (answer.pod, answer.node, answer.source) == ("pod1-1", "node1", bridge)
    finally:
        await servers.stop_all()


async def test_failures_are_told_apart(make_network: MakeNetwork) -> None:
    """A closed port, an unknown network and a silent address are three different answers, and none is an exception."""
    network = await make_network(nodes=1)
    pod = network.pods[0].address("ipv4")
    assert (await fetch("node1", pod, 1)).why is Why.REFUSED
    assert (await ask_udp("node1", pod, 1)).why is Why.REFUSED
    assert (await fetch("node1", ip_address("198.18.0.1"), 80)).why is Why.UNREACHABLE
    await command_in(
        "pod1-1", ["nft", "add table ip t; add chain ip t in { type filter hook input priority 0; policy drop; }"]
    )
    assert (await fetch("node1", pod, HTTP_PORT, timeout=0.3)).why is Why.NO_ANSWER
    assert (await ping("node1", pod, timeout=0.3)).why is Why.NO_ANSWER


async def test_a_stopped_pod_refuses_and_a_started_one_answers_again(make_network: MakeNetwork) -> None:
    """Stopping a pod's servers leaves its address reachable and its port closed."""
    network = await make_network(nodes=1)
    servers = PodServers()
    address = network.pods[0].address("ipv4")
    await servers.start(network.pods)
    await servers.stop(["pod1-1"])
    assert (await fetch("node1", address, HTTP_PORT)).why is Why.REFUSED
    await servers.start(network.pods)
    assert (await fetch("node1", address, HTTP_PORT)).ok
    await servers.stop_all()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_the_mtu_is_enforced_and_reported(make_network: MakeNetwork, family: str) -> None:
    """A packet that does not fit is not fragmented: the router on the way names the MTU."""
    network = await make_network(nodes=1)
    node = network.nodes["node1"]
    pod = node.pods[0].address(family)  # type: ignore[arg-type]
    way = f"route add {node.pod_cidr(family)} via {node.leg.address(family)}"  # type: ignore[arg-type]
    await ip_batch("gw1", [way])
    assert (await ping("gw1", pod, size=1450)).ok
    refused = await ping("gw1", pod, size=1451)
    assert (refused.why, refused.mtu) == (Why.TOO_BIG, 1450)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_everybody_who_holds_a_vip_is_found(make_network: MakeNetwork, family: str) -> None:
    """Asking for a VIP returns nobody, its one holder, or both machines that believe to hold it."""
    network = await make_network(nodes=0, gateways=2)
    near = network.topology.client_near
    vip = network.topology.vip(9, family)  # type: ignore[arg-type]
    assert await who_has(near, vip, window=0.1, tries=1) == ()
    for count, gateway in enumerate(network.gateways, 1):
        await ip_batch(gateway.name, [f"addr add {vip}/{vip.max_prefixlen} dev front nodad"])
        assert await who_has(near, vip) == tuple(one.front.mac for one in network.gateways[:count])


async def test_announcements_are_seen_with_their_mac(make_network: MakeNetwork) -> None:
    """A gratuitous ARP and an unsolicited neighbour advertisement reach everybody on the segment and are noted."""
    network = await make_network(nodes=0)
    topology = network.topology
    vips = [topology.vip(7), topology.vip(7, "ipv6")]
    mac = "02:00:00:aa:00:01"
    await ip_batch("gw1", [f"addr add {vip}/{vip.max_prefixlen} dev front nodad" for vip in vips])
    settings = ["ipv4/conf/front/arp_notify", "ipv6/conf/front/ndisc_notify"]
    await command_in("gw1", ["sh", "-c", " && ".join(f"echo 1 > /proc/sys/net/{name}" for name in settings)])
    async with Announcements(topology.client_near) as heard:
        await ip_batch("gw1", [f"link set front address {mac}"])
        for vip in vips:
            assert (await heard.wait_for(vip)).mac == mac
        assert heard.of(topology.vip(8)) == []


async def test_the_far_client_reaches_a_routed_vip_through_router_and_gateway(make_network: MakeNetwork) -> None:
    """A VIP of the routed range, translated on gw1 by hand, leads the far client to a pod and back: TCP, UDP, SCTP."""
    network = await make_network(nodes=1, cni="none")
    node = network.nodes["node1"]
    pod, vip = node.pods[0].address("ipv4"), network.topology.vip(1, routed=True)
    await ip_batch("gw1", [f"route add {node.pod_cidr('ipv4')} via {node.leg.address('ipv4')}"])
    nat = "type nat hook"
    rules = f"""
        table ip by_hand {{
            chain in {{
                {nat} prerouting priority -100
                ip daddr {vip} tcp dport 80 dnat to {pod}:{HTTP_PORT}
                ip daddr {vip} udp dport 80 dnat to {pod}:{UDP_PORT}
                ip daddr {vip} sctp dport 80 dnat to {pod}:{SCTP_PORT}
            }}
            chain out {{ {nat} postrouting priority 100; oifname "under" masquerade; }}
        }}"""
    await command_in("gw1", ["nft", "-f", "-"], text=rules)
    servers = PodServers()
    await servers.start(network.pods)
    try:
        answers = [await ask("client-far", vip, 80) for ask in (fetch, ask_udp, ask_sctp)]
    finally:
        await servers.stop_all()
    for answer in answers:
        assert answer.ok, answer
        assert (answer.pod, answer.source) == ("pod1-1", str(network.gateways[0].under.address("ipv4")))


async def test_nodes_come_and_go_while_the_network_is_up(make_network: MakeNetwork) -> None:
    """A node that joins is reachable, one that is removed is not, and its number is free again."""
    network = await make_network(nodes=2)
    added = await network.add_node()
    assert added.name == "node3"
    assert (await ping("node1", added.leg.address("ipv6"))).ok
    gone = network.nodes["node1"].leg.address("ipv4")
    await network.remove_node("node1")
    assert not (await ping("node3", gone, timeout=0.2)).ok
    assert (await network.add_node()).name == "node1"
    assert list(network.nodes) == ["node1", "node2", "node3"]
    with pytest.raises(LabError, match="There is no node 'node9'"):
        await network.remove_node("node9")


async def test_an_unplugged_node_keeps_its_addresses(make_network: MakeNetwork) -> None:
    """Pulling a cable and putting it back needs no new configuration, IPv6 included."""
    network = await make_network(nodes=1)
    address = network.nodes["node1"].leg.address("ipv6")
    await network.set_node_link("node1", up=False)
    assert not (await ping("", address, timeout=0.2)).ok
    await network.set_node_link("node1", up=True)
    deadline = time.monotonic() + 5
    while not (await ping("", address, timeout=0.2)).ok:
        assert time.monotonic() < deadline


async def _answers(namespace: str, address: Address) -> None:
    """Wait until an echo request is answered; a network that was built a moment ago may lose the first one."""

    async def answered() -> bool:
        return (await ping(namespace, address, timeout=0.5)).ok

    await until(answered, timeout=5)


async def test_one_family_alone_leaves_no_trace_of_the_other(make_network: MakeNetwork) -> None:
    """An IPv4 lab has IPv6 switched off, an IPv6 lab has no IPv4 address but loopback's."""
    network = await make_network(nodes=1, families=("ipv4",))
    assert read_sysctl("node1", "ipv6/conf/all/disable_ipv6") == "1"
    await _answers("gw1", network.nodes["node1"].leg.address("ipv4"))
    await network.down()
    network = await make_network(nodes=1, families=("ipv6",))
    await _answers("gw1", network.nodes["node1"].leg.address("ipv6"))
    addresses = (await run(["ip", "-n", "node1", "-4", "-o", "addr"])).out.splitlines()
    assert all("127.0.0.1" in line for line in addresses)


async def test_large_labs_bring_their_own_neighbours(make_network: MakeNetwork) -> None:
    """Above thirty nodes every node knows its fellows' MACs, since the host's one neighbour table would overflow."""
    network = await make_network(nodes=31, pods_per_node=0, families=("ipv4",))
    await network.add_node()
    for name in ("node1", "node32"):
        known = (await run(["ip", "-n", name, "neigh"])).out
        assert known.count("PERMANENT") == 31


async def test_a_process_runs_in_its_namespace_and_is_stopped(make_network: MakeNetwork, tmp_path: Path) -> None:
    """A process sees its namespace's devices, its log is readable, and it ends with all its children."""
    await make_network(nodes=0)
    processes = Processes(tmp_path)
    running = await processes.start(
        "gw1", ["sh", "-c", "ls /sys/class/net; echo $WORD; sleep 1000 & wait"], env={"WORD": "up"}
    )
    await running.wait_for_log("up")
    assert {"front", "under"} <= set(running.read_log().split())
    await processes.stop_all()
    assert running.status is not None
    failing = await processes.start("gw1", ["sh", "-c", "echo broken; exit 3"])
    with pytest.raises(LabError, match=r"(?s)ended with status 3.*broken"):
        await failing.wait_for_log("never")


async def test_a_refused_line_is_named(make_network: MakeNetwork) -> None:
    """An error of a batch says which line of which namespace the kernel refused, and why."""
    await make_network(nodes=0)
    with pytest.raises(LabError, match="ip in gw1 refused 'link set nowhere up': Cannot find device"):
        await ip_batch("gw1", ["link set lo up", "link set nowhere up"])
    with pytest.raises(InputError, match="gateways"):
        await make_network(gateways=99)

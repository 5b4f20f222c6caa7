"""A NetScaler that was configured by hand carries packets on every path, and loses them for every mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from isthmus.lab.adc.appliances import node_source
from isthmus.lab.joined import until
from isthmus.lab.net.clients import Why
from isthmus.lab.net.command import command_in
from isthmus.lab.net.segment import Announcements, who_has
from isthmus.lab.net.topology import CLIENT_FAR, Family
from packets.by_hand import FAMILIES, NETWORKS, NOBODY, PORT, VNI, Hand, by_hand

pytestmark = pytest.mark.asyncio(loop_scope="module")
both = pytest.mark.parametrize("family", FAMILIES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def built() -> AsyncIterator[Hand]:
    """Return a lab of two nodes with an appliance that has an address on the nodes' segment."""
    async with by_hand(on_nodes=2) as hand:
        yield hand


@pytest_asyncio.fixture(loop_scope="module")
async def hand(built: Hand) -> AsyncIterator[Hand]:
    """Return the lab with the appliance as it was when it was new."""
    yield built
    await built.clean()


@both
async def test_overlay_with_flooding(hand: Hand, family: Family) -> None:
    """The client reaches both pods through a VXLAN whose neighbors are asked for; the pods see the address bound to it."""
    await hand.tunnel_on_nodes(family)
    await hand.overlay(family)
    await hand.flooded(family)
    vip = await hand.serve(family)
    await hand.answers(vip)
    found = await hand.spread(vip)
    assert found.pods == {"pod1-1": 5, "pod2-1": 5}, found
    assert found.sources == {str(hand.own(family))}
    assert (await hand.fetch(vip, client=CLIENT_FAR)).ok
    [row] = await hand.nitro.get(f"lbvserver/v1-{family}")
    assert (row["curstate"], row["health"], row["activeservices"]) == ("UP", "100", "2")


@both
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
async def test_overlay_with_static_neighbors(hand: Hand, family: Family, bound: bool) -> None:
    """The client reaches both pods with a neighbor entry per node, and then the address need not be bound to the VXLAN."""
    await hand.tunnel_on_nodes(family)
    await hand.overlay(family, bound=bound)
    for node in hand.nodes:
        await hand.neighbor(family, hand.inner(node, family), hand.mac(node), node.leg.address("ipv4"))
        await hand.route(family, node.pod_cidr(family), hand.inner(node, family))
    vip = await hand.serve(family)
    await hand.answers(vip)
    found = await hand.spread(vip)
    assert found.pods == {"pod1-1": 5, "pod2-1": 5}, found
    assert found.sources == {str(hand.own(family))}


@both
async def test_static_routes(hand: Hand, family: Family) -> None:
    """The client reaches both pods through routes by the nodes' own addresses, TCP and UDP; so it does a routed address."""
    for node in hand.nodes:
        await hand.route(family, node.pod_cidr(family), node.leg.address(family))
    vip = await hand.serve(family)
    routed = await hand.serve(family, 2, routed=True)
    datagrams = await hand.serve(family, 3, udp=True)
    for one in (vip, routed):
        await hand.answers(one)
        assert (await hand.spread(one)).pods == {"pod1-1": 5, "pod2-1": 5}
        assert (await hand.fetch(one, client=CLIENT_FAR)).source == str(node_source(hand.lab.topology, family))
    await hand.until_state(f"v3-{family}", "UP")
    assert (await hand.spread(datagrams, udp=True)).pods == {"pod1-1": 5, "pod2-1": 5}


@both
async def test_policy_routes_count_when_they_are_applied(hand: Hand, family: Family) -> None:
    """Policy routes lead from the net profile's source and from no other, and only once they are applied."""
    chosen = node_source(hand.lab.topology, family, 2)
    await hand.made("netprofile", name="p", srcip=str(chosen))
    for node in hand.nodes:
        where = node.leg.address(family)
        await hand.policy_route(family, node.name, chosen, node.pod_cidr(family), where)
    vip = await hand.serve(family, netprofile="p")
    other = await hand.serve(family, 2)
    assert not (await hand.fetch(vip)).ok
    await hand.apply(family)
    await hand.answers(vip)
    found = await hand.spread(vip)
    assert found.pods == {"pod1-1": 5, "pod2-1": 5}, found
    assert found.sources == {str(chosen)}
    assert await hand.state(f"v2-{family}") == "DOWN"
    assert (await hand.fetch(other)).why is Why.REFUSED


MISTAKES = ("no source address", "address not bound", "mask too narrow", "no bridge entry", "bridge entry gone stale")


@both
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_in_the_overlay_loses_packets(hand: Hand, family: Family, mistake: str) -> None:
    """Everything is right but for one thing, and the second node's pod is not reached; mended, it is."""
    first, second = hand.nodes
    await hand.tunnel_on_nodes(family)
    await hand.made("vxlan", id=VNI, port=PORT)
    if mistake != "no source address":
        await hand.made("vxlan_srcip_binding", id=VNI, srcip=str(hand.vtep()))
    width = NETWORKS[family].prefixlen
    narrow = mistake == "mask too narrow"
    bound = 0 if mistake == "address not bound" else VNI
    await hand.subnet_address(
        family, hand.own(family), (30 if family == "ipv4" else 126) if narrow else width, vni=bound
    )
    wrong = {"no bridge entry": None, "bridge entry gone stale": "192.0.2.77"}
    for node in (first, second):
        vtep = wrong.get(mistake, str(node.leg.address("ipv4"))) if node is second else str(node.leg.address("ipv4"))
        if vtep is not None:
            await hand.made("bridgetable", mac=NOBODY, vxlan=str(VNI), vtep=vtep)
        if narrow:
            kind = "route" if family == "ipv4" else "route6"
            network = node.pod_cidr(family)
            own = {"netmask": str(network.netmask)} if family == "ipv4" else {}
            text = str(network.network_address) if family == "ipv4" else str(network)
            refused = await hand.nitro.add(kind, network=text, gateway=str(hand.inner(node, family)), **own)
            assert refused.code == 986, "a device does not take a gateway of no subnet of its own"
        else:
            await hand.route(family, node.pod_cidr(family), hand.inner(node, family))
    assert not (await hand.reaches(second, family)).ok
    if mistake == "no source address":
        await hand.made("vxlan_srcip_binding", id=VNI, srcip=str(hand.vtep()))
    elif mistake == "address not bound":
        await hand.bind(family, f"{hand.own(family)}/{width}", VNI)
    elif narrow:
        return
    else:
        assert (await hand.reaches(first, family)).ok
        await hand.made("bridgetable", mac=NOBODY, vxlan=str(VNI), vtep=str(second.leg.address("ipv4")))

    async def reached() -> bool:
        return (await hand.reaches(second, family)).ok

    await until(reached, timeout=5)


@both
async def test_a_wrong_neighbor_mac_loses_packets(hand: Hand, family: Family) -> None:
    """A static neighbor with a MAC that the node does not have reaches nobody, and the other node is none the worse."""
    first, second = hand.nodes
    await hand.tunnel_on_nodes(family)
    await hand.overlay(family)
    for node, mac in ((first, hand.mac(first)), (second, "02:00:00:aa:00:77")):
        await hand.neighbor(family, hand.inner(node, family), mac, node.leg.address("ipv4"))
        await hand.route(family, node.pod_cidr(family), hand.inner(node, family))
    assert (await hand.reaches(first, family)).ok
    assert not (await hand.reaches(second, family)).ok


async def test_a_disabled_member_takes_no_new_connections(hand: Hand) -> None:
    """Disabled, a member gets nothing more; with all of them disabled clients are refused; enabled, they serve again."""
    for node in hand.nodes:
        await hand.route("ipv4", node.pod_cidr("ipv4"), node.leg.address("ipv4"))
    vip = await hand.serve("ipv4")
    await hand.answers(vip)
    first, second = (str(node.pods[0].address("ipv4")) for node in hand.nodes)
    await hand.act("servicegroup", "disable", servicegroupname="g1-ipv4", servername=first, port=8080)
    assert (await hand.spread(vip)).pods == {"pod2-1": 10}
    await hand.act("servicegroup", "disable", servicegroupname="g1-ipv4", servername=second, port=8080)
    assert (await hand.fetch(vip)).why is Why.REFUSED
    for name in (first, second):
        await hand.act("servicegroup", "enable", servicegroupname="g1-ipv4", servername=name, port=8080)
    await hand.answers(vip)


async def test_a_member_that_stops_answering_is_down(hand: Hand) -> None:
    """Monitors find a pod that has stopped; its share goes to the other, and comes back with it. Nobody up: DOWN, refused."""
    for node in hand.nodes:
        await hand.route("ipv4", node.pod_cidr("ipv4"), node.leg.address("ipv4"))
    vip = await hand.serve("ipv4")
    await hand.answers(vip)

    async def only(*names: str) -> bool:
        found = await hand.spread(vip, requests=4)
        return found.ok and set(found.pods) == set(names)

    await until(lambda: only("pod1-1", "pod2-1"), timeout=5)
    pods = {pod.name: pod for pod in hand.lab.network.pods}
    await hand.lab.pods.stop(["pod2-1"])
    await until(lambda: only("pod1-1"), timeout=5)
    await hand.lab.pods.stop(["pod1-1"])
    await hand.until_state("v1-ipv4", "DOWN")
    assert (await hand.fetch(vip)).why is Why.REFUSED
    await hand.lab.pods.start(pods.values())
    await until(lambda: only("pod1-1", "pod2-1"), timeout=8)


async def test_methods_and_weights(hand: Hand) -> None:
    """By source address a client stays with one pod; weights share as they say."""
    for node in hand.nodes:
        await hand.route("ipv4", node.pod_cidr("ipv4"), node.leg.address("ipv4"))
    sticky = await hand.serve("ipv4", 1, lbmethod="SOURCEIPHASH")
    await hand.answers(sticky)
    await hand.until_state("v1-ipv4", "UP")
    await hand.made("servicegroup", servicegroupname="w", servicetype="TCP", healthmonitor="NO")
    for node, weight in zip(hand.nodes, (3, 1), strict=True):
        await hand.member("w", node.pods[0].address("ipv4"), weight=weight)
    vip = hand.lab.topology.vip(2)
    await hand.made("lbvserver", name="w", servicetype="TCP", ipv46=str(vip), port=80, lbmethod="ROUNDROBIN")
    await hand.made("lbvserver_servicegroup_binding", name="w", servicegroupname="w")
    assert (await hand.spread(vip, requests=8)).pods == {"pod1-1": 6, "pod2-1": 2}
    assert len((await hand.spread(sticky, requests=8)).pods) == 1


@both
async def test_an_address_answers_while_it_is_enabled(hand: Hand, family: Family) -> None:
    """A virtual address is announced and answered for by the device alone, and by nobody once its server has gone."""
    leg = hand.lab.topology.client_near
    async with Announcements(leg) as heard:
        vip = await hand.serve(family)
        mac = hand.device.plan.front.mac
        assert (await heard.wait_for(vip)).mac == mac
    assert await who_has(leg, vip) == (mac,)
    if family == "ipv4":
        await hand.act("nsip", "disable", ipaddress=str(vip))
        assert await who_has(leg, vip, window=0.1) == ()
        await hand.act("nsip", "enable", ipaddress=str(vip))
        assert await who_has(leg, vip) == (mac,)
        reply = await hand.nitro.call("PUT", "nsip", {"nsip": {"ipaddress": str(vip), "arp": "DISABLED"}})
        assert reply.status == 200, reply.text
        assert await who_has(leg, vip, window=0.1) == ()
    await hand.gone(f"lbvserver/v1-{family}")
    assert await who_has(leg, vip, window=0.1) == ()


async def test_a_reboot_goes_back_to_what_was_saved(hand: Hand) -> None:
    """While it starts, the device carries nothing; then it carries what was saved and nothing else."""
    for node in hand.nodes:
        await hand.route("ipv4", node.pod_cidr("ipv4"), node.leg.address("ipv4"))
    vip = await hand.serve("ipv4")
    await hand.answers(vip)
    saved = hand.device.appliance.config.saved
    hand.device.appliance.config.end_save()
    try:
        other = await hand.serve("ipv4", 2)
        await hand.answers(other)
        hand.device.appliance.reboot(0.5)
        await hand.device.appliance.settle()
        assert hand.device.plane.made == 0
        assert (await hand.fetch(vip, timeout=0.2)).why in (Why.NO_ANSWER, Why.UNREACHABLE)
        await hand.answers(vip)
        assert not (await hand.fetch(other)).ok
    finally:
        hand.device.appliance.config.saved = saved


async def test_nothing_is_left_over(hand: Hand) -> None:
    """Links, addresses, routes, rules and neighbors are after a clean-up what they were before it all."""

    async def seen() -> list[str]:
        shown = []
        for words in (("link",), ("addr",), ("route", "show", "table", "all"), ("rule",)):
            for version in ("-4", "-6") if words[0] != "link" else ("-o",):
                out = (await command_in(hand.device.plan.name, ["ip", "-o", version, *words])).out
                shown += [line for line in out.splitlines() if "expires" not in line]
        return sorted(shown)

    before = await seen()
    for family in FAMILIES:
        if family == "ipv4":
            await hand.overlay(family)
        else:
            await hand.subnet_address(family, hand.own(family), 64, vni=VNI)
        for node in hand.nodes:
            await hand.route(family, node.pod_cidr(family), hand.inner(node, family))
            await hand.neighbor(family, hand.inner(node, family), hand.mac(node), node.leg.address("ipv4"))
            source = node_source(hand.lab.topology, family)
            await hand.policy_route(family, node.name, source, node.pod_cidr(family), node.leg.address(family))
        await hand.apply(family)
        await hand.serve(family)
    assert await seen() != before
    await hand.clean()
    assert await seen() == before

"""A NetScaler configured by hand, as a person or an older controller would, and nodes that were told of it by hand.

No driver and no controller is in this: requests go to the API of the appliance, lines of ``ip`` and ``bridge`` to the nodes.
The one confusing thing: what a test has configured goes by a reboot, for nothing but the first configuration was saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_interface, ip_network
from typing import Any

import aiohttp

from isthmus.lab.adc.appliances import Device, appliances
from isthmus.lab.joined import until
from isthmus.lab.net.clients import Answer, ask_udp, fetch
from isthmus.lab.net.command import bridge_batch, command_in, ip_batch
from isthmus.lab.net.lab import Lab
from isthmus.lab.net.matrix import Spread, spread
from isthmus.lab.net.pods import HTTP_PORT, UDP_PORT
from isthmus.lab.net.topology import CLIENT_NEAR, Address, Family, NodePlan, Topology
from lab.nitro.talking import Nitro

VNI, PORT = 200, 8466
NOBODY = "00:00:00:00:00:00"
NETWORKS = {"ipv4": ip_network("192.168.253.0/24"), "ipv6": ip_network("fd00:253::/64")}
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Hand:
    """What a person does to one appliance and the nodes, in one family at a time."""

    def __init__(self, lab: Lab, devices: Sequence[Device], nitro: Nitro) -> None:
        self.lab = lab
        self.devices = tuple(devices)
        self.device = devices[0]
        self.nitro = nitro
        self._tunnelled: list[str] = []

    # --- addresses ----------------------------------------------------------------------------------------------

    def own(self, family: Family) -> Address:
        """Return the device's address in the overlay."""
        return NETWORKS[family].network_address + 1

    def inner(self, node: NodePlan, family: Family) -> Address:
        """Return a node's address in the overlay."""
        return NETWORKS[family].network_address + 100 + node.index

    def vtep(self, family: Family = "ipv4") -> Address:
        """Return where the device's tunnels start: at its address for management."""
        return self.device.plan.under.address(family)

    @property
    def nodes(self) -> list[NodePlan]:
        return list(self.lab.network.nodes.values())

    # --- the device ---------------------------------------------------------------------------------------------

    async def made(self, kind: str, **fields: Any) -> None:
        """Add or bind what must succeed."""
        await self.nitro.made(kind, **fields)

    async def gone(self, path: str) -> None:
        """Delete what must be there."""
        reply = await self.nitro.call("DELETE", path)
        assert reply.status == 200, reply.text

    async def act(self, kind: str, action: str, **fields: Any) -> None:
        """Do an action that must succeed."""
        reply = await self.nitro.call("POST", f"{kind}?action={action}", {kind: fields})
        assert reply.status == 200, reply.text

    async def subnet_address(self, family: Family, address: Address, width: int, *, vni: int = 0) -> None:
        """Give the device an address for traffic, in a VXLAN if ``vni`` says so."""
        interface = ip_interface(f"{address}/{width}")
        if family == "ipv4":
            await self.made("nsip", ipaddress=str(address), netmask=str(interface.netmask))
        else:
            await self.made("nsip6", ipv6address=str(interface), type="SNIP")
        if vni:
            await self.bind(family, interface.with_prefixlen, vni)

    async def bind(self, family: Family, interface: str, vni: int) -> None:
        """Bind an address to a VXLAN."""
        if family == "ipv4":
            await self.made("vxlan_nsip_binding", id=vni, ipaddress=interface.partition("/")[0])
        else:
            await self.made("vxlan_nsip6_binding", id=vni, ipaddress=interface)

    async def route(self, family: Family, network: Any, gateway: Address) -> None:
        """Add a static route."""
        if family == "ipv4":
            await self.made(
                "route", network=str(network.network_address), netmask=str(network.netmask), gateway=str(gateway)
            )
        else:
            await self.made("route6", network=str(network), gateway=str(gateway))

    async def neighbor(self, family: Family, address: Address, mac: str, vtep: Address, *, vni: int = VNI) -> None:
        """Add a static neighbor behind a VXLAN."""
        kind, word = ("arp", "ipaddress") if family == "ipv4" else ("nd6", "neighbor")
        await self.made(kind, **{word: str(address), "mac": mac, "vxlan": str(vni), "vtep": str(vtep)})

    async def policy_route(self, family: Family, name: str, source: Address, network: Any, gateway: Address) -> None:
        """Add a policy route from one source to one network; it is in force when it is applied."""
        six = "v6" if family == "ipv6" else ""
        fields = {
            "name": name,
            "action": "ALLOW",
            f"srcip{six}": True,
            "srcipop": "=",
            f"srcip{six}val": str(source),
            f"destip{six}": True,
            "destipop": "=",
            f"destip{six}val": str(network) if six else f"{network[0]}-{network[-1]}",
            "nexthop": True,
            "nexthopval": str(gateway),
        }
        await self.made("nspbr6" if six else "nspbr", **fields)

    async def apply(self, family: Family) -> None:
        """Put policy routes in force."""
        kind = "nspbrs" if family == "ipv4" else "nspbr6"
        await self.act(kind, "apply")

    async def overlay(self, family: Family, *, bound: bool = True, width: int = 0) -> None:
        """Make the VXLAN and the device's address in it."""
        await self.made("vxlan", id=VNI, port=PORT)
        await self.made("vxlan_srcip_binding", id=VNI, srcip=str(self.vtep()))
        width = width or NETWORKS[family].prefixlen
        await self.subnet_address(family, self.own(family), width, vni=VNI if bound else 0)

    async def flooded(self, family: Family, nodes: Sequence[NodePlan] = ()) -> None:
        """Tell the bridge table where nodes are, and the routes through them; who has which address is asked."""
        for node in nodes or self.nodes:
            await self.made("bridgetable", mac=NOBODY, vxlan=str(VNI), vtep=str(node.leg.address("ipv4")))
            await self.route(family, node.pod_cidr(family), self.inner(node, family))

    async def serve(
        self,
        family: Family,
        number: int = 1,
        *,
        udp: bool = False,
        nodes: Sequence[NodePlan] = (),
        routed: bool = False,
        check: bool = True,
        **fields: Any,
    ) -> Address:
        """Make a virtual server over the pods of ``nodes``, and return its address; ``check`` has it probed quickly."""
        vip = self.lab.topology.vip(number, family, routed=routed)
        name, group = f"v{number}-{family}", f"g{number}-{family}"
        kind, port = ("UDP", UDP_PORT) if udp else ("TCP", HTTP_PORT)
        profile = {"netprofile": fields.pop("netprofile")} if "netprofile" in fields else {}
        await self.made("servicegroup", servicegroupname=group, servicetype=kind, **profile)
        if check:
            await self.monitor(group, "PING" if udp else "TCP")
        for node in nodes or self.nodes:
            for pod in node.pods:
                await self.member(group, pod.address(family), port)
        given = {"lbmethod": "ROUNDROBIN", **fields}
        await self.made("lbvserver", name=name, servicetype=kind, ipv46=str(vip), port=53 if udp else 80, **given)
        await self.made("lbvserver_servicegroup_binding", name=name, servicegroupname=group)
        return vip

    async def monitor(self, group: str, kind: str) -> None:
        """Have a group probed every 100 ms, after 0.3 s without an answer again, and DOWN after two of these."""
        own = {"interval": 1000, "units3": "MSEC", "resptimeout": 300, "units4": "MSEC", "retries": 2, "downtime": 1}
        await self.made("lbmonitor", monitorname=f"m-{group}", type=kind, **own)
        await self.made("servicegroup_lbmonitor_binding", servicegroupname=group, monitor_name=f"m-{group}")

    async def member(self, group: str, address: Address, port: int = HTTP_PORT, **fields: Any) -> None:
        """Add a member to a group."""
        kind = "servicegroup_servicegroupmember_binding"
        await self.made(kind, servicegroupname=group, ip=str(address), port=port, **fields)

    async def state(self, name: str) -> str:
        """Return what a virtual server says of itself."""
        [row] = await self.nitro.get(f"lbvserver/{name}")
        return str(row["curstate"])

    async def until_state(self, name: str, state: str, *, timeout: float = 8) -> None:
        """Wait until a virtual server is UP, or DOWN."""

        async def holds() -> bool:
            return await self.state(name) == state

        await until(holds, timeout=timeout)

    # --- the nodes ----------------------------------------------------------------------------------------------

    async def tunnel_on_nodes(self, family: Family) -> None:
        """Give each node the other end of the VXLAN."""
        for node in self.nodes:
            inner, nodad = self.inner(node, family), " nodad" if family == "ipv6" else ""
            vxlan = f"type vxlan id {VNI} local {node.leg.address('ipv4')} dstport {PORT} dev eth0"
            await ip_batch(
                node.name,
                [
                    f"link add ov0 address {self.mac(node)} {vxlan}",
                    f"addr add {inner}/{NETWORKS[family].prefixlen} dev ov0{nodad}",
                    "link set ov0 up",
                ],
            )
            self._tunnelled.append(node.name)
            await bridge_batch(node.name, [f"fdb append {NOBODY} dev ov0 dst {self.vtep()} self permanent"])

    @staticmethod
    def mac(node: NodePlan) -> str:
        """Return the MAC of a node's end of the VXLAN."""
        return f"02:00:00:aa:00:{node.index:02x}"

    async def clean(self) -> None:
        """Forget what a test has configured, here and there."""
        for name in self._tunnelled:
            await command_in(name, ["ip", "link", "del", "ov0"], check=False)
        self._tunnelled = []
        self.device.appliance.faults.clear()
        self.device.appliance.reboot()
        await self.device.appliance.settle()

    # --- what the network does ----------------------------------------------------------------------------------

    async def fetch(self, vip: Address, *, client: str = CLIENT_NEAR, timeout: float = 0.7) -> Answer:
        """GET from a client through a virtual address."""
        return await fetch(client, vip, 80, timeout=timeout)

    async def answers(self, vip: Address, *, timeout: float = 8) -> None:
        """Wait until a virtual address answers, and all members of its server answer their monitors."""

        async def one() -> bool:
            rows = [row for row in await self.nitro.get("lbvserver") if row["ipv46"] == str(vip)]
            return all(row["health"] == "100" for row in rows) and (await self.fetch(vip)).ok

        await until(one, timeout=timeout)

    async def spread(self, vip: Address, requests: int = 10, **more: Any) -> Spread:
        """Ask a virtual address some times, one request after the other."""
        return await spread(CLIENT_NEAR, vip, 53 if more.get("udp") else 80, requests=requests, **more)

    async def reaches(self, node: NodePlan, family: Family, *, udp: bool = False) -> Answer:
        """Ask the pod of a node from the device itself."""
        if udp:
            return await ask_udp(self.device.plan.name, node.pods[0].address(family), UDP_PORT, timeout=0.4)
        return await fetch(self.device.plan.name, node.pods[0].address(family), HTTP_PORT, timeout=0.4)


@contextlib.asynccontextmanager
async def by_hand(*, on_nodes: int = 0, **numbers: Any) -> AsyncIterator[Hand]:
    """Build a lab with an appliance (or a pair) that nobody has configured for its pods yet."""
    numbers.setdefault("nodes", 2)
    numbers.setdefault("cni", "none")
    async with (
        Lab(Topology(device="netscaler", **numbers)) as lab,
        appliances(lab.topology, lab.directory, on_nodes=on_nodes) as devices,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield Hand(lab, devices, Nitro(session, devices[0].endpoint.url))

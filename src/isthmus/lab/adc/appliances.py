"""The appliances of a lab: plugged in as its topology says, started with what a person would have configured by hand.

A new device has an address for management on the nodes' segment, an address on the clients' side, the way out and load
balancing switched on. Nothing of it knows of Kubernetes. The one confusing thing: the two nodes of a pair differ in their
cables and their addresses for management only; everything else is one configuration, in force on the one that leads.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from isthmus.lab.adc.plane import Plane
from isthmus.lab.adc.sockets import listening
from isthmus.lab.adc.wiring import Address, Cable, Wiring
from isthmus.lab.net.topology import Family, GatewayPlan, Topology, first
from isthmus.lab.nitro.appliance import Appliance
from isthmus.lab.nitro.server import Endpoint, serving

PORT = 80
TLS_PORT = 443
PACE = 0.1  # pauses between probes, as a part of what is configured: a test does not wait five seconds


@dataclass(frozen=True, slots=True)
class Device:
    """One appliance of a lab."""

    plan: GatewayPlan
    appliance: Appliance
    plane: Plane
    endpoint: Endpoint


def wiring(plan: GatewayPlan, topology: Topology) -> Wiring:
    """Return how a device is plugged in: 1/1 to the clients' side, 1/2 to the nodes' segment."""
    front = Cable("1/1", plan.front.name, plan.front.mac, topology.front)
    under = Cable("1/2", plan.under.name, plan.under.mac, topology.underlay, topology.underlay_mtu)
    return Wiring(plan.name, (front, under))


def node_source(topology: Topology, family: Family, number: int = 1) -> Address:
    """Return the ``number``-th address (from 1) that a device may have on the nodes' segment for traffic."""
    [network] = [one for one in topology.underlay if one.version == (4 if family == "ipv4" else 6)]
    return network.broadcast_address - 34 - number if family == "ipv4" else network.network_address + 0x20000 + number


def configure(device: Appliance, plan: GatewayPlan, topology: Topology, *, on_nodes: int = 0) -> None:
    """Write what a person would have, and save it; ``on_nodes`` is how many addresses the nodes' segment gets for traffic."""
    device.write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=enable")
    for family in topology.families:
        sources = [first(plan.front.addresses, family)]
        width = first(plan.under.addresses, family).network.prefixlen
        sources += [
            ip_interface(f"{node_source(topology, family, number)}/{width}") for number in range(1, on_nodes + 1)
        ]
        way_out = str(topology.router_front.address(family))
        if family == "ipv4":
            for one in sources:
                device.write("POST", "nsip", {"nsip": {"ipaddress": str(one.ip), "netmask": str(one.netmask)}})
            default = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": way_out}
            device.write("POST", "route", {"route": default})
        else:
            for one in sources:
                device.write("POST", "nsip6", {"nsip6": {"ipv6address": str(one), "type": "SNIP"}})
            management = {"ipv6address": str(first(plan.under.addresses, family)), "type": "NSIP"}
            device.write("POST", "nsip6", {"nsip6": management})
            device.write("POST", "route6", {"route6": {"network": "::/0", "gateway": way_out}})
    device.config.end_save()


@contextlib.asynccontextmanager
async def appliances(
    topology: Topology,
    directory: Path,
    *,
    on_nodes: int = 0,
    pace: float = PACE,
    tls: bool = False,
    admin: int | None = None,
) -> AsyncIterator[tuple[Device, ...]]:
    """Start the appliances of a topology whose network is up: one, or a pair that is one device.

    ``admin`` is a port on this process's loopback for making things go wrong; ``directory`` keeps certificates.
    """
    devices = [_new(plan, topology) for plan in topology.gateway_plans]
    configure(devices[0], topology.gateway_plans[0], topology, on_nodes=on_nodes)
    if len(devices) > 1:
        Appliance.paired(devices[0], devices[1])
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number, (device, plan) in enumerate(zip(devices, topology.gateway_plans, strict=True)):
            plane = await stack.enter_async_context(Plane(device, wiring(plan, topology), pace=pace))
            address, port = plan.under.addresses[0].ip, TLS_PORT if tls else PORT
            sock = listening(plan.name, address, port, datagram=False)
            endpoint = await stack.enter_async_context(
                serving(
                    device,
                    str(address),
                    tls=tls,
                    admin=admin + number if admin is not None and admin else admin,
                    directory=directory,
                    sock=sock,
                )
            )
            made.append(Device(plan, device, plane, endpoint))
        yield tuple(made)


def _new(plan: GatewayPlan, topology: Topology) -> Appliance:
    if "ipv4" not in topology.families:
        return Appliance(address="192.0.2.241")  # there is no device without one; nobody reaches it here
    management = first(plan.under.addresses, "ipv4")
    return Appliance(address=str(management.ip), netmask=str(management.netmask))

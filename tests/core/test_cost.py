"""What a pass may cost: that of its own scopes. Bounds are generous in seconds and exact in what is asked."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from isthmus.model.facts import DeviceFacts, Endpoint, Interface, NodeFacts
from isthmus.model.plan import Scope

from .rig import Rig, endpoints, node, service, vip

WIDE = DeviceFacts(
    (
        Interface("lo", mtu=65536, addresses=(ip_interface("127.0.0.1/8"),)),
        Interface(
            "eth0",
            addresses=(
                ip_interface("172.16.0.1/12"),
                # What a gateway with many VIPs shows of itself; none of them is a subnet.
                *(ip_interface(ip_address(int(ip_address("198.18.0.0")) + number)) for number in range(2000)),
            ),
        ),
    )
)
NODES = 2000


@pytest.fixture(scope="module")
def fleet() -> Rig:
    """Return a settled device with 2,000 nodes and 200 Services of 10 pods each."""
    rig = Rig("overlay", link={"overlay": {"networks": ["10.200.0.0/16"]}}, facts=WIDE)
    rig.world.device_addresses["lab", "gw"] = (ip_interface("10.200.255.254/16"),)
    rig.put(*(member(number) for number in range(NODES)))
    for number in range(200):
        pods = [(number * 10 + i) % NODES for i in range(10)]
        found = [Endpoint(ip_address(f"10.{pod >> 8}.{pod & 255}.5"), f"n{pod:04}") for pod in pods]
        address = str(ip_address(int(ip_address("198.51.100.0")) + number))
        rig.put(
            service(f"shop/s{number}", 80),
            endpoints(f"shop/s{number}-1", f"s{number}", *found),
            vip(address, f"shop/s{number}"),
        )
    rig.settle()
    return rig


def member(number: int, **rest: Any) -> NodeFacts:
    address = ip_address(int(ip_address("172.16.1.0")) + number)
    text = (
        f'{{"addresses":["10.200.{(number >> 8) + 1}.{number & 255}/16"],'
        f'"mac":"02:00:00:00:{number >> 8:02x}:{number & 255:02x}","vni":7700,"port":7700,"mtu":1450}}'
    )
    pods = f"10.{number >> 8}.{number & 255}.0/24"
    return node(f"n{number:04}", str(address), pods, annotations={"isthmus.dev/overlay.lab": text}, **rest)


def test_one_node_of_many_asks_for_itself(fleet: Rig) -> None:
    """A node that changes nothing for others is asked together with its link, and nobody else is."""
    dirty = fleet.put(member(700, labels={"zone": "b"}))
    began = time.process_time()
    plan = fleet.touch(dirty)
    assert time.process_time() - began < 0.2, "one node is a matter of a millisecond"
    assert plan.empty
    assert fleet.planner.asked == {Scope("link", "lab"), Scope("node", "lab", "n0700")}


def test_one_node_that_goes_asks_for_its_services(fleet: Rig) -> None:
    """A node that goes away asks for the Services with pods on it, and for no others."""
    plan = fleet.touch(fleet.world.put_node("east", "n0042", None))
    asked = {str(scope) for scope in fleet.planner.asked}
    assert asked == {"link/lab", "node/lab/n0042", "service/lab/shop/s4"}
    assert (plan.count("update"), plan.count("delete")) == (1, 3)
    fleet.touch(fleet.put(member(42)))


def test_one_service_of_many_asks_for_itself(fleet: Rig) -> None:
    """A Service that changes is asked together with its link, and nobody else is."""
    plan = fleet.touch(fleet.put(service("shop/s7", 80, session_affinity=True)))
    assert plan.count("update") == 1
    assert fleet.planner.asked == {Scope("link", "lab"), Scope("service", "lab", "shop/s7")}


def test_a_look_at_everything_is_affordable(fleet: Rig) -> None:
    """A full pass over thousands of things in sync takes a fraction of a second, however many VIPs the device shows."""
    fleet.look()
    began = time.process_time()
    assert fleet.planner.full(fleet.now).empty
    assert time.process_time() - began < 2.0

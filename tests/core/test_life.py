"""Random lives of one device: whatever happens in whatever order, the laws hold (design notes: laws 1 to 4 and 7)."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from isthmus.core.planner import DevicePlanner
from isthmus.model.facts import DeviceTraits

from .life import Life
from .rig import FACTS, NOW, Rig, node

APPLIANCES = tuple(
    DeviceTraits(neighbors, onlink=False, clamps=False, profiles=True, policy_routes=True, tunnel_mac=mac)
    for neighbors in ("flooded", "joined")
    for mac in ("02:aa:00:00:00:01", "02:aa:00:00:00:02")
)


class FlannelLife(Life):
    """The same on flannel, where a Node stands for the device."""

    path = "flannel"


class OverlayLife(Life):
    """The same on our overlay, where annotations are memory."""

    path = "overlay"


class ApplianceLife(Life):
    """The same on an appliance: neighbors by flooding or with their tunnel end, a MAC of its own that moves, profiles."""

    traits = APPLIANCES


class ApplianceFlannelLife(FlannelLife):
    """An appliance on flannel, which needs flannel's whole network."""

    traits = APPLIANCES
    networks = ("10.244.0.0/16", "fd00::/24", "192.0.0.0/16")


class ApplianceOverlayLife(OverlayLife):
    """An appliance on our overlay."""

    traits = APPLIANCES


class PolicyLife(ApplianceLife):
    """Policy routes over a segment, and a second link with the same pods from an address of its own."""

    by_source = True
    addresses = ("192.0.2.2/24", "192.0.2.3/24", "192.0.2.4/24", "2001:db8::2/64")


class PolicyOverlayLife(PolicyLife):
    """Policy routes over our overlay."""

    path = "overlay"


class IpipLife(PolicyLife):
    """IP in IP to each node."""

    path = "overlay"
    overlay: ClassVar[dict[str, Any]] = {"networks": ["10.200.0.0/24"], "encapsulation": "ipip"}


TestDirectLife = Life.TestCase
TestFlannelLife = FlannelLife.TestCase
TestOverlayLife = OverlayLife.TestCase
TestApplianceLife = ApplianceLife.TestCase
TestApplianceFlannelLife = ApplianceFlannelLife.TestCase
TestApplianceOverlayLife = ApplianceOverlayLife.TestCase
TestPolicyLife = PolicyLife.TestCase
TestIpipLife = IpipLife.TestCase
TestPolicyOverlayLife = PolicyOverlayLife.TestCase


def test_the_machine_sees_a_planner_that_forgets() -> None:
    """The machine's own question has teeth: a keyed pass that is told too little does not pass for a whole one."""
    rig = Rig()
    rig.settle()
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
    witness = DevicePlanner(rig.world, "gw", rig.driver)
    witness.see({}, {}, FACTS)
    assert rig.planner.keyed([], NOW).changes != witness.full(NOW).changes
    with pytest.raises(AssertionError):
        assert rig.planner.keyed([], NOW).changes == witness.full(NOW).changes

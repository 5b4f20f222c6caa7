"""Applying by hand leaves all that a controller would leave: the device, the memory, and what the Services say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from app.home.rig import node, service, thing
from isthmus.app.applying import Applied, Applying
from isthmus.app.drivers import DriverFactory
from isthmus.app.holding import hold
from isthmus.app.oneshot import Oneshot
from isthmus.app.sources import Sources
from isthmus.drivers.memory import MemoryDriver, lose_reply, refuse
from isthmus.errors import StateLocked
from isthmus.lab.kube import KubeApi
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.registry.orders import place_orders, read_orders
from isthmus.registry.state import StateDirectory

FACTS = DeviceFacts((Interface("eth0", "02:00:00:00:00:01", 1500, (ip_interface("192.0.2.1/24"),)),))


class Place:
    """Files, a state directory, a cluster with three nodes, and a device that outlives commands."""

    def __init__(self, directory: Path, api: KubeApi, kubeconfig: Path) -> None:
        self.api = api
        self.where = Sources(directory / "config", directory / "state")
        self.driver = MemoryDriver(facts=FACTS)
        (directory / "config").mkdir()
        self.write("KubeCluster", "prod", {"kubeconfig": {"path": str(kubeconfig)}})
        self.write("EdgeDevice", "gw1", {"driver": "memory", "drift": "alert"})
        self.write("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})
        self.write("AddressPool", "public", {"ranges": ["203.0.113.0/28"]})

    @property
    def state(self) -> Path:
        assert self.where.state is not None
        return self.where.state

    def write(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Write one object."""
        assert self.where.config is not None
        (self.where.config / f"{kind}-{name}.json").write_text(json.dumps(thing(kind, name, spec)))

    @property
    def drivers(self) -> Mapping[str, DriverFactory]:
        """Return the table of drivers, with the one device in it."""
        return {"memory": lambda kind, wiring: self.driver}

    def look(self) -> Oneshot:
        """Return a look at everything."""
        return Oneshot(self.where, drivers=self.drivers)

    async def apply(self) -> tuple[list[Applied], list[str]]:
        """Plan, and carry it out."""
        async with hold(self.where) as held, self.look() as look:
            applying = Applying(look, held)
            outcomes = [one async for one in applying.run([look.plan("gw1", repair_drift=True)])]
            return outcomes, applying.notes


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    api = KubeApi(tls=False)
    for number in (1, 2):
        api.put(node(number))
    async with api.serving() as endpoint:
        yield Place(tmp_path, api, endpoint.kubeconfig_path)


async def test_one_apply_leaves_all_that_a_controller_would(place: Place) -> None:
    """Routes stand, the Service has its address in store and status, the state knows what was applied; again is nothing."""
    place.api.put(service("web"))
    outcomes, notes = await place.apply()
    assert notes == []
    assert {one.result for one in outcomes} == {"done"}
    assert {"route 10.244.1.0/24", "route 10.244.2.0/24", "vip 203.0.113.0"} <= place.driver.resources.keys()
    [found] = place.api.list("services")
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.0"}]
    with StateDirectory.read(place.state) as reader:
        assert [str(claim.spec.address) for claim in reader.claims()] == ["203.0.113.0"]
        applied = reader.read_applied("gw1")
        assert isinstance(applied, list)
        assert len(applied) == len(place.driver.resources)
        assert reader.assignments("cluster").keys() == {"prod"}
    writes = place.driver.writes
    assert await place.apply() == ([], [])
    assert place.driver.writes == writes


async def test_looking_keeps_nothing(place: Place) -> None:
    """A plan makes no claim, writes no state and no status."""
    place.api.put(service("web"))
    writes = place.api.faults.writes
    async with place.look() as look:
        assert not look.plan("gw1").empty
    assert not place.state.exists()
    assert place.api.faults.writes == writes
    assert place.driver.writes == 0


async def test_only_one_writes(place: Place) -> None:
    """While a controller has the state directory nothing is applied, and the way out is named."""
    async with StateDirectory(place.state):
        with pytest.raises(StateLocked, match="stop it first"):
            await place.apply()
    assert place.driver.writes == 0


async def test_a_bad_change_hurts_itself_only(place: Place) -> None:
    """A refused change and a lost reply are told; the others stand, and what is written down is what stands."""
    place.driver.fail_next(refuse("no room", identity="route 10.244.1.0/24"))
    place.driver.fail_next(lose_reply(carried_out=False, identity="route 10.244.2.0/24"))
    outcomes, _ = await place.apply()
    told = {one.change.identity: (one.result, one.reason) for one in outcomes if one.change is not None}
    assert told["route 10.244.1.0/24"] == ("refused", "no room")
    assert told["route 10.244.2.0/24"] == ("unknown", "no reply")
    with StateDirectory.read(place.state) as reader:
        assert reader.read_applied("gw1") in ([], None)
    outcomes, _ = await place.apply()
    assert {one.result for one in outcomes} == {"done"}
    assert len(place.driver.resources) == 2


async def test_drift_left_alone_is_seen_by_plan_and_put_right_by_apply(place: Place) -> None:
    """Plan tells what was and what is, and would change nothing; apply puts it right."""
    await place.apply()
    place.driver.lose("route 10.244.1.0/24")
    async with place.look() as look:
        plan = look.plan("gw1")
    assert plan.empty
    assert [one.describe() for one in plan.drifts] == [
        "* drift: was route 10.244.1.0/24 via 192.0.2.101 dev eth0, is gone; is left so, and reported"
    ]
    outcomes, _ = await place.apply()
    assert [one.result for one in outcomes] == ["done"]
    async with place.look() as look:
        assert not look.plan("gw1").drifts


async def test_an_order_to_adopt_is_carried_out_and_spent(place: Place) -> None:
    """A placed order makes apply take the foreign thing over, once."""
    place.driver.plant("route 10.244.1.0/24", "kernel route via 192.0.2.99 dev eth0 proto static")
    place_orders(place.state, "gw1", ["route 10.244.1.0/24"])
    outcomes, _ = await place.apply()
    assert {(one.result, bool(one.change and one.change.adopts)) for one in outcomes} == {
        ("done", True),
        ("done", False),
    }
    assert not place.driver.foreign
    assert read_orders(place.state) == {}


async def test_a_dead_device_is_told_and_nothing_of_it_forgotten(place: Place) -> None:
    """A device that goes away in the middle ends its own plan; what was written down before stays."""
    await place.apply()
    place.api.put(node(3))
    async with hold(place.where) as held, place.look() as look:
        plan = look.plan("gw1")
        place.driver.reachable = False
        applying = Applying(look, held)
        outcomes = [one async for one in applying.run([plan])]
        place.driver.reachable = True
    assert [(one.change, one.result) for one in outcomes] == [(None, "failed")]
    with StateDirectory.read(place.state) as reader:
        assert len(reader.read_applied("gw1") or ()) == 2

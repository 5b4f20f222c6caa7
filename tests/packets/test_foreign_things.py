"""Other people's routes, addresses, tunnels, tables and a second Isthmus on one gateway: seen, named, left alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from isthmus.lab.joined import ISTHMUS
from isthmus.lab.net.clients import fetch
from isthmus.lab.net.command import command_in
from isthmus.lab.net.matrix import spread
from isthmus.lab.net.processes import Running
from packets.joining import CLIENT_FAR, CLIENT_NEAR, GATEWAY, Rig, eventually, joined_lab
from packets.watching import Load

pytestmark = pytest.mark.asyncio(loop_scope="module")

THEIRS = "node7"
OURS = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [THEIRS]}]}
OTHERS = """
table inet others {
    chain in { type filter hook input priority 0; ip saddr 198.51.100.99 drop; }
    set friends { type ipv4_addr; elements = { 192.0.2.5 } }
}
table ip nat_of_others {
    chain post { type nat hook postrouting priority 100; oifname "front" ip saddr 10.99.0.0/16 masquerade; }
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes by our overlay, on a gateway that others use as well."""
    async with joined_lab("overlay", nodes=2, options={"nodeSelector": OURS}) as rig:
        await command_in(GATEWAY, ["nft", "-f", "-"], text=OTHERS)
        await rig.ip("route", "add", "10.250.0.0/24", "via", "192.0.2.254", "proto", "static")
        await rig.ip("addr", "add", "203.0.113.60/32", "dev", "front")
        yield rig


async def test_a_foreign_route_is_a_conflict_until_it_goes(rig: Rig) -> None:
    """A route of somebody else at a pod CIDR is reported and left alone; ours follows within a second of its going."""
    newcomer = rig.lab.topology.node(9)
    taken = str(newcomer.pod_cidr("ipv4"))
    await rig.ip("route", "add", taken, "via", "192.0.2.254", "proto", "static")
    before = await rig.ip("route", "show", taken)
    plan = await rig.lab.add_node(9)
    await rig.joined.start_agent(plan)
    status = await rig.device(lambda one: any(taken in text for text in one["conflicts"]))
    assert not status["inSync"]
    assert await rig.ip("route", "show", taken) == before

    async def other_family() -> bool:
        return await rig.pod_answers("node9", family="ipv6")

    await eventually(other_family, "the other family is not held up")
    await rig.ip("route", "del", taken, "proto", "static")
    assert await rig.reached(["node9"], timeout=5) < 3
    await rig.device(lambda one: one["inSync"] and not one["conflicts"])


async def test_a_foreign_address_at_a_vip_is_left_alone(rig: Rig) -> None:
    """A VIP that is already an address of the gateway is reported, not served and not taken; others are served."""
    taken = rig.lab.topology.vip(70)
    await rig.ip("addr", "add", f"{taken}/32", "dev", "front")
    await rig.lab.publish(rig.workload("contested", families=["ipv4"], extra={"loadBalancerIP": str(taken)}))
    await rig.device(lambda one: any(str(taken) in text for text in one["conflicts"]))
    condition = await rig.until_condition("contested", "NotServed")
    assert str(taken) in condition["message"]
    assert (await fetch(CLIENT_NEAR, taken, 80, timeout=1)).why == "refused"
    (vip, _) = await rig.serve("uncontested")
    assert (await spread(CLIENT_FAR, vip, 80, requests=6)).ok
    await rig.ip("addr", "del", f"{taken}/32", "dev", "front")
    await rig.answers(taken)
    await rig.until_condition("contested", "Served")


async def test_two_installations_share_a_gateway(rig: Rig) -> None:
    """A second Isthmus with marks, overlay and pool of its own serves beside the first; cleaning it leaves all else alone."""
    (first, *_) = await rig.serve("mine", families=["ipv4"])
    second = Second(rig)
    second.write()
    running = await second.start()
    await second.serves()
    assert (await spread(CLIENT_FAR, first, 80, requests=6)).ok
    assert (await rig.settled())["conflicts"] == []
    writes = rig.lab.api.faults.writes
    async with Load(CLIENT_NEAR, first) as load:
        await load.count(150)
    assert load.errors == {}
    assert rig.lab.api.faults.writes == writes, "neither takes the other's words out of a Service"
    await running.stop()
    with_both = await standing(rig)
    status, _, err = await rig.joined.isthmus("clean", "--config", str(second.config))
    assert status == 0, err
    assert await standing(rig) == with_both, "without --yes nothing goes"
    status, out, err = await rig.joined.isthmus("clean", "--config", str(second.config), "--yes", "--json")
    assert status == 0, err
    assert len(json.loads(out)) >= 3
    assert await standing(rig) == [line for line in with_both if not second.owns(line)]
    assert (await spread(CLIENT_FAR, first, 80, requests=6)).ok


async def standing(rig: Rig) -> list[str]:
    """Return everything that stands on the gateway, a line a thing: links, addresses, routes, entries, every nft table."""
    found = []
    for words in (
        ("-o", "-d", "link"),
        ("-o", "addr"),
        ("-4", "route"),
        ("-6", "route"),
        ("neigh", "show", "nud", "permanent"),
    ):
        found += (await rig.ip(*words)).splitlines()
    found += (await rig.bridge()).splitlines()
    for table in (await rig.nft("list", "tables")).splitlines():
        content = await rig.nft("list", *table.split())
        found.append(f"{table}: {content}")
    return found


async def test_cleaning_takes_everything_of_ours_and_nothing_else(rig: Rig) -> None:
    """After `isthmus clean --yes` the gateway is as it was before we came, what others put there included."""
    await rig.settled()
    await rig.joined.stop_controller()
    status, _, err = await rig.joined.isthmus("clean", "--config", str(rig.joined.config), "--yes")
    assert status == 0, err
    links = await rig.ip("-o", "link")
    assert "isth" not in links
    assert "proto 200" not in await rig.routes()
    addresses = await rig.ip("-o", "addr")
    assert "203.0.113.60/32" in addresses
    assert "203.0.113.128" not in addresses
    assert "10.250.0.0/24 via 192.0.2.254" in await rig.routes()
    tables = await rig.nft("list", "ruleset")
    assert "isthmus" not in tables
    assert "table inet others" in tables
    assert "masquerade" in tables


class Second:
    """Another installation: its own directory, marks, link and pool, the same cluster, another class of Services."""

    CLASS = "example.org/second"

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.config: Path = rig.lab.directory / "config2"
        self.state: Path = rig.lab.directory / "state2"

    def write(self) -> None:
        """Write the second user's objects."""
        documents = self.rig.joined.documents()
        documents["cluster.yaml"]["spec"]["loadBalancer"] = {"class": self.CLASS}
        documents["device.yaml"]["spec"]["linux"] = {"installation": "second", "protocol": 210}
        link: dict[str, Any] = documents["link.yaml"]
        link["metadata"]["name"] = "second"
        link["spec"]["path"] = "direct"
        link["spec"]["nodeSelector"] = {"matchLabels": {"kubernetes.io/hostname": THEIRS}}
        documents["pools.yaml"]["spec"] = {"ranges": ["203.0.113.220/30"]}
        documents.pop("pools-routed.yaml")
        self.config.mkdir()
        for name, document in documents.items():
            (self.config / name).write_text(json.dumps(document))

    @staticmethod
    def owns(line: str) -> bool:
        """Say whether a line of what stands is of the second installation."""
        return any(word in line for word in ("isthmus_second", "proto 210", "203.0.113.220/32"))

    async def start(self) -> Running:
        """Start the second controller beside the first."""
        await self.rig.lab.add_node(7)
        argv = (*ISTHMUS, "controller", "--config", str(self.config), "--state", str(self.state))
        return await self.rig.lab.start_process(GATEWAY, argv, name="second")

    async def serves(self) -> None:
        """Publish a Service of the second class and wait until it answers."""
        extra = {"loadBalancerClass": self.CLASS}
        (vip,) = await self.rig.serve("theirs", nodes=[THEIRS], families=["ipv4"], extra=extra)
        assert str(vip) == "203.0.113.220"
        assert (await spread(CLIENT_FAR, vip, 80, requests=4)).pods == {"pod7-1": 4}

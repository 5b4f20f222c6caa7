"""The Kubernetes API fails in every way it can; traffic goes on, routes and VIPs stay, the status says why, and it mends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address

import pytest
import pytest_asyncio

from isthmus.lab.net.matrix import spread
from isthmus.lab.net.topology import Address
from packets.joining import CLIENT_FAR, CLIENT_NEAR, Rig, joined_lab
from packets.watching import Load, Quiet

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return three nodes on the gateway's segment: no flannel that would believe the faulty API."""
    async with joined_lab("direct", nodes=3) as rig:
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vip(rig: Rig) -> Address:
    """Return the address of a Service over all pods."""
    return (await rig.serve())[0]


Fault = Callable[[Rig], Awaitable[None]]


async def _emptied(rig: Rig) -> None:
    api = rig.lab.api
    api.close_watches(abrupt=True)
    for kind in ("nodes", "services", "endpointslices", "namespaces"):
        api.faults.empty_lists(kind, 20)
        one = api.list(kind)[0]
        one["metadata"].setdefault("labels", {})["moved"] = "yes"
        api.put(one)
    api.compact()  # where the watches were is too long ago now, so everything is listed


async def _denied(rig: Rig) -> None:
    rig.lab.api.faults.deny("admin")
    rig.lab.api.close_watches(abrupt=True)


async def _failing(rig: Rig) -> None:
    rig.lab.api.faults.fail_next(100_000, status=500)
    rig.lab.api.close_watches(abrupt=True)


async def _cut(rig: Rig) -> None:
    await rig.cut_api()
    rig.lab.api.close_watches(abrupt=True)


FAULTS: dict[str, tuple[Fault, str]] = {
    "every list is empty": (_emptied, "kept"),
    "everything is forbidden": (_denied, "forbidden"),
    "every request fails": (_failing, "injected failure"),
    "nothing answers": (_cut, ""),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_the_gateway_keeps_what_it_has(rig: Rig, vip: Address, name: str) -> None:
    """Whatever the API does, the kernel reports no change, every request is answered, and the status says what is wrong."""
    await rig.restart()  # so that no earlier trouble makes it patient
    fault, word = FAULTS[name]
    async with Quiet(rig) as quiet, Load(CLIENT_FAR, vip) as load:
        try:
            await fault(rig)
            doubt = await rig.until(
                "KubeCluster", "lab", lambda one: not one["inSync"] and word in one["message"], timeout=30
            )
            await load.count(300)
        finally:
            rig.lab.api.faults.clear()
            await rig.mend_api()
    assert doubt["message"] != "in sync"
    assert load.errors == {}
    assert [line for line in quiet.heard if "inet cut" not in line] == []
    await rig.until("KubeCluster", "lab", lambda one: one["inSync"], timeout=45)
    fresh = f"after-{name.split()[-1]}"
    (address, _) = await rig.serve(fresh)  # the cluster is followed again
    assert (await spread(CLIENT_NEAR, address, 80, requests=9)).ok
    await rig.lab.cluster.retract(rig.workload(fresh))


async def test_a_frozen_watch_is_noticed(rig: Rig, vip: Address) -> None:
    """Watches that stay connected and fall silent are noticed in 20 s at most, and what was missed is caught up with."""
    rig.lab.api.freeze_watches()
    async with Load(CLIENT_FAR, vip, every=0.05) as load:
        await rig.lab.publish(rig.workload("unheard"))
        (text, *_) = await rig.joined.vip_of("unheard", timeout=25)
        await rig.answers(ip_address(text))
    assert load.errors == {}
    rig.lab.api.thaw_watches()


async def test_a_compacted_history_costs_nothing(rig: Rig, vip: Address) -> None:
    """After a compaction and closed watches everything is listed anew; the kernel sees nothing of it."""
    await rig.settled()
    async with Quiet(rig) as quiet, Load(CLIENT_NEAR, vip) as load:
        rig.lab.api.compact()
        rig.lab.api.close_watches()
        await load.count(200)
    assert (quiet.heard, load.errors) == ([], {})
    (fresh, _) = await rig.serve("compacted")
    assert (await spread(CLIENT_NEAR, fresh, 80, requests=6)).ok


async def test_an_api_restored_from_a_backup_takes_nothing_away(rig: Rig, vip: Address) -> None:
    """What was made after the backup is gone from the API and stays on the gateway; the status says so."""
    await rig.restart()  # so that no earlier trouble makes it patient
    backup = rig.lab.api.backup()
    (late, _) = await rig.serve("late")
    await rig.settled()
    async with Load(CLIENT_FAR, late) as load, Quiet(rig) as quiet:
        rig.lab.api.restore(backup)
        rig.lab.api.close_watches(abrupt=True)
        found = await rig.until("KubeCluster", "lab", lambda one: "backup" in one["message"], timeout=40)
        await load.count(100)
    assert (load.errors, quiet.heard) == ({}, [])
    assert not found["inSync"]
    assert (await spread(CLIENT_FAR, vip, 80, requests=9)).ok

"""Several controllers, one of which writes: who takes over, when, and that nobody else writes anything anywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner

from isthmus.app.controller import Controller
from isthmus.app.tenure import LEASE, Elected
from isthmus.cli.commands import group
from isthmus.core.election import PROFILES
from isthmus.kube.kubeconfig import load
from kube.stub import StallingProxy

from .rig import Place, holds, node, service, until

ALL = ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]
FAST = PROFILES["fast"]


def elected(home: Place, me: str) -> Elected:
    """Return a candidate called ``me``."""
    return Elected(load(home.endpoint.kubeconfig_path), "isthmus-system", FAST, me=me)


def lease(home: Place) -> dict[str, object]:
    """Return the Lease's spec, empty if there is none."""
    found = (one for one in home.api.list("Lease") if one["metadata"]["name"] == LEASE)
    return next((one["spec"] for one in found), {})


def others(home: Place) -> int:
    """Return how many requests to write there were, renewals of the Lease aside."""
    requests = home.api.faults.requests
    leases = sum(
        count for (verb, kind), count in requests.items() if kind == "leases" and verb not in ("get", "watch")
    )
    return home.writes() - leases


async def joined(home: Place) -> None:
    """Wait until the usual configuration is carried out and says so."""
    await until(lambda: home.routes() == ALL, what=home.routes)
    await until(lambda: home.is_so("ClusterLink", "main", "Ready"))
    await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"))


def configure(home: Place, **link: object) -> None:
    """Write the usual configuration, with a Service that gets an address."""
    home.join(**link)
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web"))


async def quiet(home: Place) -> int:
    """Wait until nothing has been written for a while, and return how much was."""
    before, since = others(home), time.monotonic()
    end = since + 20.0
    while time.monotonic() - since < 2.0:
        assert time.monotonic() < end, "somebody writes all the time"
        await asyncio.sleep(0.05)
        if others(home) != before:
            before, since = others(home), time.monotonic()
    return before


async def warm(home: Place, running: Controller) -> None:
    """Wait until a standby knows all there is, and would do nothing."""
    await until(lambda: "gw1" in running.fleet.workers)
    await until(lambda: running.fleet.workers["gw1"].status.in_sync, what=lambda: running.fleet.workers["gw1"].status)


@asynccontextmanager
async def two(home: Place) -> AsyncIterator[tuple[Controller, Controller, AsyncExitStack]]:
    """Run a leader ``a`` (ends with the stack that is yielded, too) and a warm standby ``b``."""
    async with AsyncExitStack() as first:
        one = await first.enter_async_context(home.controller(turn=elected(home, "a")))
        await joined(home)
        async with home.controller(turn=elected(home, "b")) as other:
            await warm(home, other)
            yield one, other, first


async def test_the_first_leads_and_says_so(home: Place) -> None:
    """Alone, it takes the Lease at once, with an epoch that is not below the time, and gives it back at the end."""
    configure(home)
    before = int(time.time() * 1000)
    async with home.controller(turn=elected(home, "a")) as running:
        await joined(home)
        assert lease(home)["holderIdentity"] == "a"
        assert running.turn.epoch >= before
        assert set(home.epochs["gw1"]) == {running.turn.epoch}
        assert running.turn.told()["role"] == "leader"
    assert lease(home)["holderIdentity"] == ""


async def test_a_standby_writes_nothing_and_knows_everything(home: Place) -> None:
    """Not an Event, a status, a claim, a finalizer, nor anything on a device, whatever happens meanwhile."""
    configure(home)
    async with two(home) as (one, other, _):
        assert other.turn.told() == {
            "role": "standby", "epoch": 0, "leader": "a", "identity": "b", "lease": "answers",
        }  # fmt: skip
        home.api.put(node(4))
        home.api.put(service("shop"))
        await until(lambda: len(home.routes()) == 4)
        await until(lambda: home.is_so("VirtualIP", "198.51.100.1", "Ready"))
        await warm(home, other)
        assert set(home.epochs["gw1"]) == {one.turn.epoch}
        await until(lambda: "4 nodes" in (home.status("ClusterLink", "main").get("probe") or {}).get("message", ""))
        before = await quiet(home)
        await holds(lambda: others(home) == before, 3.0)


async def test_a_clean_stop_hands_over_at_once(home: Place) -> None:
    """The standby leads well before any time-out, in a later term, and finds nothing to write."""
    configure(home)
    async with two(home) as (one, other, first):
        await until(lambda: home.is_so("ClusterLink", "main", "Proven"), 15)
        before, term = await quiet(home), one.turn.epoch
        await first.aclose()
        stopped = time.monotonic()
        await until(other.turn.holds)
        assert time.monotonic() - stopped < 1.0
        assert other.turn.epoch > term
        await holds(lambda: others(home) == before, 1.0)
        home.api.put(node(4))
        await until(lambda: len(home.routes()) == 4)
        assert home.epochs["gw1"][-1] == other.turn.epoch


async def test_a_leader_that_is_cut_off_writes_nothing_and_begins_anew(home: Place) -> None:
    """Past the renew deadline it writes nothing; another leads; back again, it ends its run to begin as a standby."""
    configure(home)
    port = int(home.endpoint.url.rsplit(":", 1)[1])
    async with StallingProxy(port).serving() as proxy:
        direct = load(home.endpoint.kubeconfig_path)
        cut = replace(direct, server=f"http://127.0.0.1:{proxy.port}")
        turn = Elected(cut, "isthmus-system", FAST, me="a")
        async with home.controller(turn=turn, connection=cut) as one:
            await joined(home)
            async with home.controller(turn=elected(home, "b")) as other:
                await warm(home, other)
                proxy.stalled = True
                began = time.monotonic()
                await until(lambda: not one.turn.holds())
                assert not other.turn.holds(), "the old one stops before the new one begins"
                await until(other.turn.holds)
                assert time.monotonic() - began < 4.0
                home.api.put(node(4))
                await until(lambda: len(home.routes()) == 4)
                assert home.epochs["gw1"] == sorted(home.epochs["gw1"])
                assert home.epochs["gw1"][-1] == other.turn.epoch
                proxy.stalled = False
                await until(one.turn.lost.is_set)
                assert not one.turn.holds()


async def test_a_short_outage_ends_no_term(home: Place) -> None:
    """When the API is away longer than the renew deadline nobody writes; after it, the same one goes on in its term."""
    configure(home)
    async with home.controller(turn=elected(home, "a")) as one:
        await joined(home)
        term = one.turn.epoch
        home.api.faults.fail_next(10_000, status=503, resource="leases")
        await until(lambda: not one.turn.holds())
        home.api.put(node(4))
        home.api.put(service("shop"))
        writes = home.device("gw1").writes
        await holds(lambda: home.device("gw1").writes == writes and not home.status("VirtualIP", "198.51.100.1"), 0.7)
        home.api.faults._failures.clear()
        await until(lambda: len(home.routes()) == 4)
        await until(lambda: home.is_so("VirtualIP", "198.51.100.1", "Ready"))
        assert one.turn.epoch == term
        assert not one.turn.lost.is_set()


async def test_a_deleted_lease_changes_nothing(home: Place) -> None:
    """Its holder makes it again, in the same term; two standbys wait."""
    configure(home)
    async with two(home) as (one, other, _), home.controller(turn=elected(home, "c")) as third:
        await warm(home, third)
        term = one.turn.epoch
        home.api.delete("Lease", LEASE, "isthmus-system")
        await until(lambda: lease(home).get("holderIdentity") == "a")
        await holds(lambda: one.turn.holds() and not other.turn.holds() and not third.turn.holds(), 3.0)
        assert one.turn.epoch == term


async def test_of_two_standbys_one_leads(home: Place) -> None:
    """After a clean stop exactly one of the others takes over, and the last one after that."""
    configure(home)
    async with two(home) as (_, other, first), home.controller(turn=elected(home, "c")) as third:
        await warm(home, third)
        await first.aclose()
        await until(lambda: other.turn.holds() or third.turn.holds())
        await holds(lambda: other.turn.holds() != third.turn.holds(), 1.5)
        home.api.put(node(4))
        await until(lambda: len(home.routes()) == 4)
        assert home.epochs["gw1"] == sorted(home.epochs["gw1"])


async def test_what_the_leader_decided_is_known_to_the_next(home: Place) -> None:
    """A path chosen and an address given while it stood by are the new leader's own; nothing is chosen twice."""
    async with AsyncExitStack() as first:
        await first.enter_async_context(home.controller(turn=elected(home, "a")))
        async with home.controller(turn=elected(home, "b")) as other:
            configure(home, path="auto")
            await joined(home)
            chosen = home.api.get("ConfigMap", "isthmus-memory", "isthmus-system")["data"]
            await first.aclose()
            await until(other.turn.holds)
            assert other.world.choices["main"].path == "direct"
            home.api.put(node(4))
            await until(lambda: len(home.routes()) == 4)
            assert home.api.get("ConfigMap", "isthmus-memory", "isthmus-system")["data"] == chosen


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_the_time_of_day_does_not_matter(home: Place, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """A leader whose time of day jumps keeps its term, and the next one's is later all the same."""
    configure(home)
    async with two(home) as (one, other, first):
        real, term = time.time, one.turn.epoch
        for turn in (one.turn, other.turn):
            assert isinstance(turn, Elected)
            monkeypatch.setattr(turn._lease, "_wall", lambda: real() + jump)
        await holds(lambda: one.turn.holds() and not other.turn.holds(), 2.5)
        await first.aclose()
        await until(other.turn.holds)
        assert other.turn.epoch > term


async def test_a_status_says_who_leads(home: Place) -> None:
    """``isthmus status`` on the machine of either controller names the leader."""
    configure(home)
    async with home.controller(turn=elected(home, "a")) as one:
        await joined(home)
        async with home.controller(turn=elected(home, "b"), state=True) as other:
            await warm(home, other)
            await asyncio.sleep(0.3)

            def said() -> str:
                return CliRunner().invoke(group, ["status", "--state", str(home.directory / "state")]).output

            await until(lambda: "this controller stands by; a leads" in said(), what=said)
            one.stop()
            await until(other.turn.holds)
            await until(lambda: f"this controller leads, in term {other.turn.epoch}" in said(), what=said)


@pytest.mark.parametrize(("driver", "back"), [("linux", True), ("memory", False)])
async def test_a_gateway_that_boots_alone_gets_back_what_it_had(home: Place, driver: str, back: bool) -> None:
    """With its home away nobody can tell whose turn it is; the machine we run on serves as before, others wait."""
    configure(home)
    home.put("EdgeDevice", "gw1", {"driver": driver})
    async with home.controller(turn=elected(home, "a"), state=True) as one:
        await joined(home)
        await until(lambda: one.fleet.workers["gw1"].status.in_sync)
        await asyncio.sleep(1.2)  # the state is saved once a second
    device = home.device("gw1")
    had = dict(device.resources)
    device.resources.clear()
    nowhere = replace(load(home.endpoint.kubeconfig_path), server="http://127.0.0.1:9")
    turn = Elected(nowhere, "isthmus-system", FAST, me="b")
    async with home.controller(turn=turn, connection=nowhere, state=True):
        await until(turn.blind)
        if back:
            await until(lambda: device.resources == had)
        else:
            await holds(lambda: not device.resources, 1.5)
        assert not turn.holds()

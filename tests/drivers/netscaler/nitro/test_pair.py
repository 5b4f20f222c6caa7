"""A pair: the primary is found and followed, and no change is lost or sent twice on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from drivers.netscaler.nitro.rig import USER, Given, appliance, options, talking
from isthmus.drivers.netscaler.nitro import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.errors import DeviceUnreachable, DeviceUnsupported
from isthmus.lab.nitro import Appliance, serving
from isthmus.lab.nitro.config import Pair


@dataclass
class Two:
    """Two nodes, their pair, and a client of both."""

    first: Appliance
    second: Appliance
    nitro: Nitro
    urls: tuple[str, str]

    def fail_over(self) -> None:
        assert self.first.pair is not None
        self.first.pair.fail_over()

    @property
    def sessions(self) -> tuple[int, int]:
        return len(self.first.sessions.live()), len(self.second.sessions.live())


@contextlib.asynccontextmanager
async def two(*, second_leads: bool = False, opened: bool = True, **more: Any) -> AsyncIterator[Two]:
    """Serve a pair while the block runs."""
    first, second = appliance(address="192.0.2.10"), appliance(address="192.0.2.11")
    Appliance.paired(first, second)
    async with serving(first) as one, serving(second) as other:
        nitro = Nitro("adc1", options(one.url, other.url, **more), Given())
        rig = Two(first, second, nitro, (one.url, other.url))
        if second_leads:
            rig.fail_over()
        try:
            if opened:
                await nitro.open()
            yield rig
        finally:
            await nitro.close()


@pytest.mark.parametrize("second_leads", [False, True])
async def test_the_primary_is_found(second_leads: bool) -> None:
    """Whichever node leads, it is the one that keeps our session and gets the changes."""
    async with two(second_leads=second_leads) as pair:
        assert pair.nitro.session[0] == pair.urls[second_leads]
        assert pair.sessions == ((0, 1) if second_leads else (1, 0))
        [made] = await pair.nitro.add("vxlan", [{"id": 1}])
        assert made.done
    assert pair.sessions == (0, 0)


@pytest.mark.parametrize("code", [368, 1028])
async def test_a_fail_over_loses_no_change(code: int) -> None:
    """The node that was primary refuses the change; it goes to the one that is, once."""
    async with two() as pair:
        pair.first.faults.secondary_code = pair.second.faults.secondary_code = code
        pair.fail_over()
        results = await pair.nitro.add("vxlan", [{"id": 1}, {"id": 2}])
        assert [one.done for one in results] == [True, True]
        assert pair.second.faults.requests[("add", "vxlan")] == 1
        assert pair.sessions == (0, 1)
        pair.fail_over()
        [made] = await pair.nitro.add("vxlan", [{"id": 3}])
        assert made.done
        assert pair.sessions == (1, 0)
        assert len(await pair.nitro.get("vxlan")) == 3


async def test_a_fail_over_within_a_bulk_request() -> None:
    """Items that the old primary did are not sent again, those that it refused as secondary are."""
    async with two() as pair:
        pair.first.faults.refuse_item(1, code=368)
        pair.first.faults.refuse_item(2, code=1028)
        rows = [{"id": 1}, {"id": 2}, {"id": 3}]
        perform = pair.first.perform

        def once(*args: Any, **more: Any) -> Any:
            answer = perform(*args, **more)
            if args[1].resource == "vxlan":
                pair.fail_over()
            return answer

        pair.first.perform = once  # type: ignore[method-assign]
        results = await pair.nitro.add("vxlan", rows)
        assert [(one.row["id"], one.done) for one in results] == [(1, True), (2, True), (3, True)]
        assert pair.second.faults.items[("add", "vxlan")] == 2


async def test_a_primary_that_dies() -> None:
    """A read goes to the new primary; of a write under way nobody knows, and the next one goes there, too."""
    async with two() as pair:
        pair.first.reboot(60)
        assert await pair.nitro.get("vxlan") == []
        assert pair.nitro.session[0] == pair.urls[1]
        [made] = await pair.nitro.add("vxlan", [{"id": 1}])
        assert made.done


async def test_a_write_that_meets_a_dead_primary() -> None:
    """The connection broke under the write: unknown, whatever the other node says later."""
    async with two() as pair:
        await pair.nitro.get("vxlan")
        pair.first.reboot(60)
        [result] = await pair.nitro.add("vxlan", [{"id": 1}])
        assert result.unknown
        [made] = await pair.nitro.add("vxlan", [{"id": 1}])
        assert made.done
        assert pair.nitro.session[0] == pair.urls[1]


async def test_nobody_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """While neither node is primary the device is out of reach, with both reasons; then it works again."""
    async with two() as pair:
        monkeypatch.setattr(Pair, "leads", lambda self, node: False)
        with pytest.raises((DeviceUnreachable, NitroError), match="primary"):
            await pair.nitro.add("vxlan", [{"id": 1}])
        with pytest.raises(DeviceUnreachable, match=r"neither node is primary: .*secondary.*secondary"):
            await pair.nitro.get("vxlan")
        assert pair.sessions == (0, 0)
        monkeypatch.undo()
        [made] = await pair.nitro.add("vxlan", [{"id": 1}])
        assert made.done


async def test_a_wrong_password_is_tried_at_one_node() -> None:
    """Both nodes have the same users: what one refuses is not tried at the other."""
    async with two(opened=False) as pair:
        pair.first.sessions.users[USER] = pair.second.sessions.users[USER] = "another"
        with pytest.raises(NitroError, match="name or password are wrong"):
            await pair.nitro.open()
        assert pair.first.faults.requests[("login", "login")] == 1
        assert not pair.second.faults.requests


async def test_many_who_look_for_the_primary() -> None:
    """While nobody answers, twenty readers knock at each door a few times, not twenty."""
    async with two() as pair:
        pair.first.reboot(60)
        pair.second.reboot(60)
        before = pair.nitro.requests.total()
        found = await asyncio.gather(*(pair.nitro.get("vxlan") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(one, DeviceUnreachable) for one in found)
        # Each reader's own question, and a search or two for each time that they come back together.
        assert pair.nitro.requests.total() - before <= 20 + 3 * 4


async def test_one_url_of_the_secondary() -> None:
    """Who gave us the secondary alone is told what to write."""
    async with two(opened=False) as pair, serving(pair.second) as alone:
        nitro = Nitro("adc1", options(alone.url), Given())
        with pytest.raises(NitroError, match="SNIP with management access") as secondary:
            await nitro.open()
        assert secondary.value.meaning is Meaning.SECONDARY
        await nitro.close()


async def test_a_snip_that_moves() -> None:
    """One URL that follows the primary: the other box does not know our session, is logged in to, and takes the change."""
    first, second = appliance(address="192.0.2.10"), appliance(address="192.0.2.11")
    pair = Appliance.paired(first, second)
    async with talking(first) as rig:
        moved = second.perform, second.sessions
        pair.fail_over()
        first.perform, first.sessions = moved  # type: ignore[method-assign]
        [made] = await rig.nitro.add("vxlan", [{"id": 1}])
        assert made.done
        assert len(second.sessions.live()) == 1


async def test_fail_overs_under_load() -> None:
    """Whatever moves while rows are written: each row ends as done or unknown, and what is done stands."""
    async with two(concurrency=4) as pair:

        async def shake() -> None:
            for turn in range(12):
                await asyncio.sleep(0.03)
                pair.fail_over()
                if turn % 3 == 0:
                    pair.first.sessions.kill_all()
                    pair.second.sessions.kill_all()

        async def write(base: int) -> list[int]:
            done = []
            for number in range(base, base + 10):
                with contextlib.suppress(DeviceUnreachable, NitroError):
                    for result in await pair.nitro.add("vxlan", [{"id": number}]):
                        assert result.error is None
                        done += [number] * result.done
            return done

        *written, _ = await asyncio.gather(*(write(100 * n + 1) for n in range(4)), shake())
        stands = {int(row["id"]) for row in await pair.nitro.get("vxlan")}
        assert {number for done in written if done for number in done} <= stands
        assert sum(pair.sessions) <= 2


async def test_features() -> None:
    """What is off is named with both ways out; with leave it is switched on, once."""
    async with talking() as rig:
        with pytest.raises(DeviceUnsupported, match=r"feature LB .*enable ns feature LB.*enableFeatures: true"):
            await rig.nitro.need("LB", "SSL")
        assert rig.device.faults.writes == 0
    async with talking(enableFeatures=True) as rig:
        await rig.nitro.need("LB", "SSL")
        await rig.nitro.need("lb")
        assert "LB" in rig.device.running.features
        assert rig.asked("enable", "nsfeature") == 1


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("NetScaler NS10.5: Build 70.12.nc, Date: Oct 30 2018", "release 10.5 is too old, 11.1 is the oldest"),
        ("BIG-IP 14.1.2.1", "none of a NetScaler ADC"),
        ("", "none of a NetScaler ADC"),
    ],
)
async def test_a_device_of_an_unknown_version(version: str, words: str) -> None:
    """What is too old, or no NetScaler at all, is refused with what it said of itself; nothing was written."""
    device = appliance(release=version)
    async with talking(device, opened=False) as rig:
        with pytest.raises(DeviceUnsupported, match=words):
            await rig.nitro.open()
        assert device.faults.writes == 0


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("NetScaler NS13.1: Build 53.24.nc, Date: Apr 1 2024", (13, 1, 53)),
        ("NetScaler NS16.0: Build 1.2.nc", (16, 0, 1)),
        ("NetScaler NS12.0", (12, 0, 0)),
    ],
)
async def test_known_and_newer_releases(version: str, release: tuple[int, int, int]) -> None:
    """A release that is newer than this program is taken as it is."""
    async with talking(appliance(release=version)) as rig:
        assert rig.nitro.release == release

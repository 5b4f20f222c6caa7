"""Ten minutes of 503, seen from the loop: its worker and the client's pace together, on virtual time, without sockets."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from core.rig import FACTS, node
from drivers.netscaler.nitro.rig import Given, options
from isthmus.drivers.base import Observation
from isthmus.drivers.memory import MemoryDriver
from isthmus.drivers.netscaler.nitro import client
from isthmus.drivers.netscaler.nitro.bodies import Answer
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.wire import Request
from loop.bench import Bench, events, small, story
from loop.clock import now

_DONE = b'{ "errorcode": 0, "message": "Done", "severity": "NONE"'
_SAYS = {
    "POST login": _DONE + b', "sessionid": "##1" }',
    "GET hanode": _DONE + b', "hanode": [ { "id": "0", "state": "Primary" } ] }',
    "GET nsversion": _DONE + b', "nsversion": { "version": "NetScaler NS14.1: Build 29.72.nc" } }',
    "GET nsfeature": _DONE + b', "nsfeature": { "feature": [ "LB" ] } }',
}


@dataclass
class Device:
    """What answers in the place of HTTP, and notes when it was asked what; ``tells`` is whether it says when it is back."""

    tells: bool
    back: float = 0.0
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def close(self) -> None:
        return None

    async def send(self, root: str, request: Request) -> Answer:
        self.asked.append((now(), request.what))
        await asyncio.sleep(0.02)
        if now() < self.back:
            after = str(math.ceil(self.back - now())) if self.tells else ""
            return Answer(503, b"<html>Service Unavailable</html>", retry_after=after)
        if request.what == "knock":
            assert not request.token
            assert not request.body
            return Answer(401, b'{"errorcode":1027,"message":"Not logged in","severity":"ERROR"}')
        return Answer(200, _SAYS.get(request.what, _DONE + b" }"))


class Behind(MemoryDriver):
    """A device in memory that is reached through a NITRO client."""

    nitro: Nitro

    async def open(self) -> None:
        await self.nitro.open()
        await super().open()

    async def close(self) -> None:
        await self.nitro.close()

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        await self.nitro.get("vxlan")
        return await super().observe(identities)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("tells", [False, True])
def test_ten_minutes_of_503(monkeypatch: pytest.MonkeyPatch, seed: int, tells: bool) -> None:
    """It sees at most eight requests that mean anything, and holds what it should five seconds after it is back.

    A device that says when it is back sees no more than eight requests of any sort; another is knocked at every 4 s.
    """
    device = Device(tells)
    monkeypatch.setattr(client, "Wire", lambda place, trust, *, connections: device)

    async def tell(bench: Bench) -> None:
        clock = asyncio.get_running_loop().time
        rig.driver.nitro = Nitro(
            "adc1", options("http://192.0.2.1"), Given(), clock=clock, source=random.Random(seed)
        )
        async with bench.running():
            await bench.settled()
            began, device.back = now(), now() + 600
            bench.put(node("n2", "192.0.2.12", "10.244.2.0/24"))
            bench.worker.look_at_everything()
            await asyncio.sleep(599.9)
            assert not bench.worker.status.reachable
            seen = [what for at, what in device.asked if at >= began]
            assert len([what for what in seen if what != "knock"]) <= 8
            assert len(seen) <= (8 if tells else 160)
            await bench.until(lambda: "route 10.244.2.0/24" in bench.driver.resources)
            await bench.settled()
            assert now() - device.back <= 5
            assert bench.worker.status.error == ""

    rig = small()
    rig.driver = Behind(facts=FACTS)
    logs = story(tell, Bench(rig))
    assert events(logs, "device failed", "device recovered") == ["device failed", "device recovered"]

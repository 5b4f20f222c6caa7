"""Leases on a real API server: one leads, another takes over, and devices are shared."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from isthmus.app.tenure import LEASE

from .rig import Place, holds, node, until
from .test_shared_devices import sharing
from .test_two_controllers import elected, lease, warm

ALL = ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]


async def test_one_leads_and_another_takes_over(real_home: Place) -> None:
    """A Lease that is deleted is made again by its holder; one that is given back is taken at once, in a later term."""
    home = real_home
    home.join()
    async with AsyncExitStack() as first:
        one = await first.enter_async_context(home.controller(turn=elected(home, "a")))
        await until(lambda: home.routes() == ALL, 20, home.routes)
        async with home.controller(turn=elected(home, "b")) as other:
            await warm(home, other)
            home.api.delete("Lease", LEASE, "isthmus-system")
            await until(lambda: lease(home).get("holderIdentity") == "a")
            await holds(lambda: one.turn.holds() and not other.turn.holds(), 2.5)
            term = one.turn.epoch
            await first.aclose()
            stopped = time.monotonic()
            await until(other.turn.holds)
            assert time.monotonic() - stopped < 1.0
            assert other.turn.epoch > term
            home.api.put(node(4))
            await until(lambda: len(home.routes()) == 4)
            assert home.epochs["gw1"] == sorted(home.epochs["gw1"])
            assert home.epochs["gw1"][-1] == other.turn.epoch


async def test_devices_are_shared(real_home: Place) -> None:
    """Two replicas have each device once; when one is gone the other has them all."""
    home = real_home
    home.join()
    devices = [f"gw{number}" for number in range(1, 7)]
    for device in devices:
        home.put("EdgeDevice", device, {"driver": "memory"})
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": devices, "path": "direct"})
    async with home.controller(turn=(one := sharing(home, "a"))):
        async with home.controller(turn=(two := sharing(home, "b"))):
            await until(lambda: sorted([*one.shares.mine(), *two.shares.mine()]) == devices, 20, one.shares.mine)
            await until(lambda: all(home.routes(device) == ALL for device in devices), 20)
            await until(lambda: all(home.is_so("EdgeDevice", device, "Ready") for device in devices), 20)
        await until(lambda: one.shares.mine() == devices, 10, one.shares.mine)

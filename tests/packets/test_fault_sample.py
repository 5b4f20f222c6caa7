"""A sample of the plans of `tests/faults`, repeated with a real controller, a real kernel and packets.

The plans are the same values; each of their faults is done to the real thing that comes nearest: a process is killed or
stopped, the API forgets, hangs up, falls silent or lies, the gateway loses all it had. How many plans is `FAULT_SAMPLE` (3 by
default, from seed `FAULT_SAMPLE_FIRST` on); a hundred of them are one per cent of what `scripts/faults.sh` plays.

The one confusing thing: where a fault strikes is not repeatable here, because time is real. What is asked of the end is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from faults.plans import of_chance
from faults.seam import Fault
from isthmus.errors import KubeError, KubeNotFound
from isthmus.lab.net.matrix import spread
from isthmus.registry.state import StateDirectory
from packets.joining import CLIENT_FAR, Rig, joined_lab

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = int(os.environ.get("FAULT_SAMPLE_FIRST", "0"))
COUNT = int(os.environ.get("FAULT_SAMPLE", "3"))
_AT_MOST = 4
"""So many faults of one plan are done; a storm is more of the same."""
_STOPPED = 3.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    """Return two nodes, joined by flannel's tunnels."""
    async with joined_lab("flannel", nodes=2) as rig:
        await rig.serve("always")
        yield rig


async def _crash(rig: Rig) -> None:
    await rig.crash()
    async with StateDirectory(rig.joined.state) as state:
        # A killed process leaves its last words; what is asked below is asked of the next one's.
        await state.write_status({("Controller", "controller"): {"running": False, "problems": []}})
    await rig.joined.start_controller()


async def _stop(rig: Rig) -> None:
    running = rig.joined.controller
    assert running is not None, "it runs"
    running.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(_STOPPED)
    running.process.send_signal(signal.SIGCONT)


async def _forget(rig: Rig) -> None:
    rig.lab.api.compact()
    rig.lab.api.close_watches()


async def _cut(rig: Rig) -> None:
    rig.lab.api.close_watches(abrupt=True)


async def _freeze(rig: Rig) -> None:
    rig.lab.api.freeze_watches("services")
    rig.lab.api.freeze_watches("endpointslices")


async def _empty(rig: Rig) -> None:
    for kind in ("nodes", "services", "endpointslices"):
        rig.lab.api.faults.empty_lists(kind, 1)
    await _forget(rig)


async def _fail(rig: Rig) -> None:
    rig.lab.api.faults.fail_next(5, status=503, retry_after=1)
    rig.lab.api.faults.fail_next(5, status=500)


async def _delay(rig: Rig) -> None:
    rig.lab.api.faults.delay(1.5)


async def _outage(rig: Rig) -> None:
    await rig.cut_api()
    await asyncio.sleep(_STOPPED)
    await rig.mend_api()


async def _reboot(rig: Rig) -> None:
    await rig.wipe_gateway()


DEEDS: dict[str, Callable[[Rig], Awaitable[None]]] = {
    "crash": _crash,
    "pause": _stop,
    "expired": _forget,
    "cut": _cut,
    "frozen": _freeze,
    "empty": _empty,
    "failed": _fail,
    "merged": _delay,
    "unsent": _outage,
    "reboot": _reboot,
}


def deed(fault: Fault) -> Callable[[Rig], Awaitable[None]]:
    """Return what comes nearest to a fault; a number picks one, as it does on virtual time."""
    names = list(DEEDS)
    if isinstance(fault.kind, int):
        return DEEDS[names[fault.kind % len(names)]]
    return DEEDS.get(fault.kind.partition("-")[0], _fail)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
async def test_a_plan_repeated_with_packets(rig: Rig, seed: int) -> None:
    """Whatever was done to controller, API and gateway: VIPs answer in the end, and a fresh controller changes nothing."""
    source = random.Random(f"sample {seed}")
    coming, going = rig.workload(f"coming{seed}"), rig.workload(f"going{seed}")
    await rig.lab.publish(going)
    happenings = [lambda: rig.lab.publish(coming), lambda: rig.lab.cluster.retract(going)]
    for fault in of_chance(seed).faults[:_AT_MOST]:
        await asyncio.sleep(source.random())
        if happenings:
            with contextlib.suppress(KubeError):  # an earlier fault may strike who asks here; it is asked again below
                await happenings.pop(0)()
        await deed(fault)(rig)
    rig.lab.api.faults.clear()
    rig.lab.api.thaw_watches()
    await rig.lab.publish(coming)
    with contextlib.suppress(KubeNotFound):
        await rig.lab.cluster.retract(going)

    for name in ("always", f"coming{seed}"):
        for vip in await rig.vips(name):
            await rig.answers(vip, client=CLIENT_FAR, timeout=60)
            assert (await spread(CLIENT_FAR, vip, 80, requests=6)).ok
    await rig.reached(timeout=60)
    await rig.settled(timeout=60)
    assert (await rig.restart())["writes"] == 0
    await rig.lab.cluster.retract(coming)

"""Whether a silent watch is quiet or dead: two questions on a second connection.

TCP cannot tell, because a proxy keeps its side open for hours after the API behind it is gone. So:

1. What is the collection's resourceVersion now, read from the store? Equal to ours: nothing was missed. Lower: the API was
   restored from a backup, and our position is in its future, where a watch waits for ever.
2. Higher may be other kinds' changes (Leases change every second), so a second watch is opened at our own position.
   What that one shows at once, the silent one should have shown.

The confusing thing is what proves nothing: ``/version`` answers without looking at any object, and a list with
``resourceVersion=0`` comes from a cache that may be as blind as we are (and comes whole, whatever its limit says).
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import NamedTuple, TypedDict

from isthmus.errors import KubeThrottled, KubeUnreachable
from isthmus.kube import wire
from isthmus.kube.belief import went_back
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import KindRef
from isthmus.kube.pace import Timing


class Where(TypedDict):
    """Which part of a collection is meant."""

    namespace: str | None
    label_selector: str
    field_selector: str


class Verdict(Enum):
    """What the second connection showed."""

    CURRENT = auto()
    BEHIND = auto()
    WENT_BACK = auto()
    UNKNOWN = auto()


class Proof(NamedTuple):
    """A verdict, and whether the collection holds anything."""

    verdict: Verdict
    occupied: bool = True


async def prove(client: KubeClient, kind: KindRef, where: Where, version: str, timing: Timing) -> Proof:
    """Ask beside a silent watch at ``version`` whether it missed anything. Raises a KubeError where the API does not say.

    An API that is too busy to answer (429) lives, and proves nothing.
    """
    try:
        async with asyncio.timeout(timing.probe):
            now, occupied = await client.collection_version(kind, **where)
        if went_back(now, version):
            return Proof(Verdict.WENT_BACK, occupied)
        if now == version or not await _events_after(client, kind, where, version, timing):
            return Proof(Verdict.CURRENT, occupied)
        return Proof(Verdict.BEHIND, occupied)
    except TimeoutError:
        raise KubeUnreachable(f"watch {kind}: silent, and the API does not answer beside it") from None
    except KubeThrottled:
        return Proof(Verdict.UNKNOWN)


async def _events_after(client: KubeClient, kind: KindRef, where: Where, version: str, timing: Timing) -> bool:
    opening = client.watch(
        kind, type=wire.Named, resource_version=version, timeout_seconds=max(1, round(timing.probe)), **where
    )
    async with asyncio.timeout(timing.probe), opening as beside:
        try:
            async with asyncio.timeout(timing.listen):
                while (batch := await beside.batch()) is not None:
                    if any(event.type != "BOOKMARK" for event in batch):
                        return True
        except TimeoutError:
            return False
    return False

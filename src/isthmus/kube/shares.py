"""Devices shared over replicas by Leases: one that says a replica is alive, and one per device that says whose it is.

A replica renews only its own heartbeat. A device's Lease is written when it changes hands, and is good for as long as its
holder's heartbeat is. So a hundred devices cost no more than one, and a dead replica's devices are free all at once.

The one confusing thing: a heartbeat that was late and goes on is not enough to go on writing. Somebody may be taking a device
at this very moment because it was late. So a replica whose heartbeat had a break first writes each of its devices' Leases
anew: either that fails, because another was faster, or the other's attempt does.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from isthmus.core.election import Record, Terms, counted, new_epoch
from isthmus.core.sharing import steps
from isthmus.errors import KubeConflict, KubeError, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import LEASES
from isthmus.kube.lease import Lease, lease_document, never_jumps, record_of
from isthmus.telemetry import get_logger

__all__ = ["SHARE", "Share", "Shares"]

SHARE = "isthmus.dev/share"
"""Label on the Leases by which controllers share devices: which controllers those are."""
_FORGOTTEN = 20.0
"""So many times its duration a heartbeat stands still before it is cleared away."""
_AT_ONCE = 8
_GRACE = 10.0

Document = dict[str, Any]


class Share:
    """The tenure of one device by this replica."""

    def __init__(self, heartbeat: Lease) -> None:
        self.epoch = 0
        self.mine = False
        self.closing = False
        self.breaks = -1
        self._heartbeat = heartbeat

    def holds(self) -> bool:
        """Say whether this replica may write to the device now."""
        return self.mine and not self.closing and self._heartbeat.holds() and self.breaks == self._heartbeat.breaks


class Shares:
    """This replica's part of the devices, while :meth:`run` runs.

    ``devices`` says which there are, ``busy`` whether one is being written to at this moment; ``moved`` hears of each that
    came or went.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        group: str,
        me: str,
        terms: Terms,
        *,
        devices: Callable[[], Collection[str]],
        busy: Callable[[str], bool] = lambda device: False,
        moved: Callable[[str], None] = lambda device: None,
        clock: Callable[[], float] = never_jumps,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._group = group
        self._me = me
        self._terms = terms
        self._devices = devices
        self._busy = busy
        self._moved = moved
        self._clock = clock
        self._wall = wall
        self._labels = {SHARE: group[:63]}
        digest = hashlib.blake2b(me.encode(), digest_size=8).hexdigest()
        self.heartbeat = Lease(
            client, namespace, f"{group}-replica-{digest}", me, terms, labels=self._labels, clock=clock, wall=wall
        )
        self._shares: dict[str, Share] = {}
        self._seen: dict[str, tuple[Record, float]] = {}
        self._free_since: dict[str, float] = {}
        self._standing: dict[str, Document] = {}
        self._owners: dict[str, str] = {}
        self._failing = ""
        self._woken = asyncio.Event()
        self._log = get_logger("kube").bind(replica=me)

    def of(self, device: str) -> Share:
        """Return the tenure of ``device``."""
        if device not in self._shares:
            self._shares[device] = Share(self.heartbeat)
        return self._shares[device]

    def mine(self) -> list[str]:
        """Return the devices that are this replica's now."""
        return sorted(device for device, share in self._shares.items() if share.holds())

    def owner(self, device: str) -> str:
        """Return the live replica that has ``device``, or an empty text."""
        return self._owners.get(device, "")

    async def run(self) -> None:
        """Take a fair part of the devices and keep it until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.heartbeat.run())
            group.create_task(self._watch())
            while True:
                try:
                    async with asyncio.timeout(self._terms.renew):
                        await self._round()
                    self._failing = ""
                except (KubeError, TimeoutError) as error:
                    if not self._failing:
                        self._log.warning("devices cannot be shared now", error=str(error) or "no answer in time")
                    self._failing = str(error) or "no answer in time"
                await self._pause()

    async def release(self) -> None:
        """Give everything back; call it after :meth:`run` has ended and nothing is written any more."""
        shares = [device for device, share in self._shares.items() if share.mine]
        await self._each(shares, self._hand_back)
        await self.heartbeat.release()
        try:
            await self._client.delete(LEASES, self.heartbeat.name, self._namespace)
        except KubeError as error:
            self._log.debug("the heartbeat is left behind", reason=str(error))

    # --- one round ----------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        breaks, alive = self.heartbeat.breaks, self.heartbeat.holds()
        listed = await self._list()
        live = await self._live(listed)
        self._standing = {name: one for name, one in listed.items() if name.startswith(self._name(""))}
        if not alive:
            return
        live.add(self._me)
        devices = sorted(self._devices())
        holders = {device: record_of(self._standing.get(self._name(device), {})).holder for device in devices}
        self._owners = {device: holder for device, holder in holders.items() if holder in live}
        await self._each([d for d, share in self._shares.items() if share.mine], lambda d: self._look(d, breaks))
        now = self._clock()
        lasting = {record.holder for name, (record, _) in self._seen.items() if name not in listed}
        free = [device for device in devices if holders[device] not in {*live, *lasting}]
        self._free_since = {device: self._free_since.get(device, now) for device in free}
        free_for = {device: now - since for device, since in self._free_since.items()}
        # What says our name and is not ours is a request of ours that got no answer: free, as far as we are concerned.
        held = {d: holder if holder != self._me or self.of(d).mine else "" for d, holder in holders.items()}
        take, give = steps(self._me, devices, live, held, free_for, self._terms.duration)
        take = [device for device in take if holders[device] not in lasting]
        gone = [device for device, share in self._shares.items() if share.mine and device not in devices]
        await self._each(take, lambda device: self._take(device, breaks))
        await self._each([*give, *gone], self._give_up)

    async def _list(self) -> dict[str, Document]:
        found: dict[str, Document] = {}
        selector = f"{SHARE}={self._labels[SHARE]}"
        async for page in self._client.list_pages(LEASES, self._namespace, label_selector=selector):
            found.update({one["metadata"]["name"]: one for one in page.items})
        return found

    async def _live(self, listed: dict[str, Document]) -> set[str]:
        """Return who is alive by our own clock; clear away what has been dead for long.

        A heartbeat that vanished under its holder stays among those seen for as long as it was good: the holder writes on.
        """
        now, live = self._clock(), set()
        hearts = {name: record_of(one) for name, one in listed.items() if name.startswith(f"{self._group}-replica-")}
        self._seen = {
            name: (record, at)
            for name, (record, at) in self._seen.items()
            if name in hearts or (record.holder and now - at < (record.duration or self._terms.duration))
        }
        for name, record in hearts.items():
            before, at = self._seen.get(name, (None, now))
            if before is None or before.stamp != record.stamp:
                at = now
            self._seen[name] = (record, at)
            duration = record.duration or self._terms.duration
            if record.holder and now - at < duration:
                live.add(record.holder)
            elif now - at > _FORGOTTEN * duration and name != self.heartbeat.name:
                head = listed[name]["metadata"]
                await self._client.delete(LEASES, name, self._namespace, resource_version=head["resourceVersion"])
        return live

    async def _look(self, device: str, breaks: int) -> None:
        """See that what is ours still is; after a break of the heartbeat, make sure of it."""
        share = self._shares[device]
        document = self._standing.get(self._name(device))
        record = record_of(document or {})
        if document is None or (record.holder, record.epoch) != (self._me, share.epoch):
            self._lost(device)
        elif share.breaks != breaks:
            if await self._write(device, self._me, share.epoch):
                share.breaks = breaks
                self._moved(device)
            else:
                self._lost(device)

    async def _take(self, device: str, breaks: int) -> None:
        before = record_of(self._standing.get(self._name(device), {}))
        epoch = new_epoch(max(counted(before.epoch), self.of(device).epoch), int(self._wall() * 1000))
        if not await self._write(device, self._me, epoch):
            return
        share = self.of(device)
        share.mine, share.closing, share.epoch, share.breaks = True, False, epoch, breaks
        self._owners[device] = self._me
        self._log.info("device taken", device=device, epoch=epoch, before=before.holder)
        self._moved(device)

    async def _give_up(self, device: str) -> None:
        """Give a device back once nothing is being written to it."""
        self._shares[device].closing = True
        try:
            async with asyncio.timeout(_GRACE):
                while self._busy(device):  # noqa: ASYNC110 - a plan ends within moments
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return  # tried again with the next round; nothing is handed over meanwhile
        await self._hand_back(device)
        self._log.info("device given up", device=device)
        self._moved(device)

    async def _hand_back(self, device: str) -> None:
        share = self._shares[device]
        if await self._write(device, "", share.epoch):
            self._owners.pop(device, None)
        share.mine = share.closing = False

    def _lost(self, device: str) -> None:
        self._shares[device].mine = self._shares[device].closing = False
        self._log.warning("device lost to another", device=device)
        self._moved(device)

    async def _write(self, device: str, holder: str, epoch: int) -> bool:
        """Write a device's Lease over the version that was read; say whether nobody else was faster."""
        name = self._name(device)
        standing = self._standing.get(name)
        head = {"name": name, "namespace": self._namespace, "labels": self._labels}
        took = record_of(standing or {}).holder != holder
        document = lease_document(standing, head, holder, epoch, self._terms, self._wall(), took=took)
        try:
            if standing is None:
                self._standing[name] = await self._client.create(LEASES, document)
            else:
                self._standing[name] = await self._client.replace(LEASES, document)
        except (KubeConflict, KubeNotFound):
            return False
        return True

    async def _each(self, devices: Iterable[str], do: Callable[[str], Any]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(device: str) -> None:
            async with slots:
                await do(device)

        answers = await asyncio.gather(*(one(device) for device in devices), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def _name(self, device: str) -> str:
        return f"{self._group}-device-{device}"

    # --- being woken --------------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._terms.retry):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _watch(self) -> None:
        """Wake up when a device has changed hands, or a replica has come or gone; heartbeats alone wake nobody."""
        while True:
            try:
                selector = f"{SHARE}={self._labels[SHARE]}"
                async with self._client.watch(LEASES, self._namespace, label_selector=selector) as events:
                    async for event in events:
                        record = record_of(event.object or {})
                        known = self._standing.get(event.name)
                        if event.name in self._seen and event.type == "MODIFIED" and record.holder:
                            continue
                        if known is None or record_of(known).holder != record.holder or event.type == "DELETED":
                            self._woken.set()
            except KubeError as error:
                self._log.debug("the watch of the shares ended", reason=str(error))
            await asyncio.sleep(self._terms.retry)

"""Two controllers and one Lease: the product's own candidacy over the simulated API.

A process contends before it begins, so that who leads has read everything after it won. The one confusing thing: both use one
state directory here. That stands for what a home cluster keeps for all replicas; on one machine its lock would forbid it.
"""

from __future__ import annotations

import asyncio

from isthmus.app.tenure import Elected
from isthmus.core.election import Terms
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection


class Contender(Elected):
    """One process's turn, won by a campaign that begins before its controller does."""

    def __init__(self, client: KubeClient, me: str) -> None:
        super().__init__(Connection(server="http://127.0.0.1:1", name="sim"), "default", Terms(), me=me)
        self._client = client
        self._lease._client = client
        self._campaign: asyncio.Task[None] | None = None

    async def win(self) -> None:
        """Wait for the Lease; it is kept until :meth:`release`."""
        self._campaign = asyncio.create_task(self._lease.run())
        await self.won.wait()
        self.open()

    async def run(self) -> None:
        """Wait for ever, or for an error of the campaign."""
        assert self._campaign is not None, "it was won"
        await asyncio.shield(self._campaign)

    async def release(self) -> None:
        """Give the Lease back."""
        if self._campaign is not None:
            self._campaign.cancel()
            await asyncio.gather(self._campaign, return_exceptions=True)
        await super().release()

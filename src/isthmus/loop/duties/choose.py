"""Has ``auto`` choose a path, once, and keeps the choice: a blip never re-paths a fleet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from isthmus.core.choose import ORDER, choose, neighbors_to_prove
from isthmus.core.world import Choice
from isthmus.drivers.base import ProbeResult, ProbeTarget
from isthmus.errors import DeviceUnsupported
from isthmus.loop.cluster import Context
from isthmus.model.resources import IPAddress
from isthmus.telemetry import get_logger

AGAIN = 2.0
"""Seconds until a link that found no path is looked at again."""

Probe = Callable[[str, Sequence[ProbeTarget]], Awaitable[Sequence[ProbeResult]]]
Keep = Callable[[str, Choice], Awaitable[None]]


class Choose:
    """Looks at one link: does it have a path? ``probe`` asks a device, ``keep`` stores a choice for good."""

    def __init__(self, context: Context, probe: Probe, keep: Keep) -> None:
        self._context = context
        self._probe = probe
        self._keep = keep
        self._log = get_logger("loop").bind(cluster=context.cluster)
        self.rejected: dict[str, tuple[tuple[str, str], ...]] = {}

    async def look(self, name: str) -> float | None:
        """Choose for link ``name`` if it is ``auto`` and has no choice yet; all its devices must be able to go that way."""
        world = self._context.world
        link = world.links.get(name)
        if link is None or link.spec.path != "auto" or name in world.choices or not link.spec.devices:
            return None
        doubt = world.view(link.spec.cluster).doubt("nodes", "network", "pods")
        if doubt is not None:
            self.rejected[name] = (
                ("auto", doubt),
            )  # a choice is kept for good, so it rests on nothing that is half read
            return AGAIN
        found: list[Choice] = []
        for device in link.spec.devices:
            ground = self._context.devices.ground(name, device)
            if ground is None:
                return AGAIN
            addresses = neighbors_to_prove(ground)
            choice, rejected = choose(ground, await self._answered(device, addresses))
            if self.rejected.get(name) != rejected:
                self.rejected[name] = rejected
                if choice is None:
                    self._log.warning("no path works yet", link=name, tried=dict(rejected))
            if choice is None:
                return AGAIN
            found.append(choice)
        choice = max(found, key=lambda one: ORDER.index(one.path))
        await self._keep(name, choice)
        self._log.info("path chosen", link=name, path=choice.path, why=choice.why)
        return None

    async def _answered(self, device: str, addresses: Sequence[IPAddress]) -> dict[IPAddress, bool] | None:
        """Return which addresses answer ``device``; none if it is of a kind that cannot ask."""
        try:
            results = await self._probe(device, [ProbeTarget(address) for address in addresses]) if addresses else []
        except DeviceUnsupported:
            return None
        return {result.target.address: result.reached for result in results}

"""What a controller would assign now: paths, overlay places, addresses; worked out in a world that was read once.

The world is given what is assigned, so that the plan shows where a running controller would end, and :class:`Assigned` says
what that was, so that whoever carries the plan out can keep it. The confusing thing: a node's place lives in the node's own
annotation. It is put into the world's facts here, and the fact without it is kept for who has to write it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from isthmus.app.memory import Addresses
from isthmus.core import attachment
from isthmus.core.allocate import Allocator, holders
from isthmus.core.choose import ORDER, choose, neighbors_to_prove
from isthmus.core.ground import Ground
from isthmus.core.overlay_addresses import OverlayAddresses, device_addresses
from isthmus.core.world import Choice, World, path_of
from isthmus.drivers.base import Driver, ProbeTarget
from isthmus.errors import DeviceUnsupported, IsthmusError
from isthmus.model.claims import object_of
from isthmus.model.facts import NodeFacts
from isthmus.model.kinds import ClusterLink, VirtualIP, vip_name
from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import Holder, VirtualIPSpec
from isthmus.model.resources import IPAddress

__all__ = ["Assigned", "Assigning"]


@dataclass(slots=True)
class Assigned:
    """What was not assigned before: to be kept by who carries the plan out, forgotten by who only looks."""

    choices: dict[str, Choice] = field(default_factory=dict)
    addresses: dict[str, Addresses] = field(default_factory=dict)
    unattached: dict[str, dict[str, NodeFacts]] = field(default_factory=dict)
    claims: list[VirtualIP] = field(default_factory=list)
    released: list[VirtualIP] = field(default_factory=list)


class Assigning:
    """Assigns in ``world``; ``say`` gets remarks about what cannot be assigned."""

    def __init__(self, world: World, drivers: Mapping[str, Driver], say: Callable[[str], None]) -> None:
        self.assigned = Assigned()
        self._world = world
        self._drivers = drivers
        self._say = say

    def places(self, link: ClusterLink, recorded: Addresses) -> None:
        """Give the link's devices their addresses on its overlay."""
        if link.spec.overlay is None:
            return
        given = device_addresses(link, recorded)
        for device, addresses in given.items():
            self._world.device_addresses[link.name, device] = addresses
        new = {device: own for device, own in given.items() if recorded.get(device) != own}
        if new:
            self.assigned.addresses[link.name] = new

    async def settle(self, link: ClusterLink, grounds: Sequence[Ground]) -> None:
        """Choose the link's path if it has none, and give its nodes their places."""
        if not grounds:
            return
        if link.spec.path == "auto" and link.name not in self._world.choices:
            choice = await self._choose(link, grounds)
            if choice is None:
                return
            self._world.choices[link.name] = self.assigned.choices[link.name] = choice
        if path_of(self._world, link) == "overlay":
            self._attach(link, list(grounds))

    async def _choose(self, link: ClusterLink, grounds: Sequence[Ground]) -> Choice | None:
        found = []
        for ground in grounds:
            targets = [ProbeTarget(address) for address in neighbors_to_prove(ground)]
            answered: dict[IPAddress, bool] | None = None
            try:
                results = await self._drivers[ground.device_name].probe(targets) if targets else []
                answered = {result.target.address: result.reached for result in results}
            except DeviceUnsupported:
                pass  # it cannot ask anybody, so nothing is known of its segment
            except IsthmusError as error:
                self._say(f"link {link.name}: no path can be chosen: {error}")
                return None
            choice, rejected = choose(ground, answered)
            if choice is None:
                for path, why in rejected:
                    self._say(f"link {link.name}: {path}: {why}")
                return None
            found.append(choice)
        return max(found, key=lambda one: ORDER.index(one.path))

    def _attach(self, link: ClusterLink, grounds: list[Ground]) -> None:
        addresses = OverlayAddresses(self._world, link.name)
        view = self._world.view(link.spec.cluster)
        nodes = sorted(view.stated.values(), key=lambda node: (node.created, node.name))
        for node in nodes:
            addresses.learn(node.name, node)
        key = attachment.annotation(link.name)
        for node in nodes:
            if not grounds[0].takes_part(node):
                continue
            found = addresses.attachment(grounds[0], node, grounds)
            if isinstance(found, str):
                self._say(f"link {link.name}: {found}")
            elif node.annotations.get(key) != found.render():
                self.assigned.unattached.setdefault(view.name, {}).setdefault(node.name, node)
                changed = {**node.annotations, key: found.render()}
                self._world.put_node(view.name, node.name, msgspec.structs.replace(node, annotations=changed))

    def claim(self) -> None:
        """Give every Service its addresses, and take back what nobody may have any more."""
        allocator = Allocator(self._world)
        for cluster in self._world.cluster_kinds:
            if allocator.doubt(cluster) is not None:
                continue
            for holder in holders(self._world, cluster):
                decision = allocator.decide(holder)
                for claim in decision.claims:
                    name = vip_name(claim.address)
                    spec = VirtualIPSpec(
                        address=claim.address,
                        pool=claim.pool,
                        holder=Holder(cluster=holder[0], namespace=holder[1], service=holder[2]),
                    )
                    vip = VirtualIP(metadata=Metadata(name=name), spec=spec)
                    self._world.put_vip(name, vip)
                    self.assigned.claims.append(vip)
                for released in decision.release:
                    gone = self._world.vips.get(released)
                    if gone is not None:
                        self.assigned.released.append(object_of(gone))
                    self._world.put_vip(released, None)
                for refused in decision.refused:
                    self._say(f"Service {holder[1]}/{holder[2]}: {refused.message}")

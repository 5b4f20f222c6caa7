"""What is true, as opposed to what a controller has heard: the world at every moment, and what the gateway should hold then.

A *moment* is all that decisions rest on: the API's objects, the configuration, the memory. What should stand on the gateway
at a moment is asked of the core alone, over a world that was read without any fault. Two things are judged by it: the end of
a run, and every delete on the way.

The one confusing thing: a delete that is wrong now may have been right a moment ago, and news takes time. So it is only
*ignorance* if at no moment since the thing was made it was unwanted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from faults.api import Api, Objects
from faults.disk import Files
from isthmus.app.memory import addresses_of, choice_of, claimed
from isthmus.core.homes import HOMES
from isthmus.core.planner import DevicePlanner
from isthmus.core.world import World
from isthmus.drivers.memory import MemoryDriver
from isthmus.kube.parse import NAMESPACE, NODE, SERVICE, SLICE
from isthmus.kube.published import daemon_set
from isthmus.kube.published_calico import calico_block
from isthmus.model.facts import DeviceFacts
from isthmus.model.kinds import AddressPool, ClusterLink, EdgeDevice, KubeCluster, VirtualIP
from isthmus.model.published import Published
from isthmus.model.resources import AnyResource
from isthmus.registry import tables

CLUSTER, DEVICE, LINK = "prod", "gw1", "main"
_PROJECTIONS: dict[str, Any] = {
    "nodes": NODE,
    "services": SERVICE,
    "endpointslices": SLICE,
    "namespaces": NAMESPACE,
}
_FACTS: dict[bytes, Any] = {}


@dataclass
class Memory:
    """What the controller was told to remember."""

    claims: tuple[Any, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    addresses: Mapping[str, Any] = field(default_factory=dict)


def remembered(connection: sqlite3.Connection) -> Memory:
    """Read the state directory."""
    return Memory(
        tables.read_claims(connection),
        tables.read_choices(connection),
        tables.read_assignments(connection, f"overlay/{LINK}"),
    )


@dataclass
class Moment:
    """Everything that decisions rest on, at one time."""

    at: float
    objects: Mapping[str, Objects]
    kinds: tuple[Any, ...]
    memory: Memory
    _wanted: dict[str, AnyResource] | None = None
    _world: World | None = None

    def world(self) -> World:
        """Return the world as somebody who knows everything sees it."""
        if self._world is None:
            self._world = _world(self)
        return self._world

    def wanted(self, facts: DeviceFacts, foreign: Mapping[str, str], now: float) -> dict[str, AnyResource] | None:
        """Return what the gateway should hold; none while no path is chosen, when nobody can say."""
        if self._wanted is None:
            self._wanted = self.wanted_now(facts, foreign, now)
        return self._wanted

    def wanted_now(self, facts: DeviceFacts, foreign: Mapping[str, str], now: float) -> dict[str, AnyResource] | None:
        """Return the same without remembering it: time alone changes it, too, as a silent node's grace ends."""
        world = self.world()
        link = world.links.get(LINK)
        if link is not None and link.spec.path == "auto" and LINK not in world.choices:
            return None
        return _settled(world, facts, foreign, now)


class History:
    """All moments of one run, the latest last."""

    def __init__(self, api: Api, files: Files, connection: sqlite3.Connection) -> None:
        self._api, self._files, self._connection = api, files, connection
        self._memory = remembered(connection)
        self.moments: list[Moment] = []

    def note(self, now: float, *, memory: bool = False) -> None:
        """Remember how everything stands."""
        if memory:
            self._memory = remembered(self._connection)
        kinds = tuple(located.object for located in self._files.load().objects)
        self.moments.append(Moment(now, dict(self._api.objects), kinds, self._memory))

    def since(self, at: float) -> Iterable[Moment]:
        """Yield the moments that were so at ``at`` or later, the latest first."""
        for moment in reversed(self.moments):
            yield moment
            if moment.at < at:
                return


def _world(moment: Moment) -> World:
    world = World()
    world.config_doubt = None
    homes: dict[type, dict[str, Any]] = {
        KubeCluster: world.cluster_kinds,
        EdgeDevice: world.devices,
        ClusterLink: world.links,
        AddressPool: world.pools,
    }
    for kind in moment.kinds:
        if isinstance(kind, VirtualIP):
            world.put_vip(kind.name, kind)
        else:
            homes[type(kind)][kind.name] = kind
    for claim in moment.memory.claims:
        world.put_vip(claim.name, claimed(claim))
    world.choices.update({link: choice_of(value) for link, value in moment.memory.choices.items()})
    for device, own in addresses_of(moment.memory.addresses).items():
        world.device_addresses[LINK, device] = own
    view = world.view(CLUSTER)
    view.pending.clear()
    for plural, projection in _PROJECTIONS.items():
        for key, stored in moment.objects[plural].items():
            found = _FACTS.get(stored.raw)
            if found is None:
                if len(_FACTS) > 20_000:
                    _FACTS.clear()
                found = _FACTS[stored.raw] = projection.facts(msgspec.json.decode(stored.raw, type=projection.wire))
            world.put(CLUSTER, plural, key, found)
    if "ipamblocks" in moment.objects:
        for (_, name), stored in moment.objects["ipamblocks"].items():
            world.put_home(CLUSTER, "ipamblocks", name, calico_block(stored.read()))
        for kind in HOMES:
            world.put_home_state(CLUSTER, kind, "read" if kind == "ipamblocks" else "absent")
        daemon_sets = tuple(daemon_set(stored.read()) for stored in moment.objects["daemonsets"].values())
        world.put_published(CLUSTER, Published(daemon_sets=daemon_sets))
    return world


def _settled(world: World, facts: DeviceFacts, foreign: Mapping[str, str], now: float) -> dict[str, AnyResource]:
    """Return what a device that held nothing would hold in the end."""
    device = MemoryDriver(facts=facts, foreign=foreign)
    planner = DevicePlanner(world, DEVICE, device)
    for _ in range(5):
        planner.see(dict(device.resources), dict(device.foreign), facts)
        plan = planner.full(now)
        if plan.empty:
            break
        for change in plan.changes:
            device._carry_out(change)
    return dict(device.resources)

"""The old router's verbs as functions: build the nodes' side of an overlay, take all of it away, describe it.

No device of ours is driven: the other end is somebody else's, and :func:`export` says what it must have. What there is to
say comes in the variables of the old router (NETWORK, VNID, VXLAN_PORT, REMOTE_VTEPIP, ...), from the environment unless they
are given::

    settings = {"NETWORK": "192.168.254.0/24", "VNID": "200", "VXLAN_PORT": "7000", "REMOTE_VTEPIP": "192.0.2.60"}
    built = await create(settings)
    documents = await export(settings)
    await delete(settings)

Each call looks once and ends; to follow nodes that come and go, run ``isthmus controller --from-env`` with the same
variables. The node agents do what is written on their Nodes, so they must run (``isthmus agent node``).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isthmus.compat.environment import Environment, read
from isthmus.compat.exported import overlay_of, shards
from isthmus.compat.publishing import Publish
from isthmus.core import attachment
from isthmus.core.ground import Ground
from isthmus.core.overlay_addresses import device_addresses
from isthmus.core.world import World
from isthmus.drivers.external import ExternalDevice
from isthmus.errors import InputError, KubeConflict
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection, in_cluster
from isthmus.kube.kubeconfig import load
from isthmus.kube.parse import NODE
from isthmus.loop.cluster import Context
from isthmus.loop.duties.attach import Attach
from isthmus.loop.snapshot import list_facts, read_network
from isthmus.model.facts import DeviceFacts
from isthmus.model.kinds import ClusterLink, EdgeDevice, KubeCluster
from isthmus.model.plan import Scope

__all__ = ["Built", "create", "delete", "export"]

_AT_ONCE = 16
_PATIENT = 50
"""So often a ConfigMap is looked at again that others write at the same time."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a call came to: the ConfigMap (``namespace/name``), the nodes that take part, and why others do not yet."""

    configmap: str
    nodes: tuple[str, ...]
    waiting: tuple[str, ...] = ()


async def create(settings: Mapping[str, str] | None = None) -> Built:
    """Give every node its place on the overlay, and publish the ConfigMap; what stands already stays as it is.

    Raises ``InputError`` with everything that is wrong with the variables, ``KubeError`` where the cluster does not answer.
    """
    async with _looking(settings) as look:
        await look.attach()
        await look.read_nodes()
        await look.publish()
        return look.built()


async def delete(settings: Mapping[str, str] | None = None) -> Built:
    """Take the nodes' places away, and the ConfigMap: the node agents clean their nodes up by that. Raises as :func:`create`.

    The result names the nodes that had a place.
    """
    async with _looking(settings) as look:
        built = look.built()
        look.end()
        await look.attach()
        await look.publish()
        return built


async def export(settings: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the ConfigMap (and numbered ones) that describes the overlay as it is assigned now; write nothing.

    Raises as :func:`create`.
    """
    async with _looking(settings) as look:
        return look.documents()


@asynccontextmanager
async def _looking(settings: Mapping[str, str] | None) -> AsyncIterator[_Look]:
    environment = read(os.environ if settings is None else settings, ("external",), mode="router")
    if environment.problems:
        raise InputError("router", "; ".join(str(problem) for problem in environment.problems))
    look = _Look(environment)
    async with KubeClient(look.connection()) as client:
        await look.begin(client)
        yield look


class _Look:
    """One look at one cluster, with the one link and the one device that the environment says."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._world = World()
        self._world.cluster_kinds = {one.name: one for one in _of(environment, KubeCluster)}
        self._world.devices = {one.name: one for one in _of(environment, EdgeDevice)}
        self._world.links = {one.name: one for one in _of(environment, ClusterLink)}
        self._facts = DeviceFacts()
        self._attach: Attach | None = None
        self._client: KubeClient | None = None

    @property
    def _link(self) -> ClusterLink:
        return self._world.links[self._environment.link]

    def connection(self) -> Connection:
        """Return the way to the cluster."""
        spec = self._world.cluster_kinds[self._environment.cluster].spec
        return load(Path(spec.kubeconfig.path)) if spec.kubeconfig is not None else in_cluster()

    async def begin(self, client: KubeClient) -> None:
        """Read the cluster, and know the device by what is said of it."""
        self._client = client
        device = self._world.devices[self._environment.device].spec
        external = ExternalDevice(device.tunnel_addresses, device.external.mac, device.external.mtu)
        self._facts = (await external.observe()).facts
        cluster = self._environment.cluster
        await self.read_nodes()
        await read_network(client, self._world, cluster)
        given = device_addresses(self._link, {})
        for name, addresses in given.items():
            self._world.device_addresses[self._link.name, name] = addresses
        context = Context(cluster, self._world, client, self, lambda scopes: None, time.time)
        self._attach = Attach(context)

    async def read_nodes(self) -> None:
        """Read all Nodes anew."""
        assert self._client is not None, "begun first"
        cluster = self._environment.cluster
        view = self._world.view(cluster)
        listed = await list_facts(self._client, NODE)
        for name in [name for name in view.nodes if ("", name) not in listed]:
            self._world.put(cluster, "nodes", ("", name), None)
        for key, facts in listed.items():
            self._world.put(cluster, "nodes", key, facts)
        view.pending.discard("nodes")

    async def attach(self) -> None:
        """Write what differs of the nodes' places, the oldest nodes first."""
        assert self._attach is not None, "begun first"
        attach, slots = self._attach, asyncio.Semaphore(_AT_ONCE)
        nodes = sorted(
            self._world.view(self._environment.cluster).nodes.values(), key=lambda one: (one.created, one.name)
        )

        async def one(name: str) -> None:
            async with slots:
                await attach.look(name)

        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(one(node.name))

    async def publish(self) -> None:
        """Have the ConfigMap say what is assigned, or take it away at the end."""
        assert self._client is not None, "begun first"
        duty = Publish(self._world, self._environment.cluster, self._client, self, cni=self._cni)
        for _ in range(_PATIENT):
            again = await duty.look(self._link.name)
            if again is None or again > 1.0:
                return
            await asyncio.sleep(again)  # somebody else writes there at the same time
        raise KubeConflict(f"ConfigMap {'/'.join(self._environment.export)} is written by somebody else all the time")

    def _cni(self) -> str:
        seen = self._world.view(self._environment.cluster).cni
        return self._environment.cni if seen is None or seen.cni == "unknown" else seen.cni

    def end(self) -> None:
        """Order the link to go."""
        metadata = self._link.metadata.model_copy(update={"deletion_timestamp": datetime.now(UTC)})
        self._world.links[self._link.name] = self._link.model_copy(update={"metadata": metadata})

    def built(self) -> Built:
        """Return who has a place now, and who waits for one."""
        key = attachment.annotation(self._link.name)
        nodes = self._world.view(self._environment.cluster).nodes_by_name()
        waiting = self._attach.waiting if self._attach is not None else {}
        return Built(
            "/".join(self._environment.export),
            tuple(node.name for node in nodes if key in node.annotations),
            tuple(f"{name}: {why}" for (_, name), why in sorted(waiting.items())),
        )

    def documents(self) -> list[dict[str, Any]]:
        """Return the ConfigMaps as they should stand."""
        ground = self.ground(self._link.name, self._environment.device)
        overlay = overlay_of([ground] if ground is not None else [], self._cni())
        namespace, name = self._environment.export
        data = shards(overlay, name) if overlay is not None else []
        return [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": namespace, "name": name if index == 0 else f"{name}-{index}"},
                "data": one,
            }
            for index, one in enumerate(data)
        ]

    # --- what the duties ask of devices -------------------------------------------------------------------------

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions stand."""
        return Ground(self._world, self._world.links[link], self._world.devices[device], self._facts)

    def serves(self, scope: Scope) -> bool:
        """Say no: nothing is served."""
        return False

    def has_members(self, scopes: Iterable[Scope]) -> bool:
        """Say no: nothing is served."""
        return False

    def complaint(self, scope: Scope) -> str | None:
        """Return none: nothing is asked of the device."""
        return None


def _of(environment: Environment, kind: type[Any]) -> Collection[Any]:
    return [one for one in environment.objects.values() if isinstance(one, kind)]

"""A link with an overlay to somebody else's device, nodes on it, and an API in memory that keeps all it has ever shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from isthmus.compat.publishing import EXPORT
from isthmus.core import attachment
from isthmus.core.ground import Ground
from isthmus.core.overlay_addresses import OverlayAddresses, device_addresses
from isthmus.core.view import WATCHED
from isthmus.core.world import World
from isthmus.errors import KubeConflict, KubeNotFound, KubeUnreachable
from isthmus.model.facts import DeviceFacts, DeviceTraits, Interface, NodeFacts
from isthmus.model.kinds import ClusterLink, EdgeDevice, KubeCluster
from isthmus.model.resources import ZERO_MAC

CLUSTER, LINK, DEVICE = "prod", "router", "a10"
WHERE = ("kube-system", "kube-chorus-router")

Json = dict[str, Any]


class Yard:
    """The world, the one device that was observed, and who has which place."""

    def __init__(self, networks: Iterable[str] = ("192.168.254.0/24",), *, mac: str = ZERO_MAC) -> None:
        self.world = World()
        self.world.cluster_kinds = {CLUSTER: KubeCluster.model_validate(_head(CLUSTER, {"inCluster": True}))}
        device = EdgeDevice.model_validate(_head(DEVICE, {"driver": "external", "tunnelAddresses": ["192.0.2.60"]}))
        self.world.devices = {DEVICE: device}
        spec = {"cluster": CLUSTER, "devices": [DEVICE], "path": "overlay", "overlay": {"networks": list(networks)}}
        self.link(spec)
        self.facts = DeviceFacts(
            (Interface("external", addresses=(_interface("192.0.2.60/32"),)),), DeviceTraits(tunnel_mac=mac)
        )
        self.world.view(CLUSTER).pending.difference_update(WATCHED)
        given = device_addresses(self.world.links[LINK], {})
        self.world.device_addresses[LINK, DEVICE] = given[DEVICE]
        self.places = OverlayAddresses(self.world, LINK)

    def link(self, spec: Json, **metadata: Any) -> None:
        """Put the link into the world, as it says now."""
        head = {"name": LINK, "annotations": {EXPORT: "/".join(WHERE)}, **metadata}
        self.world.links = {LINK: ClusterLink.model_validate({"metadata": head, "spec": spec})}

    def end(self) -> None:
        """Order the link to go."""
        spec = self.world.links[LINK].document()["spec"]
        self.link(spec, deletionTimestamp="2026-11-20T12:00:00Z")

    def ground(self, link: str, device: str) -> Ground | None:
        """Return where decisions stand."""
        return Ground(self.world, self.world.links[link], self.world.devices[device], self.facts)

    def node(
        self, number: int, *, address: str = "", pods: Iterable[str] = (), labels: Mapping[str, str] = {}
    ) -> None:
        """Put a node there, or change it, with its place on the overlay."""
        name = f"n{number}"
        before = self.world.view(CLUSTER).nodes.get(name)
        facts = NodeFacts(
            name=name,
            uid=f"uid-{number}",
            created=f"2026-01-01T00:00:{number % 60:02}Z",
            addresses=(ip_address(address or f"192.0.{2 + number // 200}.{number % 200 + 1}"),),
            pod_cidrs=tuple(ip_network(text) for text in pods or (f"10.{number // 200}.{number % 200}.0/24",)),
            labels=dict(labels),
            annotations=before.annotations if before is not None else {},
        )
        ground = self.ground(LINK, DEVICE)
        assert ground is not None
        found = self.places.attachment(ground, facts, [ground])
        assert not isinstance(found, str), found
        placed = NodeFacts(**{**_fields(facts), "annotations": {attachment.annotation(LINK): found.render()}})
        self.places.learn(name, placed)
        self.world.put_node(CLUSTER, name, placed)

    def gone(self, number: int) -> None:
        """Take a node away."""
        self.places.learn(f"n{number}", None)
        self.world.put_node(CLUSTER, f"n{number}", None)


class Maps:
    """ConfigMaps as an API keeps them; ``states`` is every state that a reader may have seen, in order."""

    def __init__(self) -> None:
        self.now: dict[tuple[str, str], Json] = {}
        self.states: list[dict[str, dict[str, str]]] = []
        self.writes = 0
        self.lose: set[int] = set()
        """The writes (by number) after which the reply is lost."""
        self._version = 0

    async def get(self, kind: object, name: str, namespace: str) -> Json:
        if (namespace, name) not in self.now:
            raise KubeNotFound(f"no {name}")
        return self.now[namespace, name]

    async def create(self, kind: object, obj: Json, *, field_manager: str) -> Json:
        name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
        if (namespace, name) in self.now:
            raise KubeConflict(f"{name} exists")
        return self._stored(namespace, name, {**obj, "data": dict(obj["data"])})

    async def patch(self, kind: object, name: str, patch: Json, namespace: str, *, field_manager: str) -> Json:
        found = await self.get(kind, name, namespace)
        if patch["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise KubeConflict(f"{name} has changed")
        data = {**found.get("data", {}), **patch["data"]}
        return self._stored(
            namespace, name, {**found, "data": {key: text for key, text in data.items() if text is not None}}
        )

    async def delete(self, kind: object, name: str, namespace: str, *, resource_version: str) -> None:
        found = await self.get(kind, name, namespace)
        if resource_version != found["metadata"]["resourceVersion"]:
            raise KubeConflict(f"{name} has changed")
        del self.now[namespace, name]
        self._seen()

    def put(self, name: str, data: dict[str, str], namespace: str = WHERE[0]) -> None:
        """Write as somebody else."""
        self._stored(namespace, name, {"metadata": {"name": name, "namespace": namespace}, "data": data}, ours=False)

    def data(self, name: str = WHERE[1]) -> dict[str, str]:
        """Return what stands in a ConfigMap."""
        return dict(self.now[WHERE[0], name].get("data", {}))

    def _stored(self, namespace: str, name: str, obj: Json, *, ours: bool = True) -> Json:
        self._version += 1
        self.writes += ours
        stored = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._version)}}
        self.now[namespace, name] = stored
        self._seen()
        if ours and self.writes in self.lose:
            raise KubeUnreachable("the reply is lost")
        return stored

    def _seen(self) -> None:
        self.states.append({name: dict(one.get("data", {})) for (_, name), one in self.now.items()})


def _head(name: str, spec: Json) -> Json:
    return {"metadata": {"name": name}, "spec": spec}


def _interface(text: str) -> Any:
    from ipaddress import ip_interface

    return ip_interface(text)


def _fields(facts: NodeFacts) -> Json:
    return {name: getattr(facts, name) for name in facts.__struct_fields__}

"""Devices get their overlay addresses once, and none that a node has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from isthmus.app.device_places import DevicePlaces
from isthmus.app.memory import Addresses
from isthmus.core.world import Choice, World
from isthmus.errors import KubeUnreachable
from isthmus.model.facts import NodeFacts
from isthmus.model.kinds import ClusterLink, parse
from isthmus.model.resources import IPInterface


class Kept:
    """A small memory in a dict; ``away`` makes it refuse."""

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        self.given: dict[str, tuple[IPInterface, ...]] = {
            device: (ip_interface(text),) for device, text in (given or {}).items()
        }
        self.away = False

    async def addresses(self, link: str) -> dict[str, tuple[IPInterface, ...]]:
        return dict(self.given)

    async def keep_addresses(self, link: str, given: Addresses) -> None:
        if self.away:
            raise KubeUnreachable("no answer")
        self.given.update(given)

    async def choices(self) -> dict[str, Choice]:
        return {}

    async def keep_choice(self, link: str, choice: Choice) -> None: ...

    async def uids(self) -> dict[str, str]:
        return {}

    async def keep_uid(self, cluster: str, uid: str) -> None: ...


def world(devices: list[str], *, nodes: Mapping[str, str] | None = None) -> World:
    """Return a world with a tiny overlay; with ``nodes``, its cluster has been read and they have these addresses."""
    made = World()
    spec: dict[str, Any] = {
        "cluster": "c",
        "devices": devices,
        "path": "overlay",
        "overlay": {"networks": ["172.31.0.0/29"]},
    }
    found = parse(
        {"apiVersion": "isthmus.dev/v1alpha1", "kind": "ClusterLink", "metadata": {"name": "l"}, "spec": spec}
    )
    assert isinstance(found.object, ClusterLink)
    made.links["l"] = found.object
    if nodes is not None:
        view = made.view("c")
        view.pending.clear()
        for name, address in nodes.items():
            attached = {"addresses": [address], "mac": "02:00:00:00:00:01", "vni": 1, "port": 7700, "mtu": 1450}
            annotations = {"isthmus.dev/overlay.l": json.dumps(attached)}
            view.put_node(name, NodeFacts(name=name, annotations=annotations))
    return made


def shown(made: World) -> dict[str, str]:
    """Return the first address of each device."""
    return {device: str(own[0].ip) for (_, device), own in made.device_addresses.items()}


async def test_the_first_devices_need_not_wait() -> None:
    """The devices of a new link get the highest addresses at once."""
    made, kept = world(["a", "b"]), Kept()
    places = DevicePlaces(made, kept)
    await places.assign()
    assert (shown(made), places.waiting) == ({"a": "172.31.0.6", "b": "172.31.0.5"}, set())
    assert set(kept.given) == {"a", "b"}


async def test_a_late_device_waits_until_the_nodes_are_known() -> None:
    """A device that joins a link in use gets nothing while the cluster is unread, and then nothing that a node has."""
    kept = Kept({"a": "172.31.0.6/29"})
    made = world(["a", "b"])
    places = DevicePlaces(made, kept)
    await places.assign()
    assert (shown(made), places.waiting) == ({"a": "172.31.0.6"}, {"l"})
    made = world(["a", "b"], nodes={"n1": "172.31.0.5/29", "n2": "172.31.0.4/29"})
    places = DevicePlaces(made, kept)
    await places.assign()
    assert (shown(made), places.waiting) == ({"a": "172.31.0.6", "b": "172.31.0.3"}, set())


async def test_what_is_not_kept_is_not_given() -> None:
    """While the memory cannot be written nobody gets an address: after a restart it might be another."""
    made, kept = world(["a"]), Kept()
    kept.away = True
    places = DevicePlaces(made, kept)
    await places.assign()
    assert (shown(made), places.waiting) == ({}, {"l"})
    kept.away = False
    await places.assign()
    assert (shown(made), places.waiting) == ({"a": "172.31.0.6"}, set())

"""The rights that we hand out are enough for everything the controller does, and each of them is used."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.manifests import documents
from deploy.rights import Right, Use, rights
from isthmus.kube.publishing import HOMES, SOURCES
from isthmus.lab.kube import status
from isthmus.loop.duties import standin

from .rig import Place, place, put_flannel, service, until
from .test_shared_devices import sharing

HOME = ("base/home", "components/share-devices")
JOINED = ("base/joined", "components/path-overlay", "components/path-flannel")
FINALIZER = "isthmus.dev/cleanup"

# What is granted and not used here, and why that is no more than it says.
SPARE = {
    (
        "patch",
        "events.k8s.io",
        "events",
        "",
    ): "a Service's repeated Event is counted; the home cluster's is counted here",
    **{
        (verb, source.kind.group, source.kind.plural, name): "this cluster has no such CNI"
        for source in SOURCES
        if source.optional
        for verb in ("get", "list", "watch")
        for name in source.names or ("",)
    },
}


@dataclass
class Guard:
    """Lets an API server refuse whatever no right allows, and keeps what was asked."""

    rights: tuple[Right, ...]
    refused: list[str] = field(default_factory=list)
    used: set[Right] = field(default_factory=set)

    def check(self, user: str, verb: str, resource: Any, namespace: str, name: str, subresource: str = "") -> None:
        plural = f"{resource.plural}/{subresource}" if subresource else resource.plural
        use = Use(verb, resource.group, plural, namespace, name)
        found = {right for right in self.rights if right.allows(use)}
        if not found:
            self.refused.append(f"{verb} {resource.group}/{plural} {namespace}/{name}")
            raise status.denied(resource, name, "no rule allows it")
        self.used |= found


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait for an allocator of pod CIDRs that is not there."""
    monkeypatch.setattr(standin, "ALLOCATOR_PATIENCE", 0.1)


def write_everything(home: Place, joined: Place) -> None:
    """Write a configuration that uses every feature: an overlay link and a flannel link, a pool, a Service."""
    put_flannel(joined.api)
    joined.api.put(service("web"))
    home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(joined.endpoint.kubeconfig_path)}})
    for name in ("gw1", "gw2"):
        home.put("EdgeDevice", name, {"driver": "memory"})
    home.put("ClusterLink", "flannel", {"cluster": "prod", "devices": ["gw1"], "path": "flannel"})
    overlay = {"path": "overlay", "overlay": {"networks": ["172.31.0.0/24"]}}
    home.put("ClusterLink", "overlay", {"cluster": "prod", "devices": ["gw2"], **overlay})
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/30"]})


def test_all_that_tells_of_a_network_may_be_read() -> None:
    """Each kind and each name from which the CNI is read is granted, and what is watched may be."""
    granted = {(right.verb, right.group, right.resource, right.name) for right in rights(documents("base/joined"))}
    for source in SOURCES:
        for name in source.names or ("",):
            needed = ("get" if name else "list", source.kind.group, source.kind.plural, name)
            assert needed in granted or source.kind.plural == "blockaffinities"
    for kind, projection in HOMES.items():
        assert ("watch", projection.kind.group, kind, "") in granted


async def test_the_rights_are_enough_and_none_is_idle(tmp_path: Path, hurry: None) -> None:
    """Joining, serving, failing, deleting: nothing is refused, and every right was needed."""
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(place(tmp_path))
        joined = await stack.enter_async_context(place(tmp_path, streaming_lists=False))
        write_everything(home, joined)
        guards = {}
        for where, folders in ((home, HOME), (joined, JOINED)):
            guard = guards[where] = Guard(tuple(rights(documents(*folders))))
            where.api.access.check = guard.check  # type: ignore[method-assign]
        async with home.controller(turn=sharing(home, "a")):
            await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"), what=lambda: guards)
            for name in ("flannel", "overlay"):
                await until(lambda n=name: home.is_so("ClusterLink", n, "Joined"), what=lambda: guards)  # type: ignore[misc]
                await until(lambda n=name: FINALIZER in home.api.get("ClusterLink", n)["metadata"]["finalizers"])  # type: ignore[misc]
            for _ in range(2):  # the second time, the same news is a count on the same Event
                home.device("gw1").reachable = False
                home.device("gw1").lose("nothing")
                await until(lambda: home.is_so("EdgeDevice", "gw1", "Reachable", "False"))
                home.device("gw1").reachable = True
                await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready"))
            joined.api.put(service("poor", loadBalancerIP="203.0.113.9"))
            reasons = lambda: [one["reason"] for one in joined.api.list("events.events.k8s.io")]  # noqa: E731
            await until(lambda: "AddressNotAllowed" in reasons(), what=reasons)
            joined.api.delete("Service", "web")
            await until(lambda: home.find("VirtualIP", "198.51.100.0") is None)
            for kind, name in (("ClusterLink", "flannel"), ("EdgeDevice", "gw2"), ("ClusterLink", "overlay")):
                home.api.delete(kind, name)
            for kind, name in (("ClusterLink", "flannel"), ("EdgeDevice", "gw2"), ("ClusterLink", "overlay")):
                await until(lambda k=kind, n=name: home.find(k, n) is None, what=lambda: guards)  # type: ignore[misc]
    assert [guard.refused for guard in guards.values()] == [[], []]
    idle = {right for guard in guards.values() for right in guard.rights} - {
        right for guard in guards.values() for right in guard.used
    }
    assert {(right.verb, right.group, right.resource, right.name) for right in idle} <= SPARE.keys()

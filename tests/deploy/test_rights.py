"""The rights of overlays/netscaler, enforced by a real kube-apiserver, are exactly what is used over a life.

The controller is in the cluster as one account, the node agent as another. The server's audit log says what each asked for;
it is held against the rules both ways. Devices are in memory: what a driver does to its device needs no right, but for the
Secret with its credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy

import pytest

from app.home.conftest import brisk
from app.home.rig import node, put_flannel, service, until
from app.home.test_controller_processes import slice_of_the_api
from deploy.installed import Installed
from deploy.rights import Right, rights, uncovered
from isthmus.agents.node import NodeAgent
from isthmus.app.device_credentials import SecretCredentials
from isthmus.app.tenure import Elected
from isthmus.core.election import PROFILES
from isthmus.drivers.memory import MemoryDriver
from isthmus.drivers.netscaler.nitro import NitroError
from isthmus.kube.client import KubeClient
from isthmus.kube.publishing import SOURCES
from isthmus.loop.duties import standin
from isthmus.model.kinds.netscaler import SecretReference
from isthmus.model.resources import AnyResource

__all__ = ["brisk"]  # a fixture

SYSTEM = "isthmus-system"
CONTROLLER, AGENT = "isthmus-controller", "isthmus-node"
FINALIZER = "isthmus.dev/cleanup"

# Rules that another rule covers where all of them are installed together, and why each is there all the same.
TWICE = {
    ("isthmus-home", "namespaces"): "isthmus-joined has it, too; a home cluster need not be joined",
    ("isthmus-joined", "namespaces"): "isthmus-home has it, too; a joined cluster need not be home",
    ("isthmus-path-overlay", "nodes"): "isthmus-path-flannel has it, too; a path is a component of its own",
    ("isthmus-path-flannel", "configmaps"): "isthmus-joined has it, too, to find out about the CNI",
    ("isthmus-events", "events"): "isthmus-joined has it, too; a home cluster need not be joined",
}
# Rights that this life does not use, and who sees that they are needed.
ELSEWHERE = {
    **{
        (
            verb,
            source.kind.plural,
        ): "of a CNI that this cluster has not; tests/app/home/test_rbac.py holds them against SOURCES"
        for source in SOURCES
        if source.optional
        for verb in ("get", "list", "watch")
    },
}


class Forgetful:
    """The memory of an agent that is never started again."""

    async def load(self) -> list[AnyResource]:
        return []

    async def save(self, resources: list[AnyResource]) -> None:
        pass


def write_everything(installed: Installed) -> None:
    """Write a configuration that uses both paths that need rights: a flannel link and an overlay link, a pool, Services."""
    home = installed.place
    put_flannel(home.api)
    home.api.put(slice_of_the_api())
    home.api.put(service("web", allocateLoadBalancerNodePorts=False))
    home.put("KubeCluster", "prod", {"inCluster": True})
    for name in ("gw1", "gw2"):
        home.put("EdgeDevice", name, {"driver": "memory"})
    home.put("ClusterLink", "flannel", {"cluster": "prod", "devices": ["gw1"], "path": "flannel"})
    overlay = {"path": "overlay", "overlay": {"networks": ["172.31.0.0/24"]}}
    home.put("ClusterLink", "overlay", {"cluster": "prod", "devices": ["gw2"], **overlay})
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/30"]})


async def live(installed: Installed) -> None:
    """Join, serve, fail and come back, serve no more, leave."""
    home = installed.place
    connection = installed.connection(SYSTEM, CONTROLLER)
    for name in ("adc1", "payments"):
        meta = {"name": name, "namespace": SYSTEM}
        home.api.put(
            {"kind": "Secret", "apiVersion": "v1", "metadata": meta, "stringData": {"username": "u", "password": "p"}}
        )
    assert (
        await SecretCredentials(SecretReference(namespace=SYSTEM, name="adc1"), connection).current()
    ).username == "u"
    turn = Elected(connection, SYSTEM, PROFILES["fast"])
    why = lambda: installed.refused(CONTROLLER)  # noqa: E731
    async with home.controller(connection=connection, turn=turn):
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"), 30.0, what=why)
        for name in ("flannel", "overlay"):
            await until(lambda n=name: home.is_so("ClusterLink", n, "Joined"), 30.0, what=why)  # type: ignore[misc]
            await until(lambda n=name: FINALIZER in home.api.get("ClusterLink", n)["metadata"].get("finalizers", []))  # type: ignore[misc]
        for _ in range(2):  # the second time, the same news is a count on the same Event
            home.device("gw1").reachable = False
            home.device("gw1").lose("nothing")
            await until(lambda: home.is_so("EdgeDevice", "gw1", "Reachable", "False"))
            home.device("gw1").reachable = True
            await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready"))
        home.api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        poor = service("poor", loadBalancerIP="203.0.113.9", allocateLoadBalancerNodePorts=False)
        home.api.put({**poor, "metadata": {"name": "poor", "namespace": "shop"}})
        await until(lambda: "AddressNotAllowed" in [reason for reason, _ in home.events("poor")], what=home.events)
        await until(
            lambda: any(use.verb == "patch" and use.resource == "events" for use in installed.uses(CONTROLLER))
        )
        home.api.delete("Service", "web")
        await until(lambda: home.find("VirtualIP", "198.51.100.0") is None)
        for kind, name in (("ClusterLink", "flannel"), ("EdgeDevice", "gw2"), ("ClusterLink", "overlay")):
            home.api.delete(kind, name)
        for kind, name in (("ClusterLink", "flannel"), ("EdgeDevice", "gw2"), ("ClusterLink", "overlay")):
            await until(lambda k=kind, n=name: home.find(k, n) is None, 30.0, what=why)  # type: ignore[misc]


async def live_on_a_node(installed: Installed) -> None:
    """Follow the own Node: what it says now, and what it says next."""
    async with KubeClient(installed.connection("isthmus-nodes", AGENT)) as client:
        agent = NodeAgent("n1", client, MemoryDriver(), Forgetful())
        running = asyncio.create_task(agent.run())
        await until(lambda: agent.unseen() == [], what=agent.unseen)
        installed.place.api.put(node(1, labels={"touched": "yes"}))
        await until(lambda: any(use.verb == "watch" for use in installed.uses(AGENT)))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def without_each_rule(installed: Installed) -> Iterator[tuple[str, str, list[Right]]]:
    """Yield, for each rule, its role, what it is for, and the rights that are left without it."""
    for place, document in enumerate(installed.objects):
        for index, rule in enumerate(document["rules"] if document["kind"] in ("Role", "ClusterRole") else ()):
            fewer = deepcopy(installed.objects)
            del fewer[place]["rules"][index]
            yield document["metadata"]["name"], rule["resources"][0], list(rights(fewer))


async def test_the_rights_are_exactly_enough(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is refused over a life, no right is idle, and without any one rule something would have been refused."""
    monkeypatch.setattr(standin, "ALLOCATOR_PATIENCE", 0.1)
    write_everything(installed)
    await live(installed)
    await live_on_a_node(installed)
    assert (installed.refused(CONTROLLER), installed.refused(AGENT)) == ([], [])
    uses = {CONTROLLER: installed.uses(CONTROLLER), AGENT: installed.uses(AGENT)}
    assert {use.verb for use in uses[AGENT]} == {"list", "watch"}
    everything = uses[CONTROLLER] | uses[AGENT]
    idle = {
        (right.role, right.verb, right.resource, right.name)
        for right in rights(installed.objects)
        if (right.verb, right.resource) not in ELSEWHERE
        and not any(right.allows(use) for use in uses[AGENT if right.role == AGENT else CONTROLLER])
    }
    assert idle == set()
    spare = []
    for role, resource, left in without_each_rule(installed):
        own = [right for right in left if (right.role == AGENT) == (role == AGENT)]
        if not uncovered(uses[AGENT if role == AGENT else CONTROLLER], own):
            spare.append((role, resource))
    unneeded = [one for one in spare if one not in TWICE and not any(one[1] == plural for _, plural in ELSEWHERE)]
    assert unneeded == []
    assert set(TWICE) <= set(spare)
    assert not uncovered(everything, rights(installed.objects))
    connection = installed.connection(SYSTEM, CONTROLLER)
    with pytest.raises(NitroError, match="we may not read it"):  # the same namespace, another name
        await SecretCredentials(SecretReference(namespace=SYSTEM, name="payments"), connection).current()

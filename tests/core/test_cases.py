"""Worlds as data: each file under ``tests/cases/plan`` says what is known and what stands, and the plan that follows.

A bug report becomes a file there. The keys of a case:

==============  ==============================================================================================
``about``       what should be true, in one sentence
``cluster``     spec of the KubeCluster ``east``, over the default
``device``      spec of the EdgeDevice ``gw``, over the default; ``deviceMeta`` its metadata
``link``        spec of the ClusterLink ``lab``, over the default; ``linkMeta`` its metadata; null: there is none
``kinds``       further objects, as a user writes them
``nodes``       Nodes by name: address, pods, created, labels, annotations, not_ready_since
``services``    Services by namespace/name: ports ("http 80/tcp"), and fields of ServiceFacts
``slices``      EndpointSlices by namespace/name: service, version, ports, endpoints ("10.1.1.5 n1 terminating")
``vips``        claims, address to namespace/name (none: a reservation)
``pending``     kinds of cluster ``east`` not read yet; ``suspect`` kinds in doubt, with the reason
``interfaces``  the device's interfaces: name to {mtu, mac, addresses}; ``traits`` what it does differently
``overlay``     the device's own overlay addresses on link ``lab``, or by link
``observed``    what of ours stands on the device; ``for`` names the scopes that wanted it
``foreign``     what stands there that is not ours; ``refuses`` what the device cannot have
``deleted``     deletes carried out within the window already
``doubt``       why the configuration is in doubt
``plan``        the lines of the plan
==============  ==============================================================================================
"""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import yaml

from isthmus.model.facts import DeviceFacts, DeviceTraits, Endpoint, Interface, ServiceFacts, ServicePort, SliceFacts
from isthmus.model.plain import from_builtins
from isthmus.model.plan import Scope

from .rig import FACTS, NOW, Rig, document, node, put_kind, vip

CASES = sorted((Path(__file__).parent.parent / "cases" / "plan").glob("*.yaml"))
_KNOWN = frozenset(line.split("``")[1] for line in (__doc__ or "").splitlines() if line.startswith("``")) | {
    "deviceMeta",
    "linkMeta",
    "suspect",
    "refuses",
    "traits",
}


def scope(text: str) -> Scope:
    """Return the scope that is written ``kind/link/name``."""
    kind, link, *name = text.split("/", 2)
    kinds: tuple[Literal["link", "node", "service"], ...] = ("link", "node", "service")
    return Scope(next(known for known in kinds if known == kind), link, *name)


def _ports(texts: list[str]) -> list[tuple[str, Any, int]]:
    """Return ``name port/protocol`` as (name, protocol, port)."""
    found = []
    for text in texts:
        name, _, rest = text.rpartition(" ")
        number, _, protocol = rest.partition("/")
        found.append((name, protocol or "tcp", int(number)))
    return found


def _endpoint(text: str) -> Endpoint:
    """Return an endpoint from ``address [node] [terminating] [gone] [unready]``."""
    address, *words = text.split()
    states = {"terminating", "gone", "unready"}
    on = next((word for word in words if word not in states), None)
    gone, terminating = "gone" in words, "terminating" in words or "gone" in words
    ready = not terminating and "unready" not in words
    return Endpoint(
        ip_address(address), on, ready=ready, serving=ready or (terminating and not gone), terminating=terminating
    )


def rig_of(case: dict[str, Any]) -> Rig:
    """Build the world and the device that ``case`` describes."""
    assert case.keys() <= _KNOWN, f"unknown keys {case.keys() - _KNOWN}"
    facts = FACTS
    if "interfaces" in case:
        facts = DeviceFacts(
            tuple(
                Interface(
                    name,
                    told.get("mac", "02:00:00:00:00:01"),
                    told.get("mtu", 1500),
                    tuple(ip_interface(text) for text in told.get("addresses", ())),
                )
                for name, told in case["interfaces"].items()
            )
        )
    facts = msgspec.structs.replace(facts, traits=DeviceTraits(**case.get("traits", {})))
    rig = Rig(facts=facts)
    world = rig.world
    rig.kind("KubeCluster", "east", {"inCluster": True, **case.get("cluster", {})})
    rig.kind("EdgeDevice", "gw", {"driver": "linux", **case.get("device", {})}, **case.get("deviceMeta", {}))
    world.links.clear()
    if case.get("link", {}) is not None:
        spec = {"cluster": "east", "devices": ["gw"], "path": "direct", **case.get("link", {})}
        put_kind(world, document("ClusterLink", "lab", spec, **case.get("linkMeta", {})))
    for written in case.get("kinds", ()):
        put_kind(world, {"apiVersion": "isthmus.dev/v1alpha1", **written})
    for name, told in case.get("nodes", {}).items():
        rig.put(node(name, **told))
    for key, told in case.get("services", {}).items():
        namespace, _, name = key.partition("/")
        told = {"type": "LoadBalancer", "load_balancer_class": "isthmus.dev/load-balancer", **told}
        told["ports"] = tuple(ServicePort(*port) for port in _ports(told.get("ports", ["http 80/tcp"])))
        told["families"] = tuple(told.get("families", (4,)))
        told["ingress"] = tuple(ip_address(text) for text in told.get("ingress", ()))
        told["cluster_ips"] = tuple(ip_address(text) for text in told.get("cluster_ips", ()))
        rig.put(ServiceFacts(namespace, name, **told))
    for key, told in case.get("slices", {}).items():
        namespace, _, name = key.partition("/")
        ports = tuple(_ports(told.get("ports", ["http 8080/tcp"])))
        found = tuple(_endpoint(text) for text in told.get("endpoints", ()))
        rig.put(SliceFacts(namespace, name, told["service"], told.get("version", 4), ports, found))
    for address, holder in case.get("vips", {}).items():
        rig.put(vip(address, holder))
    view = world.view("east")
    view.pending.update(case.get("pending", ()))
    view.suspect.update(case.get("suspect", {}))
    if "overlay" in case:
        told = case["overlay"]
        for link, texts in (told if isinstance(told, dict) else {"lab": told}).items():
            world.device_addresses[link, "gw"] = tuple(ip_interface(text) for text in texts)
    world.config_doubt = case.get("doubt")
    for told in case.get("observed", ()):
        wanted_by = told.pop("for", [])
        resource = from_builtins(told)
        rig.driver.resources[resource.identity] = resource
        if wanted_by:
            rig.planner.owners[resource.identity] = tuple(
                scope(text) for text in ([wanted_by] if isinstance(wanted_by, str) else wanted_by)
            )
    rig.driver.foreign.update(case.get("foreign", {}))
    rig.driver.refuses.update(case.get("refuses", {}))
    rig.planner.window.add(NOW - 1, case.get("deleted", 0))
    return rig


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    """The plan for each written world is the written one, and carrying it out leaves nothing more to do."""
    case = yaml.safe_load(path.read_text())
    rig = rig_of(case)
    plan = rig.full()
    assert plan.lines() == case["plan"], "\n" + yaml.safe_dump({"plan": plan.lines()}, width=1000, sort_keys=False)

    keyed = rig_of(yaml.safe_load(path.read_text()))
    keyed.look()
    every = keyed.world.scopes_of_device("gw") | {s for owners in keyed.planner.owners.values() for s in owners}
    created = [change for change in plan.changes if change.action != "delete"]
    found = [change for change in keyed.planner.keyed(every, NOW).changes if change.action != "delete"]
    assert found == created, "a keyed pass over all scopes makes the same things"

    if not any(change.identity in rig.driver.foreign for change in plan.changes):
        rig.apply(plan)
        assert [change.describe() for change in rig.full().changes] == [], "the second plan is empty"


def test_every_case_says_what_it_is_about() -> None:
    """A case is a story: its file says in a sentence what should be true."""
    assert CASES
    for path in CASES:
        assert len(yaml.safe_load(path.read_text())["about"].split()) > 3, path.name

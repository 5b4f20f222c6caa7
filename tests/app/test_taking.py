"""A configuration is taken into the world without taking anything away by mistake."""

from __future__ import annotations

from typing import Any

from isthmus.app.acceptance import acceptances
from isthmus.app.origins import Configuration, Origin, combined
from isthmus.app.taking import WrittenClaims, known, take_kinds
from isthmus.core.world import World
from isthmus.model.claims import vip_facts
from isthmus.model.kinds import Kind, VirtualIP, parse
from isthmus.model.plan import Scope

API = "isthmus.dev/v1alpha1"


def made(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> Kind:
    """Return an object."""
    head = {"name": name, **metadata}
    found = parse({"apiVersion": API, "kind": kind, "metadata": head, "spec": spec})
    assert found.object is not None, found.problems
    return found.object


def link(name: str, network: str = "172.31.0.0/24", **spec: Any) -> Kind:
    """Return an overlay link."""
    overlay = {"networks": [network], "vni": spec.pop("vni", 7700)}
    return made(
        "ClusterLink", name, {"cluster": "c", "devices": ["d"], "path": "overlay", "overlay": overlay, **spec}
    )


CLUSTER = made("KubeCluster", "c", {"inCluster": True})
DEVICE = made("EdgeDevice", "d", {"driver": "memory"})


def of(*objects: Kind) -> Configuration:
    """Return the configuration of ``objects``."""
    places = {one.key: f"{one.key[0]}/{one.key[1]}" for one in objects}
    return combined(Origin(), Origin({one.key: one for one in objects}, places=places))


def test_what_became_unusable_stands_as_it_was() -> None:
    """A link that is edited into another's network keeps its own old one, and is told so."""
    world = World()
    take_kinds(world, of(CLUSTER, DEVICE, link("a"), link("b", "172.31.1.0/24", vni=7701)))
    wrong = of(CLUSTER, DEVICE, link("a"), link("b", "172.31.0.0/25", vni=7701))
    answers = acceptances(wrong, lambda key: known(world, key) is not None)
    take_kinds(world, wrong)
    overlay = world.links["b"].spec.overlay
    assert overlay is not None
    assert str(overlay.networks[0]) == "172.31.1.0/24"
    answer = answers["ClusterLink", "b"]
    assert (answer.ok, answer.reason) == (False, "Unusable")
    assert "overlaps 172.31.0.0/24 of ClusterLink a" in answer.message
    assert answer.message.endswith("what it said before stays in force")


def test_what_never_worked_is_left_out() -> None:
    """The same link in a fresh start is left out, and its answer promises nothing."""
    world = World()
    take_kinds(world, of(CLUSTER, DEVICE, link("a"), link("b", "172.31.0.0/25", vni=7701)))
    assert set(world.links) == {"a"}


def test_a_link_outlives_its_cluster() -> None:
    """Removing the KubeCluster makes its links unusable and takes none away."""
    world = World()
    take_kinds(world, of(CLUSTER, DEVICE, link("a")))
    take_kinds(world, of(DEVICE, link("a")))
    assert (set(world.links), set(world.cluster_kinds)) == ({"a"}, set())


def test_an_order_is_taken_whatever_it_refers_to() -> None:
    """A link being deleted is in the world although its cluster was never known: somebody must carry the order out."""
    going = link("a").model_copy(
        update={"metadata": link("a").metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})}
    )
    world = World()
    take_kinds(world, of(DEVICE, going))
    assert set(world.links) == {"a"}


def test_equal_objects_stay_the_very_same() -> None:
    """What was read again and says the same is the object that it was: nobody has to look at it again."""
    world = World()
    take_kinds(world, of(CLUSTER, DEVICE, link("a")))
    before = world.links["a"]
    take_kinds(world, of(CLUSTER, DEVICE, link("a")))
    assert world.links["a"] is before


def test_unknown_devices_are_left_out_of_a_link() -> None:
    """A link serves the devices that somebody has described, and all of them once they are."""
    world = World()
    both = link("a", devices=["d", "e"])
    take_kinds(world, of(CLUSTER, DEVICE, both))
    assert world.links["a"].spec.devices == ("d",)
    take_kinds(world, of(CLUSTER, DEVICE, made("EdgeDevice", "e", {"driver": "memory"}), both))
    assert world.links["a"].spec.devices == ("d", "e")


def test_a_written_claim_never_takes_an_address_from_a_service() -> None:
    """A reservation in a file of an address that a Service holds is left aside; of a free one it counts, and goes with it."""
    held = made(
        "VirtualIP",
        "192.0.2.1",
        {"address": "192.0.2.1", "holder": {"cluster": "c", "namespace": "n", "service": "s"}},
    )
    kept = made("VirtualIP", "192.0.2.1", {"address": "192.0.2.1", "reservation": True})
    free = made("VirtualIP", "192.0.2.2", {"address": "192.0.2.2", "reservation": True})
    assert isinstance(held, VirtualIP)
    assert isinstance(kept, VirtualIP)
    assert isinstance(free, VirtualIP)
    world, touched = World(), list[Scope]()
    world.put_vip(held.name, held)
    claims = WrittenClaims(world)
    claims.take({kept.name: kept, free.name: free}, touched.extend)
    assert world.vips == {one.name: vip_facts(one) for one in (held, free)}
    assert claims.take({}, touched.extend) is True
    assert world.vips == {held.name: vip_facts(held)}


def test_a_home_cluster_is_asked_before_a_written_claim_goes() -> None:
    """A written claim that is taken out of its file stays if the home cluster has it by now."""
    free = made("VirtualIP", "192.0.2.2", {"address": "192.0.2.2", "reservation": True})
    assert isinstance(free, VirtualIP)
    world = World()
    claims = WrittenClaims(world, kept_elsewhere=lambda name: True)
    claims.take({free.name: free}, lambda scopes: None)
    claims.take({}, lambda scopes: None)
    assert world.vips == {free.name: vip_facts(free)}

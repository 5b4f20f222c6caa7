"""A deletion is an order: exactly what it names is cleaned up, and the object goes only then."""

from __future__ import annotations

import contextlib
from typing import Any

from isthmus.app.fleet import Fleet
from isthmus.app.home import leftovers
from isthmus.app.memory import NoMemory
from isthmus.core.world import World
from isthmus.lab.kube import ApiError
from isthmus.model.kinds import ClusterLink, EdgeDevice, parse
from isthmus.model.resources import Route

from .rig import Place, holds, node, thing, until

ALL = ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]
FINALIZER = "isthmus.dev/cleanup"


def selecting(name: str) -> dict[str, Any]:
    """Return a direct link that takes the nodes of one rack."""
    return {"cluster": "prod", "devices": ["gw1"], "path": "direct", "nodeSelector": {"matchLabels": {"rack": name}}}


async def two_links(home: Place) -> None:
    """Write two links over one device, each with nodes of its own."""
    home.join(nodeSelector={"matchLabels": {"rack": "a"}})
    home.put("ClusterLink", "other", selecting("b"))
    home.api.put(node(1, labels={"rack": "a"}))
    home.api.put(node(2, labels={"rack": "b"}))
    home.api.put(node(3, labels={"rack": "b"}))


def finalizers(home: Place, kind: str, name: str) -> list[str]:
    """Return an object's finalizers."""
    return (home.find(kind, name) or {"metadata": {}})["metadata"].get("finalizers") or []


async def test_a_deleted_link_is_cleaned_up_and_goes(home: Place) -> None:
    """Deleting one of two links takes exactly its routes, then the link goes; the other is not written once."""
    await two_links(home)
    async with home.controller():
        await until(lambda: home.routes() == ALL)
        await until(lambda: FINALIZER in finalizers(home, "ClusterLink", "other"))
        await until(lambda: FINALIZER in finalizers(home, "EdgeDevice", "gw1"))
        writes = home.device("gw1").writes
        home.api.delete("ClusterLink", "other")
        await until(lambda: home.find("ClusterLink", "other") is None)
        assert home.routes() == ["10.244.1.0/24"]
        assert home.device("gw1").writes == writes + 2


async def test_a_wrong_object_can_be_deleted(home: Place) -> None:
    """A link that was edited into something wrong and then deleted is cleaned up as what it was."""
    home.join()
    async with home.controller():
        await until(lambda: home.routes() == ALL and FINALIZER in finalizers(home, "ClusterLink", "main"))
        wrong = {"networks": ["172.31.0.0/24"], "port": 8472}
        home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct", "overlay": wrong})
        await until(lambda: home.is_so("ClusterLink", "main", "Accepted", "False", "Invalid"))
        assert home.routes() == ALL
        home.api.delete("ClusterLink", "main")
        await until(lambda: home.find("ClusterLink", "main") is None, what=lambda: home.status("ClusterLink", "main"))
        assert home.routes() == []


async def test_nothing_is_let_go_before_anybody_has_looked() -> None:
    """Just after a start no device has been looked at, and that is no proof that nothing is left on it."""
    world = World()
    fleet = Fleet(world, NoMemory(), passed=lambda device, scopes: None, moved=lambda device: None)
    device = parse(thing("EdgeDevice", "gw1", {"driver": "memory"})).object
    link = parse(thing("ClusterLink", "main", selecting("a"), deletionTimestamp="2026-01-01T00:00:00Z")).object
    assert isinstance(device, EdgeDevice)
    assert isinstance(link, ClusterLink)
    world.devices["gw1"] = device
    assert leftovers.of_link(world, fleet, "unparsable") == ["gw1 is not started yet"]
    world.links["main"] = link
    assert leftovers.of_link(world, fleet, "main") == ["gw1 is not started yet"]
    assert leftovers.of_device(world, fleet, "gw1") == ["its deletion has not been taken up yet"]
    await fleet.follow()
    try:
        assert leftovers.of_link(world, fleet, "main") == ["gw1 has not been looked at yet"]
        await until(lambda: fleet.workers["gw1"].status.passes > 0)
        assert leftovers.of_link(world, fleet, "main") == []
    finally:
        await fleet.stop()


async def test_a_foreign_finalizer_is_left_alone(home: Place) -> None:
    """Only our own finalizer is put on and taken off."""
    home.join()
    found = home.api.get("ClusterLink", "main")
    home.api.put({**found, "metadata": {**found["metadata"], "finalizers": ["example.org/keep"]}})
    async with home.controller():
        await until(lambda: finalizers(home, "ClusterLink", "main") == ["example.org/keep", FINALIZER])
        await until(lambda: home.routes() == ALL)
        home.api.delete("ClusterLink", "main")
        await until(lambda: finalizers(home, "ClusterLink", "main") == ["example.org/keep"])
        assert home.routes() == []


async def test_an_order_given_while_nobody_ran_is_carried_out(home: Place) -> None:
    """A link deleted while the controller was down is cleaned up by the next one, with no state directory to remember by."""
    await two_links(home)
    async with home.controller():
        await until(lambda: home.routes() == ALL)
        await until(lambda: FINALIZER in finalizers(home, "ClusterLink", "other"))
    home.api.delete("ClusterLink", "other")
    assert home.find("ClusterLink", "other") is not None
    async with home.controller():
        await until(lambda: home.find("ClusterLink", "other") is None)
        assert home.routes() == ["10.244.1.0/24"]


async def test_an_unreachable_device_holds_its_deletion_up(home: Place) -> None:
    """A device that does not answer waits with its deletion and says so; an annotation lets it go uncleaned."""
    home.join()
    async with home.controller():
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready"))
        await until(lambda: FINALIZER in finalizers(home, "EdgeDevice", "gw1"))
        home.device("gw1").reachable = False
        home.device("gw1").lose("nothing")
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Reachable", "False"))
        home.api.delete("EdgeDevice", "gw1")
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready", "False", "Deleting"))
        message = home.condition("EdgeDevice", "gw1", "Ready")["message"]
        assert "gw1 cannot be reached" in message
        assert 'isthmus.dev/abandon="true"' in message
        await holds(lambda: home.find("EdgeDevice", "gw1") is not None)
        found = home.api.get("EdgeDevice", "gw1")
        home.api.put({**found, "metadata": {**found["metadata"], "annotations": {"isthmus.dev/abandon": "true"}}})
        await until(lambda: home.find("EdgeDevice", "gw1") is None)
        assert home.routes() == ALL


async def test_a_device_that_comes_back_is_cleaned_up(home: Place) -> None:
    """A deletion that waited for its device is carried out when the device answers again."""
    home.join()
    async with home.controller():
        await until(lambda: home.routes() == ALL and FINALIZER in finalizers(home, "EdgeDevice", "gw1"))
        home.device("gw1").reachable = False
        home.device("gw1").lose("nothing")
        home.api.delete("EdgeDevice", "gw1")
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready", "False", "Deleting"))
        home.device("gw1").reachable = True
        await until(lambda: home.find("EdgeDevice", "gw1") is None)
        assert home.device("gw1").resources == {}


async def test_what_is_foreign_stays(home: Place) -> None:
    """Cleaning a device takes what is ours and nothing else."""
    home.join()
    home.device("gw1").foreign["route 203.0.113.0/24"] = "somebody's route"
    async with home.controller():
        await until(lambda: home.routes() == ALL and FINALIZER in finalizers(home, "EdgeDevice", "gw1"))
        home.api.delete("EdgeDevice", "gw1")
        await until(lambda: home.find("EdgeDevice", "gw1") is None)
        assert home.device("gw1").resources == {}
        assert home.device("gw1").foreign == {"route 203.0.113.0/24": "somebody's route"}


async def test_a_device_that_may_not_be_changed_is_not_cleaned(home: Place) -> None:
    """A device of policy upsert-only keeps what it has; its deletion waits and says why."""
    home.join()
    home.put("EdgeDevice", "gw1", {"driver": "memory", "policy": "upsert-only"})
    async with home.controller():
        await until(lambda: home.routes() == ALL and FINALIZER in finalizers(home, "EdgeDevice", "gw1"))
        home.api.delete("EdgeDevice", "gw1")
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready", "False", "Deleting"))
        await until(lambda: "upsert-only" in home.condition("EdgeDevice", "gw1", "Ready")["message"])
        assert home.routes() == ALL


async def test_everything_deleted_at_once_is_cleaned_up(home: Place) -> None:
    """Cluster, device and link are deleted in one go: the Nodes are cleaned, too, although their cluster went first."""
    home.join(path="overlay", overlay={"networks": ["172.31.0.0/24"]})
    key = "isthmus.dev/overlay.main"

    def attached() -> list[str]:
        return [
            one["metadata"]["name"]
            for one in home.api.list("Node")
            if key in (one["metadata"].get("annotations") or {})
        ]

    async with home.controller():
        await until(lambda: attached() == ["n1", "n2", "n3"])
        await until(lambda: bool(home.device("gw1").resources))
        await until(lambda: FINALIZER in finalizers(home, "ClusterLink", "main"))
        await until(lambda: FINALIZER in finalizers(home, "EdgeDevice", "gw1"))
        memory = home.api.get("ConfigMap", "isthmus-memory", "isthmus-system")["data"]
        assert "172.31.0.254/24" in memory["device-addresses"]
        home.api.delete("KubeCluster", "prod")
        home.api.delete("EdgeDevice", "gw1")
        home.api.delete("ClusterLink", "main")
        await until(lambda: home.find("ClusterLink", "main") is None, what=lambda: home.status("ClusterLink", "main"))
        await until(lambda: home.find("EdgeDevice", "gw1") is None, what=lambda: home.status("EdgeDevice", "gw1"))
        assert attached() == []
        assert home.device("gw1").resources == {}
        memory = home.api.get("ConfigMap", "isthmus-memory", "isthmus-system")["data"]
        assert "main" not in memory["device-addresses"]


async def test_nodes_that_stand_for_a_device_go_with_it(home: Place) -> None:
    """On the flannel path a deleted device takes its own Node along, and a deleted link those of all its devices."""
    for number in (1, 2):
        made = node(number)
        made["metadata"]["annotations"] = {
            "flannel.alpha.coreos.com/backend-type": "vxlan",
            "flannel.alpha.coreos.com/backend-data": f'{{"VNI":1,"VtepMAC":"02:00:00:00:00:{number:02x}"}}',
            "flannel.alpha.coreos.com/public-ip": f"192.0.2.{100 + number}",
        }
        home.api.put(made)
    home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(home.endpoint.kubeconfig_path)}})
    for name in ("gw1", "gw2"):
        home.put("EdgeDevice", name, {"driver": "memory"})
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1", "gw2"], "path": "flannel"})

    def standing() -> list[str]:
        return sorted(
            one["metadata"]["labels"]["isthmus.dev/device"]
            for one in home.api.list("Node")
            if "isthmus.dev/device" in (one["metadata"].get("labels") or {})
        )

    async with home.controller():
        await until(lambda: standing() == ["gw1", "gw2"])
        for name in ("gw1", "gw2"):
            await until(lambda n=name: FINALIZER in finalizers(home, "EdgeDevice", n))  # type: ignore[misc]
        await until(lambda: FINALIZER in finalizers(home, "ClusterLink", "main"))
        home.api.delete("EdgeDevice", "gw2")
        await until(lambda: home.find("EdgeDevice", "gw2") is None, what=lambda: home.status("EdgeDevice", "gw2"))
        assert standing() == ["gw1"]
        await holds(lambda: standing() == ["gw1"], 0.5)
        home.api.delete("ClusterLink", "main")
        await until(lambda: home.find("ClusterLink", "main") is None, what=lambda: home.status("ClusterLink", "main"))
        assert standing() == []
        assert not [one for one in home.device("gw1").resources.values() if isinstance(one, Route)]


async def test_a_vanished_link_is_no_order(home: Place) -> None:
    """A link whose finalizer was torn off is gone by accident, for all we know: the device keeps its routes, and says so."""
    home.join()
    async with home.controller():
        await until(lambda: home.routes() == ALL and FINALIZER in finalizers(home, "ClusterLink", "main"))
        home.api.faults.fail_next(100_000, status=503, verb="patch", resource="clusterlinks")
        home.api.freeze_watches("ClusterLink", new=True)
        home.api.delete("ClusterLink", "main")
        found = home.api.get("ClusterLink", "main")
        with contextlib.suppress(ApiError):  # it is gone by that
            home.api.put({**found, "metadata": {**found["metadata"], "finalizers": []}})
        assert home.find("ClusterLink", "main") is None
        home.api.compact()
        home.put("ClusterLink", "unrelated", {"cluster": "prod", "devices": ["gw1"], "path": "direct",
                                              "nodeSelector": {"matchLabels": {"rack": "none"}}})  # fmt: skip
        home.api.thaw_watches()
        home.api.faults.clear()
        home.api.close_watches()
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Held"), what=lambda: home.status("EdgeDevice", "gw1"))
        assert (
            "ClusterLink main is not in the configuration any more"
            in home.condition("EdgeDevice", "gw1", "Held")["message"]
        )
        assert home.routes() == ALL

"""What is wrong, away or not to be believed in the home cluster takes nothing away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from isthmus.app.controller import Controller
from isthmus.lab.kube import KubeApi

from .rig import Place, holds, node, place, service, thing, until

ALL = ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]
OURS = ("kubeclusters", "edgedevices", "clusterlinks", "addresspools", "virtualips")
BOTH = {"inCluster": True, "kubeconfig": {"path": "/nowhere"}}


def problems(running: Controller) -> str:
    """Return what the controller says is wrong."""
    return "; ".join(running._problems)


@asynccontextmanager
async def joined(home: Place) -> AsyncIterator[Controller]:
    """Run a controller of the usual configuration, with an address in use."""
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web"))
    async with home.controller() as running:
        await until(lambda: home.is_so("ClusterLink", "main", "Ready"))
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"))
        yield running


async def nothing_moves(home: Place, seconds: float = 1.0) -> None:
    """See that no device is written."""
    before = home.device("gw1").writes
    await holds(lambda: home.device("gw1").writes == before, seconds)


async def test_a_wrong_edit_keeps_what_was_good(home: Place) -> None:
    """An object edited into something wrong says so, goes on as it was, and is followed again once it is mended."""
    async with joined(home) as running:
        good = home.api.get("KubeCluster", "prod")["spec"]
        home.put("KubeCluster", "prod", BOTH)
        await until(lambda: home.is_so("KubeCluster", "prod", "Accepted", "False", "Invalid"))
        accepted = home.condition("KubeCluster", "prod", "Accepted")
        assert "says inCluster and kubeconfig" in accepted["message"]
        assert "stays in force" in accepted["message"]
        assert accepted["observedGeneration"] == 2
        assert home.is_so("KubeCluster", "prod", "Ready")
        assert "KubeCluster/prod (home cluster)" in problems(running)
        home.api.put(node(4))
        await until(lambda: len(home.routes()) == 4)
        home.put("KubeCluster", "prod", {**good, "loadBalancer": {"default": True}})
        await until(lambda: home.is_so("KubeCluster", "prod", "Accepted", "True", "Accepted"))
        await until(lambda: problems(running) == "")
        await until(lambda: sorted(reason for reason, _ in home.events("prod")) == ["Accepted", "NotAccepted"])


async def test_an_object_wrong_from_the_start_hurts_only_itself(home: Place) -> None:
    """A device with an unknown driver says what drivers there are; the others are carried out."""
    home.put("EdgeDevice", "gw9", {"driver": "memorry"})
    async with joined(home):
        assert home.routes() == ALL
        await until(lambda: home.is_so("EdgeDevice", "gw9", "Accepted", "False", "Invalid"))
        assert 'did you mean "memory"?' in home.condition("EdgeDevice", "gw9", "Accepted")["message"]
        assert home.is_so("EdgeDevice", "gw9", "Ready", "False", "NotAccepted")
        assert "isthmus.dev/cleanup" not in (home.api.get("EdgeDevice", "gw9")["metadata"].get("finalizers") or [])


async def test_a_wrong_object_stands_as_it_was_over_a_restart(home: Place) -> None:
    """With a state directory, an object that was edited into something wrong goes on as it was, also in a new process."""
    home.join()
    async with home.controller(state=True):
        await until(lambda: home.is_so("ClusterLink", "main", "Ready"))
        home.put("KubeCluster", "prod", BOTH)
        await until(lambda: home.is_so("KubeCluster", "prod", "Accepted", "False"))
    async with home.controller(state=True) as running:
        await until(lambda: running.world.config_doubt is None)
        home.api.put(node(4))
        await until(lambda: len(home.routes()) == 4)
        assert home.is_so("KubeCluster", "prod", "Accepted", "False", "Invalid")


async def test_an_api_that_is_away_takes_nothing_away(home: Place) -> None:
    """While the home cluster answers nothing, the joined cluster is followed on, and the trouble is said."""
    async with joined(home) as running:
        for plural in OURS:
            home.api.faults.fail_next(100_000, status=503, resource=plural)
        for kind in ("KubeCluster", "EdgeDevice", "ClusterLink", "AddressPool", "VirtualIP"):
            home.api.close_watches(kind)
        await until(lambda: "home cluster" in problems(running) and "503" in problems(running))
        await nothing_moves(home)
        home.api.put(node(4))
        await until(lambda: len(home.routes()) == 4)
        home.api.faults.clear()
        await until(lambda: problems(running) == "")
        await until(lambda: home.status("ClusterLink", "main")["nodesJoined"] == 4)


async def test_a_compacted_api_is_read_again(home: Place) -> None:
    """Watches whose position is gone list anew; what changed meanwhile is taken, and nothing else moves."""
    async with joined(home) as running:
        home.put("EdgeDevice", "gw2", {"driver": "memory"})
        home.api.compact()
        home.api.close_watches()
        await until(lambda: "gw2" in running.world.devices)
        await nothing_moves(home)


async def test_an_api_that_shows_nothing_is_not_believed(tmp_path: Path) -> None:
    """A list that is empty where there were objects leaves every one of them in force, and says so."""
    async with place(tmp_path, streaming_lists=False) as home, joined(home) as running:
        for plural in OURS:
            home.api.faults.empty_lists(plural, 1000)
            home.api.faults.fail_next(2, status=410, verb="watch", resource=plural)
        home.api.close_watches()
        await until(lambda: problems(running).count("kept") == len(OURS), what=lambda: problems(running))
        await nothing_moves(home)
        assert set(running.world.links) == {"main"}
        assert set(running.world.vips) == {"198.51.100.0"}
        home.api.faults.clear()
        home.put("EdgeDevice", "gw1", {"driver": "memory", "resync": "4m"})
        await until(lambda: "edgedevices" not in problems(running))


async def test_an_api_that_was_restored_is_not_believed(home: Place) -> None:
    """A home cluster restored from a backup of before the link keeps the link in force, and says so."""
    old = home.api.backup()
    async with joined(home) as running:
        home.api.restore(old)
        await until(lambda: "older state" in problems(running), what=lambda: problems(running))
        await nothing_moves(home)
        assert set(running.world.links) == {"main"}


async def test_another_cluster_is_not_believed(home: Place) -> None:
    """Another cluster behind the same address is told by its kube-system and changes nothing."""
    async with joined(home) as running:
        other = KubeApi(tls=False)
        from isthmus.model.schema import crds

        for definition in crds():
            other.put(definition)
        for number in range(200):  # so that it is not taken for an older state of the same one
            other.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number}"}})
        home.api.restore(other.backup())
        await until(lambda: "another cluster" in problems(running), what=lambda: problems(running))
        await nothing_moves(home)
        assert set(running.world.links) == {"main"}


async def test_the_name_that_a_file_says_too_is_refused(home: Place, tmp_path: Path) -> None:
    """Of two objects of one name the file's counts; the other is told so in its status and gets no finalizer."""
    config = tmp_path / "config"
    config.mkdir()
    home.join()
    home.put("EdgeDevice", "gw1", {"driver": "memory", "policy": "observe"})
    written = config / "device.yaml"
    written.write_text(json.dumps(thing("EdgeDevice", "gw1", {"driver": "memory"})))
    async with home.controller(config=config) as running:
        await until(lambda: home.routes() == ALL)
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Accepted", "False", "DuplicateOrigin"))
        assert f"{written}:1" in home.condition("EdgeDevice", "gw1", "Accepted")["message"]
        assert "EdgeDevice/gw1 (home cluster): stands also in" in problems(running)
        assert not home.api.get("EdgeDevice", "gw1")["metadata"].get("finalizers")
        await until(lambda: [reason for reason, _ in home.events("gw1")] == ["NotAccepted"])
        home.api.delete("EdgeDevice", "gw1")
        await until(lambda: problems(running) == "")
        await nothing_moves(home)


async def test_a_written_claim_gives_way_to_the_store(home: Place, tmp_path: Path) -> None:
    """A file that keeps back an address a Service has in the home cluster does not count, and is told so."""
    config = tmp_path / "config"
    config.mkdir()
    (config / "vips.yaml").write_text(
        "\n---\n".join(
            json.dumps(thing("VirtualIP", f"198.51.100.{n}", {"address": f"198.51.100.{n}", "reservation": True}))
            for n in (0, 1)
        )
    )
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    holder = {"cluster": "prod", "namespace": "default", "service": "web"}
    home.put("VirtualIP", "198.51.100.0", {"address": "198.51.100.0", "pool": "pool", "holder": holder})
    home.api.put(service("web"))
    home.api.put(service("shop"))
    async with home.controller(config=config) as running:
        await until(lambda: home.find("VirtualIP", "198.51.100.2") is not None)  # .1 is kept back by the file
        assert home.api.get("VirtualIP", "198.51.100.0")["spec"]["holder"]["service"] == "web"
        assert "stands also in the home cluster" in problems(running)


async def test_a_gateway_serves_before_its_home_is_back(home: Place) -> None:
    """A gateway boots while its home cluster is away: what was applied is put back from disk, and nothing is deleted."""
    home.join()
    home.api.put(service("web"))
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    async with home.controller(state=True):
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"))
    before = dict(home.device("gw1").resources)
    home.device("gw1").resources.clear()  # a reboot
    for plural in OURS:
        home.api.faults.fail_next(100_000, status=503, resource=plural)
    async with home.controller(state=True) as running:
        await until(lambda: home.device("gw1").resources == before)
        assert running.world.config_doubt is not None
        await nothing_moves(home)
        writes = home.device("gw1").writes
        home.api.faults.clear()
        await until(lambda: running.world.config_doubt is None, 20)
        await until(lambda: running.fleet.workers["gw1"].status.in_sync)
        assert home.device("gw1").writes == writes


async def test_a_memory_that_does_not_parse_holds_everything(home: Place) -> None:
    """Nothing is decided on a memory that somebody broke; once mended, everything goes on."""
    home.join()
    broken = {"metadata": {"name": "isthmus-memory", "namespace": "isthmus-system"}, "data": {"choices": "not json"}}
    home.api.put({"apiVersion": "v1", "kind": "ConfigMap", **broken})
    async with home.controller() as running:
        await until(lambda: running.home is not None and running.home.registry.synced.is_set())
        await holds(lambda: home.routes() == [])
        home.api.put({"apiVersion": "v1", "kind": "ConfigMap", **broken, "data": {"choices": "{}"}})
        await until(lambda: home.routes() == ALL)


async def test_a_claim_that_does_not_parse_keeps_its_address(home: Place) -> None:
    """A VirtualIP that is wrong is nobody's, but its name is an address that no Service gets."""
    wrong = {
        "address": "198.51.100.0",
        "reservation": True,
        "holder": {"cluster": "c", "namespace": "n", "service": "s"},
    }
    home.put("VirtualIP", "198.51.100.0", wrong)
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web"))
    async with home.controller():
        await until(lambda: home.find("VirtualIP", "198.51.100.1") is not None)
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Accepted", "False", "Invalid"))
        await asyncio.sleep(0)

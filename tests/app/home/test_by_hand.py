"""Commands that read a home cluster mean the same as the controller that follows it, and keep out of its way."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from isthmus.app import holding
from isthmus.app.adopting import order, place
from isthmus.app.applying import Applying
from isthmus.app.doctor.bundle import write_bundle
from isthmus.app.doctor.examine import examine
from isthmus.app.drivers import Wiring
from isthmus.app.holding import hold
from isthmus.app.oneshot import Oneshot
from isthmus.app.sources import Sources
from isthmus.app.tenure import Elected
from isthmus.core.election import PROFILES
from isthmus.errors import InputError, StateLocked
from isthmus.kube.kubeconfig import load
from isthmus.lab.kube import KubeApi
from isthmus.model.kinds import ADOPT

from .rig import Place, service, thing, until


def sources(home: Place, config: Path | None = None) -> Sources:
    """Return the home cluster as the only source of objects, unless files are named."""
    return Sources(config, None, load(home.endpoint.kubeconfig_path))


def look(home: Place, config: Path | None = None) -> Oneshot:
    """Return a look at the home cluster's objects and the devices of the test."""
    return Oneshot(sources(home, config), drivers={"memory": home.drive})


async def test_a_plan_is_what_the_controller_then_does(home: Place) -> None:
    """The plan from the home cluster writes nothing anywhere; a controller then does exactly that."""
    home.join()
    home.put("AddressPool", "public", {"ranges": ["203.0.113.0/28"]})
    home.api.put(service("web"))
    writes = home.writes()
    async with look(home) as one:
        plan = one.plan("gw1")
        assert one.notes == []
    assert home.writes() == writes
    promised = {change.identity for change in plan.changes}
    assert {"route 10.244.1.0/24", "vip 203.0.113.0"} <= promised
    async with home.controller():
        await until(lambda: promised <= home.device("gw1").resources.keys())
        await until(lambda: home.find("VirtualIP", "203.0.113.0") is not None)
        assert home.device("gw1").resources.keys() == promised
        async with look(home) as one:
            assert one.plan("gw1").empty


async def test_files_and_home_are_one_configuration(home: Place, tmp_path: Path) -> None:
    """An object that stands in both counts as the file says it, and the problem is told."""
    home.join()
    (tmp_path / "gw1.yaml").write_text(str(thing("EdgeDevice", "gw1", {"driver": "memory", "policy": "observe"})))
    async with look(home, tmp_path) as one:
        assert one.world.devices["gw1"].spec.policy == "observe"
        assert one.plan("gw1").empty
        assert any("which counts" in str(problem) for problem in one.problems)


async def test_applying_takes_the_controllers_turn(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a controller the Lease is taken and given back, claims are objects; while one leads, nothing is done."""
    monkeypatch.setattr(holding, "_TERMS", PROFILES["fast"])
    monkeypatch.setattr(holding, "_PATIENCE", 3.0)
    home.join()
    home.put("AddressPool", "public", {"ranges": ["203.0.113.0/28"]})
    home.api.put(service("web"))
    home.device("gw1").plant("route 10.244.2.0/24", "kernel route via 192.0.2.99 dev eth0 proto static")
    await place(sources(home), "gw1", ["route 10.244.2.0/24", "vip 203.0.113.10"])
    epochs = []

    def drive(kind: object, wiring: Wiring) -> object:
        epochs.append(wiring.epoch())
        return home.device("gw1")

    async with (
        hold(sources(home)) as held,
        Oneshot(sources(home), wiring=held.wiring, drivers={"memory": drive}) as one,  # type: ignore[dict-item]
    ):
        applying = Applying(one, held)
        outcomes = [found async for found in applying.run([one.plan("gw1")])]
    assert {found.result for found in outcomes} == {"done"}
    assert applying.notes == []
    assert epochs[0] > 0
    assert "route 10.244.2.0/24" in home.device("gw1").resources
    annotations = (home.find("EdgeDevice", "gw1") or {})["metadata"]["annotations"]
    assert annotations[ADOPT] == "vip 203.0.113.10", "what is done is not ordered any more"
    assert home.find("VirtualIP", "203.0.113.0") is not None
    [lease] = home.api.list("leases.coordination.k8s.io")
    assert not lease["spec"].get("holderIdentity")

    leading = Elected(load(home.endpoint.kubeconfig_path), "isthmus-system", PROFILES["fast"])
    async with home.controller(turn=leading):
        await until(leading.holds)
        writes = home.device("gw1").writes
        with pytest.raises(StateLocked, match="stop all controllers"):
            async with hold(sources(home)):
                raise AssertionError("a controller leads")
        assert home.device("gw1").writes == writes


async def test_an_order_is_an_annotation(home: Place) -> None:
    """`adopt` shows first, then annotates; a running controller takes the route over, and says so by being in sync."""
    home.join()
    theirs = "kernel route via 192.0.2.99 dev eth0 proto static"
    home.device("gw1").plant("route 10.244.2.0/24", theirs)
    async with home.controller():
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Conflicts"))
        where = sources(home)
        found = await order(where, "gw1", ["route 10.244.2.0/24"], drivers={"memory": home.drive})
        assert [change.adopts for change in found.changes] == [theirs]
        assert "route 10.244.2.0/24" in home.device("gw1").foreign
        await place(where, "gw1", ["route 10.244.2.0/24"])
        await until(lambda: "route 10.244.2.0/24" in home.device("gw1").resources)
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Conflicts", "False"))


async def test_an_order_in_an_annotation_is_spent(home: Place) -> None:
    """What is done is taken out of the annotation, so that the same thing there again is a conflict, also for the next
    controller; and the same order can be given once more. What is not done yet stays written."""
    home.join()
    theirs, later = "route 10.244.2.0/24", "vip 203.0.113.10"

    def ordered() -> str | None:
        found: str | None = (home.find("EdgeDevice", "gw1") or {})["metadata"].get("annotations", {}).get(ADOPT)
        return found

    async def again() -> None:
        del home.device("gw1").resources[theirs]
        home.device("gw1").plant(theirs, "kernel route via 192.0.2.99 dev eth0 proto static")

    home.device("gw1").plant(theirs, "kernel route via 192.0.2.99 dev eth0 proto static")
    async with home.controller():
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Conflicts"))
        await place(sources(home), "gw1", [theirs, later])
        await until(lambda: theirs in home.device("gw1").resources)
        await until(lambda: ordered() == later)
    await again()
    async with home.controller():
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Conflicts"))
        assert theirs in home.device("gw1").foreign
        await place(sources(home), "gw1", [theirs])
        await until(lambda: theirs in home.device("gw1").resources)
        await until(lambda: ordered() == later)


async def test_a_cluster_without_our_kinds_says_what_to_do() -> None:
    """A home cluster that knows none of our kinds is an answer with the way out."""
    api = KubeApi(tls=False)
    async with api.serving() as endpoint:
        with pytest.raises(InputError, match="isthmus crds"):
            async with Oneshot(Sources(None, None, load(endpoint.kubeconfig_path))):
                raise AssertionError("there is nothing to read")


async def test_a_bundle_holds_what_the_objects_say(home: Place, tmp_path: Path) -> None:
    """The doctor reads the home cluster; the bundle has the objects' statuses, and no token."""
    home.join()
    async with home.controller():
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready"))
        found = await examine(sources(home), patience=5.0)
        assert {one.subject for one in found.answers} >= {"cluster prod", "device gw1", "link main"}
        target = tmp_path / "bundle.tar.gz"
        await write_bundle(sources(home), found, target, None)
    with tarfile.open(target) as archive:
        file = archive.extractfile("isthmus-bundle/status.json")
        assert file is not None
        said = json.loads(file.read())
    conditions = said["home: EdgeDevice/gw1"]["conditions"]
    assert {one["type"]: one["status"] for one in conditions}["Ready"] == "True"

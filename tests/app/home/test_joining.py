"""Objects in a home cluster are carried out and say how they stand; a restart writes nothing at all."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from isthmus.app.home import writing
from isthmus.errors import InputError

from .rig import Place, holds, node, service, thing, until

ALL = ["10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]


async def joined(home: Place) -> None:
    """Wait until everything is carried out and says so."""
    await until(lambda: home.routes() == ALL, what=home.routes)
    for kind, name in (("KubeCluster", "prod"), ("EdgeDevice", "gw1"), ("ClusterLink", "main")):
        await until(lambda k=kind, n=name: home.is_so(k, n, "Ready"), what=lambda k=kind, n=name: home.status(k, n))  # type: ignore[misc]


async def test_objects_are_carried_out(home: Place) -> None:
    """A cluster, a device and a link created in the API make the device route to every node's pods, and say so."""
    home.join()
    async with home.controller():
        await joined(home)
        link, device = home.status("ClusterLink", "main"), home.status("EdgeDevice", "gw1")
        assert (link["path"], link["nodesJoined"], link["nodesWaiting"]) == ("direct", 3, 0)
        assert (device["reachable"], device["inSync"], device["lastPlan"]["creates"]) == (True, True, 3)
        assert home.status("KubeCluster", "prod")["uid"]
        home.api.put(node(4))
        await until(lambda: "10.244.4.0/24" in home.routes())
        await until(lambda: home.status("ClusterLink", "main")["nodesJoined"] == 4)


async def test_objects_created_later_are_carried_out(home: Place) -> None:
    """A home cluster that was empty at the start fills up, and everything follows."""
    async with home.controller():
        await asyncio.sleep(0)
        home.join()
        await joined(home)


async def test_a_spec_edit_is_followed_and_answered(home: Place) -> None:
    """A new spec is carried out, and the status says of which generation it speaks."""
    home.join()
    async with home.controller():
        await joined(home)
        home.put("ClusterLink", "main", {
            "cluster": "prod", "devices": ["gw1"], "path": "direct",
            "nodeSelector": {"matchLabels": {"edge": "yes"}},
        })  # fmt: skip
        await until(lambda: home.routes() == [])
        await until(lambda: home.status("ClusterLink", "main")["observedGeneration"] == 2)
        await until(lambda: home.is_so("ClusterLink", "main", "Joined", "False", "NoNodes"))


@pytest.mark.parametrize("state", [False, True])
async def test_a_restart_writes_nothing(home: Place, state: bool) -> None:
    """Neither a device nor any object, status, Event or ConfigMap is written by a controller that finds all in order."""
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web"))
    async with home.controller(state=state):
        await joined(home)
        await until(lambda: home.is_so("VirtualIP", "198.51.100.0", "Ready"))
        await until(lambda: home.status("ClusterLink", "main").get("probe", {}).get("ok") is True)
        await until(lambda: home.status("AddressPool", "pool").get("used") == 1)
    before = home.writes()
    home.api.faults.delay(0.7, resource="nodes")  # long enough for a hasty word
    async with home.controller(state=state) as again:
        await until(lambda: again.world.config_doubt is None)
        await holds(lambda: home.writes() == before, 4.0)  # a round of probes, too
        assert again.fleet.workers["gw1"].status.in_sync


async def test_times_of_conditions_change_only_with_them(home: Place) -> None:
    """A condition that goes away and comes back has a new time; one that stays as it was keeps its own."""
    home.join()
    async with home.controller():
        await joined(home)
        accepted = home.condition("EdgeDevice", "gw1", "Accepted")["lastTransitionTime"]
        await asyncio.sleep(1.1)  # times are whole seconds
        home.device("gw1").reachable = False
        home.device("gw1").lose("route 10.244.1.0/24")
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Reachable", "False", "Unreachable"))
        failed = home.condition("EdgeDevice", "gw1", "Reachable")
        assert failed["lastTransitionTime"] > accepted
        assert "switched off" in failed["message"]
        assert home.condition("EdgeDevice", "gw1", "Accepted")["lastTransitionTime"] == accepted
        await until(lambda: home.is_so("ClusterLink", "main", "Ready", "False", "DeviceUnreachable"))


async def test_news_are_told_as_events(home: Place) -> None:
    """A device that fails and recovers, and a conflict that comes and goes, are Events on the device; nothing twice."""
    home.join()
    async with home.controller():
        await joined(home)
        device = home.device("gw1")
        device.reachable = False
        device.lose("nothing")
        await until(lambda: "DeviceFailed" in [reason for reason, _ in home.events("gw1")])
        device.reachable = True
        await until(lambda: "DeviceRecovered" in [reason for reason, _ in home.events("gw1")])
        identity = next(one for one in device.resources if one.startswith("route 10.244.2.0/24"))
        device.plant(identity, "route by somebody else")
        await until(
            lambda: home.is_so("EdgeDevice", "gw1", "Conflicts"), what=lambda: home.status("EdgeDevice", "gw1")
        )
        assert "somebody else" in home.condition("EdgeDevice", "gw1", "Conflicts")["message"]
        assert home.status("EdgeDevice", "gw1")["conflicts"] == 1
        device.unplant(identity)
        await until(lambda: "ConflictGone" in [reason for reason, _ in home.events("gw1")])
        reasons = [reason for reason, _ in home.events("gw1")]
        assert sorted(reasons) == ["Conflict", "ConflictGone", "DeviceFailed", "DeviceRecovered"]


async def test_a_chosen_path_is_told_and_kept(home: Place) -> None:
    """``auto`` takes a path, says which and why in an Event, and keeps it in the ConfigMap over restarts."""
    home.join(path="auto")
    async with home.controller():
        await joined(home)
        await until(lambda: [reason for reason, _ in home.events("main")].count("PathChosen") == 1)
        assert '"path": "direct"' in home.api.get("ConfigMap", "isthmus-memory", "isthmus-system")["data"]["choices"]
    async with home.controller() as again:
        await until(lambda: "main" in again.world.choices)
        assert again.world.choices["main"].path == "direct"
    assert [reason for reason, _ in home.events("main")].count("PathChosen") == 1


async def test_one_object_is_not_written_often(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that flaps many times a second costs one status write a second at most."""
    monkeypatch.setattr(writing, "_PAUSE", 1.0)
    home.join()
    async with home.controller():
        await joined(home)
        device = home.device("gw1")
        before = home.api.faults.requests["patch", "edgedevices"]
        for _ in range(30):
            device.lose(next(iter(device.resources)))
            await asyncio.sleep(0.1)
        assert home.api.faults.requests["patch", "edgedevices"] - before <= 4


async def test_a_known_device_works_although_another_is_unknown(home: Place) -> None:
    """A link that names one unknown device serves the one that is known, and says which is not."""
    home.join()
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1", "gw9"], "path": "direct"})
    async with home.controller():
        await until(lambda: home.routes() == ALL)
        await until(lambda: home.is_so("ClusterLink", "main", "Accepted", "True", "WithProblems"))
        message = home.condition("ClusterLink", "main", "Accepted")["message"]
        assert message.startswith("ClusterLink/main (home cluster): spec.devices[1]")
        assert "gw9" in message


async def test_nothing_secret_is_said(home: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The home cluster's token stands in no object, no Event and no log line (law 9)."""
    caplog.set_level(logging.DEBUG)
    home.join()
    async with home.controller(state=True):
        await joined(home)
    kinds = ("KubeCluster", "EdgeDevice", "ClusterLink", "ConfigMap", "events.events.k8s.io")
    everything = repr([home.api.list(kind) for kind in kinds]) + caplog.text
    everything += "".join(path.read_bytes().decode("latin-1") for path in (home.directory / "state").iterdir())
    assert home.endpoint.token not in everything


async def test_a_controller_needs_somewhere_to_keep_claims(tmp_path: Path) -> None:
    """Without a home cluster and without a state directory a controller is refused with the way out."""
    from isthmus.app.controller import Controller

    with pytest.raises(InputError, match="state directory or a home cluster"):
        Controller(tmp_path, None)


async def test_files_and_home_are_one_configuration(home: Place, tmp_path: Path) -> None:
    """A link in the home cluster joins a device that stands in a file, and nobody calls that unknown."""
    import json

    config = tmp_path / "config"
    config.mkdir()
    (config / "device.yaml").write_text(json.dumps(thing("EdgeDevice", "gw1", {"driver": "memory"})))
    for number in (1, 2, 3):
        home.api.put(node(number))
    home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(home.endpoint.kubeconfig_path)}})
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})
    async with home.controller(config=config) as running:
        await until(lambda: home.routes() == ALL)
        await until(lambda: home.is_so("ClusterLink", "main", "Accepted", "True", "Accepted"))
        assert running._problems == ()

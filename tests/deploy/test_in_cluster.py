"""The controller as its pod runs it, against a real API server: no file of its own, and a token that is replaced under it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from app.home.rig import Place, node, service, until
from app.home.test_controller_processes import slice_of_the_api
from deploy.installed import Installed
from deploy.manifests import only, pod_of
from deploy.pods import Pod, running
from realapi.reaching import Refused

SYSTEM, CONTROLLER = "isthmus-system", "isthmus-controller"
A, B = "198.51.100.0", "198.51.100.1"
FAST = ("--lease-profile", "fast")


def write_everything(home: Place) -> None:
    """Write an overlay link, whose devices' addresses are remembered, a pool, and a Service."""
    for number in (1, 2):
        home.api.put(node(number))
    home.api.put(slice_of_the_api())
    home.api.put(service("web", allocateLoadBalancerNodePorts=False))
    home.put("KubeCluster", "prod", {"inCluster": True})
    home.put("EdgeDevice", "gw1", {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]})
    overlay = {"path": "overlay", "overlay": {"networks": ["172.31.0.0/24"]}}
    home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], **overlay})
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})


def kept(home: Place) -> dict[str, Any]:
    """Return what must outlive every pod: memory, claims and nodes' places by their version, and the addresses shown.

    A Service's version is not among it: a device in memory dies with its pod, and the condition says so for a moment.
    """
    memory = home.api.get("ConfigMap", "isthmus-memory", SYSTEM)
    objects = [memory, *home.api.list("VirtualIP"), *home.api.list("Node")]
    found = {f"{one['kind']} {one['metadata']['name']}": one["metadata"]["resourceVersion"] for one in objects}
    shown = {one["metadata"]["name"]: one["status"]["loadBalancer"] for one in home.api.list("Service", "default")}
    return found | {f"addresses of {name}": addresses for name, addresses in shown.items()}


async def ready(pod: Pod) -> None:
    await until(lambda: pod.probe("/readyz") == "ok", 30.0, what=lambda: pod.probe("/readyz") + pod.log())
    assert pod.probe("/healthz") == "ok"


async def serves(home: Place, pod: Pod, address: str) -> None:
    """Wait until an address is served."""
    await until(lambda: home.is_so("VirtualIP", address, "Ready"), 30.0, what=pod.log)


def confined(pod: Pod, deployment: dict[str, Any]) -> None:
    """See in /proc that the process is who the manifest says, without a capability, and that nothing can be written to."""
    if os.geteuid() != 0:
        return  # then nobody could make it so
    proc = Path(f"/proc/{pod.process.pid}")
    said = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    assert said["Uid"].split() == [str(pod_of(deployment)["securityContext"]["runAsUser"])] * 4
    assert {said[name].strip("0") for name in ("CapEff", "CapPrm", "CapBnd")} == {""}
    assert said["NoNewPrivs"] == "1"
    mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
    assert "ro" in [mount[5] for mount in mounts if mount[4] == "/"][-1].split(",")


def remembered(home: Place) -> bool:
    """Say whether the memory has the device's address on the overlay."""
    try:
        return "gw1" in str(home.api.get("ConfigMap", "isthmus-memory", SYSTEM).get("data"))
    except Refused:
        return False


async def test_a_pod_that_is_gone_loses_nothing(installed: Installed, tmp_path: Path) -> None:
    """Killed and started elsewhere with no directory at all, it knows what it knew, moves nothing and writes nothing anew."""
    home, deployment = installed.place, only(installed.objects, "Deployment")
    environment = installed.environment(SYSTEM, CONTROLLER)
    write_everything(home)
    async with running(deployment, environment, tmp_path / "first.log", *FAST) as first:
        await ready(first)
        confined(first, only(installed.objects, "Deployment"))
        await serves(home, first, A)
        await until(lambda: remembered(home) and "isthmus.dev/overlay.main" in str(home.api.list("Node")))
        await until(lambda: "isthmus.dev/Served" in str(home.api.get("Service", "web", "default")["status"]))
        async with running(deployment, environment, tmp_path / "standby.log", *FAST) as standby:
            await ready(standby)  # it sees the world, and that is all that ready means: a rollout waits for it
            assert "stands by" in standby.log()
        before = kept(home)
        first.process.kill()
        await first.process.wait()
    async with running(deployment, environment, tmp_path / "second.log", *FAST) as second:
        await ready(second)
        home.api.put(service("next", allocateLoadBalancerNodePorts=False))
        await serves(home, second, B)
        after = kept(home)
        assert {name: after[name] for name in before} == before
        second.process.send_signal(signal.SIGTERM)
        assert await second.process.wait() == 0, second.log()
    assert home.api.get("Lease", CONTROLLER, SYSTEM)["spec"].get("holderIdentity") in (None, "")
    assert installed.refused(CONTROLLER) == []


async def test_a_token_is_replaced_under_it(installed: Installed, tmp_path: Path) -> None:
    """When the account is made anew, every old token is void: the next request shows what the file says by then."""
    home, deployment = installed.place, only(installed.objects, "Deployment")
    environment = installed.environment(SYSTEM, CONTROLLER)
    write_everything(home)
    async with running(deployment, environment, tmp_path / "pod.log", *FAST) as pod:
        await ready(pod)
        await serves(home, pod, A)
        old = (Path(environment["ISTHMUS_SERVICE_ACCOUNT"]) / "token").read_text()
        home.api.delete("ServiceAccount", CONTROLLER, SYSTEM)
        home.api.put(only(installed.objects, "ServiceAccount", CONTROLLER))
        installed.account(SYSTEM, CONTROLLER)
        assert (Path(environment["ISTHMUS_SERVICE_ACCOUNT"]) / "token").read_text() != old
        await until(lambda: installed.is_void(old), 30.0)  # the server remembers a token for seconds
        home.api.put(service("next", allocateLoadBalancerNodePorts=False))
        await serves(home, pod, B)
        assert pod.process.returncode is None
        assert old not in pod.log()

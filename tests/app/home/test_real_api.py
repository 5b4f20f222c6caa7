"""The controller against a real API server: objects as custom resources, facts written by the test, a device in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.manifests import documents
from isthmus.kube.kubeconfig import load
from isthmus.model.schema import crds
from realapi.reaching import Reach, Refused

from .rig import CLASS, Place, holds, node, service, until
from .test_claims import holder, shown
from .test_joining import ALL, joined

A, B = "198.51.100.0", "198.51.100.1"
FINALIZER = "isthmus.dev/cleanup"
SYSTEM = "isthmus-system"
HOME = ("base/home",)
JOINED = ("base/joined",)
Json = dict[str, Any]


def slice_of(name: str, *addresses: str, node_name: str = "n1") -> dict[str, object]:
    """Return the EndpointSlice that the endpointslice controller would write."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "tests"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": 8080}],
        "endpoints": [
            {"addresses": [address], "nodeName": node_name, "conditions": {"ready": True}} for address in addresses
        ],
    }


async def test_from_objects_to_a_device_and_back(real_home: Place) -> None:
    """Routes to every node, an address for a Service, its pod behind it, statuses and Events, and all of it away again."""
    home = real_home
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web", selector={"app": "web"}, allocateLoadBalancerNodePorts=False))
    home.api.put(slice_of("web", "10.244.1.5"))
    async with home.controller():
        await joined(home)
        await until(lambda: shown(home, "web") == [A], what=lambda: home.events())
        assert holder(home, A) == "web"
        served = lambda: [one for one in home.device("gw1").resources.values() if "10.244.1.5" in repr(one)]  # noqa: E731
        await until(lambda: bool(served()), what=lambda: home.device("gw1").resources)
        status = home.api.get("Service", "web")["status"]
        assert status["loadBalancer"]["ingress"][0]["ip"] == A
        await until(lambda: home.is_so("VirtualIP", A, "Ready"))
        assert FINALIZER in home.api.get("ClusterLink", "main")["metadata"]["finalizers"]
        home.api.put(slice_of("web", "10.244.2.9", node_name="n2"))
        await until(lambda: not served() and "10.244.2.9" in repr(home.device("gw1").resources))
        home.api.put(node(4))
        await until(lambda: "10.244.4.0/24" in home.routes())
        home.api.delete("Node", "n4")
        await until(lambda: home.routes() == ALL)
        home.api.delete("Service", "web")
        await until(lambda: home.find("VirtualIP", A) is None)
        home.api.delete("ClusterLink", "main")
        await until(lambda: home.find("ClusterLink", "main") is None, what=lambda: home.status("EdgeDevice", "gw1"))
        assert home.device("gw1").resources == {}


async def test_a_restart_in_sync_writes_nothing(real_home: Place) -> None:
    """A second controller finds everything as it should be: no object gets a new version, no device a write."""
    home = real_home
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web", allocateLoadBalancerNodePorts=False))

    def versions() -> dict[tuple[str, str], str]:
        kinds = (*(one["spec"]["names"]["kind"] for one in crds()), "Service", "ConfigMap", "Event", "Node")
        return {
            (kind, one["metadata"]["name"]): one["metadata"]["resourceVersion"]
            for kind in kinds
            for one in home.api.list(kind)
        }

    async with home.controller():
        await joined(home)
        await until(lambda: home.is_so("VirtualIP", A, "Ready"))
        await until(lambda: home.status("ClusterLink", "main").get("probe", {}).get("ok") is True)
        await until(lambda: home.status("AddressPool", "pool").get("used") == 1)
    before, writes = versions(), home.device("gw1").writes
    async with home.controller() as again:
        await until(lambda: again.world.config_doubt is None)
        await until(lambda: again.fleet.workers["gw1"].status.in_sync)
        await holds(lambda: home.device("gw1").writes == writes, 2.0)
    assert versions() == before


async def test_who_comes_second_is_told_by_the_store(real_home: Place) -> None:
    """A claim's name is its address: where a reservation has it, the next Service gets the next one."""
    home = real_home
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.put("VirtualIP", A, {"address": A, "reservation": True})
    async with home.controller():
        home.api.put(service("web", allocateLoadBalancerNodePorts=False))
        await until(lambda: shown(home, "web") == [B])
        assert home.api.get("Service", "web")["spec"]["loadBalancerClass"] == CLASS
        await until(lambda: home.is_so("VirtualIP", A, "Ready", "True", "Reserved"))


@dataclass(frozen=True)
class Accounts:
    """Kubeconfigs of two service accounts, each with the rights of one of our manifests and no other."""

    home: Path
    joined: Path


@pytest.fixture
def accounts(real_home: Place, tmp_path: Path) -> Iterator[Accounts]:
    """Install the manifests as an administrator does; the joined cluster's under another name, to tell the two apart."""
    api: Reach = real_home.api
    made: list[Json] = []
    for folders, name in ((HOME, "isthmus-controller"), (JOINED, "isthmus-joining")):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": SYSTEM}}
        for document in (account, *documents(*folders)):
            for subject in document.get("subjects", ()):
                subject["name"] = name
            made.append(api.put(document))

    def kubeconfig(name: str) -> Path:
        path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{name}/token"
        token = api.ask("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        config = json.loads(real_home.endpoint.kubeconfig_path.read_text())
        config["users"][0]["user"] = {"token": token}
        written = tmp_path / f"{name}.kubeconfig"
        written.write_text(json.dumps(config))
        return written

    yield Accounts(kubeconfig("isthmus-controller"), kubeconfig("isthmus-joining"))
    for document in made:
        if document["kind"] in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"):
            api.delete(document["kind"], document["metadata"]["name"], document["metadata"].get("namespace", ""))


async def test_our_manifests_are_enough(
    real_home: Place, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    """With the rights of the manifests, enforced by the real RBAC, everything is done and nothing is refused."""
    home = real_home
    home.join()
    home.put("KubeCluster", "prod", {"kubeconfig": {"path": str(accounts.joined)}})
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web", allocateLoadBalancerNodePorts=False))
    home.api.put(slice_of("web", "10.244.1.5"))
    async with home.controller(connection=load(accounts.home)):
        await joined(home)
        await until(lambda: shown(home, "web") == [A], what=lambda: caplog.text)
        await until(lambda: home.is_so("VirtualIP", A, "Ready"), what=lambda: caplog.text)
        home.device("gw1").reachable = False
        home.device("gw1").lose("nothing")
        await until(lambda: "DeviceFailed" in [reason for reason, _ in home.events("gw1")])
        home.device("gw1").reachable = True
        await until(lambda: home.is_so("EdgeDevice", "gw1", "Ready"))
        home.api.delete("Service", "web")
        await until(lambda: home.find("VirtualIP", A) is None, what=lambda: caplog.text)
        home.api.delete("ClusterLink", "main")
        await until(lambda: home.find("ClusterLink", "main") is None, what=lambda: caplog.text)
    assert " 403" not in caplog.text


async def test_what_makes_no_sense_is_refused_at_the_door(real_home: Place) -> None:
    """A link whose spec the schema or its rules refuse never gets in, and the refusal names the field."""
    with pytest.raises(Refused, match=r"spec\.path: Unsupported value") as refused:
        real_home.put("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "teleport"})
    assert refused.value.status == 422

"""A cluster's network read once, over the API: what is there, what is not defined there, what we may not see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.core.cni import decide
from isthmus.kube.client import KubeClient
from isthmus.kube.gathering import gather
from isthmus.kube.kubeconfig import load
from isthmus.lab.kube import KubeApi, status


@pytest.fixture
async def api() -> KubeApi:
    return KubeApi()


@pytest.fixture
async def client(api: KubeApi) -> AsyncIterator[KubeClient]:
    async with (
        api.serving(host="127.0.0.1", port=0) as endpoint,
        KubeClient(load(Path(endpoint.kubeconfig_path))) as client,
    ):
        yield client


def canal(api: KubeApi) -> None:
    """Put a Canal in a namespace of its own, whose ConfigMap only its DaemonSet tells of, and a node of it."""
    containers = [
        {"name": "calico-node", "image": "calico/node"},
        {"name": "kube-flannel", "image": "flannel", "command": ["/opt/bin/flanneld"]},
    ]
    volumes = [{"name": "config", "configMap": {"name": "canal-config"}}, {"name": "x", "configMap": {"name": "x"}}]
    labels = {"k8s-app": "canal"}
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "net"}})
    put(
        api,
        "apps/v1",
        "DaemonSet",
        "canal",
        spec={
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers, "volumes": volumes}},
        },
    )
    put(api, "v1", "ConfigMap", "canal-config", data={"net-conf.json": '{"Backend": {"Type": "vxlan", "VNI": 5}}'})
    put(api, "v1", "ConfigMap", "x", data={"secret": "of somebody else"})
    api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "spec": {"podCIDR": "10.244.0.0/24"}})


def put(api: KubeApi, version: str, kind: str, name: str, **fields: Any) -> None:
    api.put({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "net"}, **fields})


def forbid(api: KubeApi, *plurals: str) -> None:
    """Have the API refuse some kinds."""

    def check(user: str, verb: str, resource: Any, namespace: str, name: str, subresource: str = "") -> None:
        if resource.plural in plurals:
            raise status.denied(resource, name, "no rule allows it")

    api.access.check = check  # type: ignore[method-assign]


async def test_reads_what_is_there(api: KubeApi, client: KubeClient) -> None:
    """A ConfigMap is found where its DaemonSet is; custom resources that are not defined are no loss."""
    canal(api)
    gathered = await gather(client)
    found = gathered.published
    assert (found.unread, gathered.failed) == ((), ())
    assert [one.name for one in found.config_maps] == ["canal-config"]
    decision = decide(found)
    assert (decision.cni, decision.certainty, decision.networks[0].vni) == ("canal", "certain", 5)
    assert found.nodes == (), "there may be thousands, and they are followed anyway"


async def test_says_what_it_may_not_read(api: KubeApi, client: KubeClient) -> None:
    """Without the right to DaemonSets the rest is read, and the decision says what is missing."""
    canal(api)
    forbid(api, "daemonsets")
    gathered = await gather(client)
    found = gathered.published
    assert (found.daemon_sets, gathered.failed) == ((), ())
    decision = decide(found)
    assert decision.cni == "unknown"
    assert any(remark.startswith("not read: daemonsets.apps: we may not") for remark in decision.remarks)


async def test_an_empty_cluster_is_unknown(client: KubeClient) -> None:
    """A cluster that publishes nothing has an unknown CNI, and nothing is missing."""
    found = (await gather(client)).published
    assert (decide(found).cni, found.unread) == ("unknown", ())


async def test_a_forbidden_config_map_costs_itself(api: KubeApi, client: KubeClient) -> None:
    """Where ConfigMaps are granted by name, one that is not costs no other."""
    canal(api)
    cilium = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cilium-config", "namespace": "kube-system"},
    }
    api.put({**cilium, "data": {"ipam": "kubernetes"}})

    def check(user: str, verb: str, resource: Any, namespace: str, name: str, subresource: str = "") -> None:
        if name == "canal-config":
            raise status.denied(resource, name, "no rule allows it")

    api.access.check = check  # type: ignore[method-assign]
    found = (await gather(client)).published
    assert [one.name for one in found.config_maps] == ["cilium-config"]
    assert found.unread == (
        "configmaps net/canal-config: we may not get it (it would tell modes and ranges); the role lacks that rule",
    )

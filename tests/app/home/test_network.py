"""The CNI and its blocks, from the cluster's API to routes and to the user's own object: also where a right is missing."""

from __future__ import annotations

from kube.calico import block_definition
from loop.test_homes import block

from .rig import Place, holds, until

CALICO = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "calico-node", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {
                "initContainers": [{"name": "install-cni", "image": "calico/cni"}],
                "containers": [{"name": "calico-node", "image": "calico/node"}],
            },
        },
    },
}
BLOCKS = [f"10.42.{number}.0/26" for number in (1, 2, 3)]


def with_calico(home: Place) -> None:
    """Have the cluster run Calico, with a block for each of its nodes."""
    home.api.put(block_definition())
    home.api.put(CALICO)
    for number, cidr in enumerate(BLOCKS, 1):
        home.api.put(block(f"b{number}", cidr, f"n{number}"))


async def test_blocks_are_routed_and_the_cni_is_said(home: Place) -> None:
    """The KubeCluster names the CNI, and routes are those of its blocks; one that moves is followed."""
    with_calico(home)
    home.join()
    async with home.controller():
        await until(lambda: home.routes() == BLOCKS)
        await until(lambda: (home.status("KubeCluster", "prod").get("cni") or {}).get("name") == "calico")
        said = home.status("KubeCluster", "prod")["cni"]
        assert said["certainty"] == "certain"
        assert said["why"].startswith("calico: DaemonSet kube-system/calico-node runs calico-node")
        home.api.delete("IPAMBlock", "b3")
        await until(lambda: home.routes() == BLOCKS[:2])


async def test_a_right_that_is_missing_after_a_restart_takes_nothing(home: Place) -> None:
    """What stands stays, whatever Kubernetes assigned; the cluster's condition names the rule, and goes when it is there."""
    with_calico(home)
    home.join()
    async with home.controller():
        await until(lambda: home.routes() == BLOCKS)
    users = list(home.api.access.tokens.values())
    for user in users:
        home.api.faults.deny(user, resource="ipamblocks")
    async with home.controller():
        await until(lambda: home.is_so("KubeCluster", "prod", "Ready", "False", "InDoubt"))
        await until(lambda: "ipamblocks" in home.condition("KubeCluster", "prod", "Ready")["message"])
        await holds(lambda: home.routes() == BLOCKS, 1.0)
    for user in users:
        home.api.faults.allow(user, resource="ipamblocks")
    async with home.controller():
        await until(lambda: home.is_so("KubeCluster", "prod", "Ready"))
        assert home.routes() == BLOCKS

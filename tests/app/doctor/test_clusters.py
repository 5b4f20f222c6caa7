"""What a cluster answers to the doctor: rights by which the CNI's own objects are read, where it has such a CNI."""

from __future__ import annotations

from isthmus.app.doctor.clusters import ask_cluster
from isthmus.lab.kube import KubeApi
from isthmus.model.kinds import KubeCluster, parse
from kube.calico import block_definition


async def test_rights_on_blocks_are_asked_for_where_there_are_any() -> None:
    """Without Calico nobody misses them; with it, what is missing is named."""
    api = KubeApi()

    async with api.serving(host="127.0.0.1", port=0) as endpoint:
        for user in api.access.tokens.values():
            for resource in ("ipamblocks", "daemonsets"):
                api.faults.deny(user, resource=resource)
        written = {
            "apiVersion": "isthmus.dev/v1alpha1",
            "kind": "KubeCluster",
            "metadata": {"name": "east"},
            "spec": {"kubeconfig": {"path": str(endpoint.kubeconfig_path)}},
        }
        kind = parse(written).object
        assert isinstance(kind, KubeCluster)
        assert (await ask_cluster(kind, ())).forbidden == ("list daemonsets",)
        api.put(block_definition())
        assert (await ask_cluster(kind, ())).forbidden == ("list daemonsets", "list ipamblocks", "watch ipamblocks")

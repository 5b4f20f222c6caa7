"""The life of the switch: created, deleted, deleted while nobody ran, never there, malformed, and what follows from each."""

from __future__ import annotations

import pytest

from app.home.rig import holds
from isthmus.compat.switch import ABANDON, FINALIZER
from isthmus.lab.kube import KubeApi

from .rig import SWITCH, Cluster, node, until


def finalizers(cluster: Cluster) -> list[str]:
    found = cluster.find(SWITCH)
    return list(found.get("finalizers") or []) if found is not None else []


async def test_created_it_applies_and_deleted_it_removes(cluster: Cluster) -> None:
    """With the switch everything is built; deleting it removes all of ours from the ADC and the nodes, and then it goes."""
    async with cluster.controller():
        await holds(lambda: not cluster.device.log and not cluster.attached(), 0.5)
        cluster.switch()
        await until(cluster.applied)
        assert cluster.attached() == ["n1", "n2"]
        await until(lambda: finalizers(cluster) == [FINALIZER])
        cluster.delete_switch()
        await until(lambda: cluster.find(SWITCH) is None)
        assert cluster.removed()
        assert cluster.vacated == 1
        cluster.switch()
        await until(cluster.applied)


async def test_absent_at_start_deletes_nothing(cluster: Cluster) -> None:
    """A controller that starts and finds no switch leaves all that stands: nobody knows whether it was an order."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: finalizers(cluster) == [FINALIZER])
    found = cluster.find(SWITCH)
    assert found is not None
    cluster.switch(finalizers=[])  # somebody tears our finalizer off and deletes it, and we are not there to see it
    cluster.delete_switch()
    assert cluster.find(SWITCH) is None
    writes = cluster.device.writes
    async with cluster.controller() as running:
        await until(lambda: cluster.older is not None and cluster.older.state == "off")
        await holds(lambda: cluster.device.writes == writes and cluster.applied(), 0.5)
        assert any("is not there" in text for text in running._problems)


async def test_deleted_while_nobody_ran(cluster: Cluster) -> None:
    """Our finalizer keeps the order visible: the next controller sees the deletion and carries it out."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: finalizers(cluster) == [FINALIZER])
    cluster.delete_switch()
    assert cluster.find(SWITCH) is not None
    async with cluster.controller():
        await until(lambda: cluster.find(SWITCH) is None)
        assert cluster.removed()


async def test_operation_delete_and_add(cluster: Cluster) -> None:
    """operation: DELETE removes everything and is done once; ADD builds it again."""
    async with cluster.controller():
        cluster.switch({"operation": "ADD"})
        await until(cluster.applied)
        cluster.switch({"operation": "DELETE"})
        await until(cluster.removed)
        await until(lambda: cluster.older is not None and cluster.older.state == "off")
        assert cluster.find(SWITCH) is not None
        cluster.switch({"operation": "delete", "note": "still"})
        await holds(lambda: cluster.older is not None and cluster.older.state == "off", 0.3)
        cluster.switch({"operation": "add"})
        await until(cluster.applied)


async def test_a_restart_writes_nothing(cluster: Cluster) -> None:
    """A new process with an empty state directory finds all as it should be."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: finalizers(cluster) == [FINALIZER])
    writes, patches = cluster.device.writes, cluster.api.faults.writes
    async with cluster.controller():
        await until(lambda: cluster.older is not None and cluster.older.state == "on")
        await holds(lambda: cluster.device.writes == writes and cluster.api.faults.writes == patches, 1.0)
        assert cluster.applied()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"operation": "REMOVE"}, 'operation "REMOVE" is not known'),
        ({"tolerations.json": "[{"}, "tolerations.json is not JSON, line 1"),
        ({"tolerations.json": '{"operator": "Exists"}'}, "tolerations.json is not a list"),
        ({"tolerations.json": '[{"effect": "Never", "operator": "Exists"}]'}, "[0].effect 'Never' is none of"),
    ],
)
async def test_malformed_content_changes_nothing(cluster: Cluster, data: dict[str, str], said: str) -> None:
    """What cannot be understood is named, and what was applied stays; from the start it applies nothing."""
    async with cluster.controller() as running:
        cluster.switch(data)
        await until(lambda: any(said in text for text in running._problems))
        assert not cluster.device.log
        cluster.switch({})
        await until(cluster.applied)
        writes = cluster.device.writes
        cluster.switch(data)
        await until(lambda: any(said in text for text in running._problems))
        await holds(lambda: cluster.device.writes == writes and cluster.applied(), 0.3)
        assert any("all stays applied" in text for text in running._problems)


async def test_a_device_that_is_away_holds_the_switch(cluster: Cluster) -> None:
    """The finalizer stays until the ADC has been cleaned, too; who has scrapped it says so."""
    async with cluster.controller() as running:
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: finalizers(cluster) == [FINALIZER])
        cluster.device.reachable = False
        cluster.delete_switch()
        await until(lambda: any("is being deleted and waits for" in text for text in running._problems))
        await holds(lambda: cluster.find(SWITCH) is not None, 0.3)
        cluster.switch(annotations={ABANDON: "true"})
        await until(lambda: cluster.find(SWITCH) is None)
        assert cluster.device.resources


async def test_somebody_elses_finalizer_stays(cluster: Cluster) -> None:
    """Ours is added beside others and taken away alone."""
    async with cluster.controller():
        cluster.switch(finalizers=["example.org/theirs"])
        await until(lambda: finalizers(cluster) == ["example.org/theirs", FINALIZER])
        await until(cluster.applied)
        cluster.delete_switch()
        await until(lambda: finalizers(cluster) == ["example.org/theirs"])
        assert cluster.removed()


async def test_an_api_that_is_away_removes_nothing(cluster: Cluster) -> None:
    """While the API shows nothing or is away, the switch is what it was."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: finalizers(cluster) == [FINALIZER])
        writes = cluster.device.writes
        backup = cluster.api.backup()
        cluster.api.close_watches(abrupt=True)
        await holds(lambda: cluster.device.writes == writes and cluster.applied(), 0.5)
        cluster.api.restore(backup)
        await holds(lambda: cluster.device.writes == writes and cluster.applied(), 0.5)


async def test_nodes_that_join_and_leave(cluster: Cluster) -> None:
    """The export follows nodes that join, change and leave; so does the ADC."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        cluster.api.put(node(3))
        await until(lambda: "route 10.244.3.0/24" in str(sorted(cluster.device.resources)))
        await until(lambda: "Node-192.0.2.103" in (cluster.find(("kube-system", "kube-cnc-router")) or {})["data"])
        cluster.api.delete("Node", "n3")
        await until(
            lambda: "Node-192.0.2.103" not in (cluster.find(("kube-system", "kube-cnc-router")) or {})["data"]
        )
        await until(lambda: "route 10.244.3.0/24" not in str(sorted(cluster.device.resources)))


async def test_the_router_needs_no_switch(cluster: Cluster) -> None:
    """Without NS_IP the nodes' side and the export are built as soon as the controller runs, as the old router did."""
    none = {"NS_IP": None, "NS_USER": None, "NS_PASSWORD": None}
    async with cluster.controller(**none):
        await until(lambda: cluster.find(("kube-system", "kube-chorus-router")) is not None)
        await until(lambda: "Node-192.0.2.102" in (cluster.find(("kube-system", "kube-chorus-router")) or {})["data"])
        assert cluster.attached() == ["n1", "n2"]


async def test_a_cni_that_is_seen_goes_before_one_that_is_said(cluster: Cluster) -> None:
    """CNI_TYPE that contradicts what the cluster shows is told; one about which nothing is seen counts."""
    cluster.api.put(
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"namespace": "kube-system", "name": "kube-flannel-ds"},
            "spec": {
                "selector": {"matchLabels": {"app": "flannel"}},
                "template": {
                    "metadata": {"labels": {"app": "flannel"}},
                    "spec": {"containers": [{"name": "kube-flannel", "image": "docker.io/flannel/flannel:v0.26.1"}]},
                },
            },
            "status": {
                "desiredNumberScheduled": 2,
                "numberReady": 2,
                "currentNumberScheduled": 2,
                "numberMisscheduled": 0,
            },
        }
    )
    async with cluster.controller(CNI_TYPE="calico") as running:
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: any("the cluster shows flannel" in text for text in running._problems))
        assert running.world.cluster_kinds["kubernetes"].spec.cni == "auto"


async def test_a_cni_about_which_nothing_is_seen_is_as_it_is_said(cluster: Cluster) -> None:
    """Where the cluster shows nothing of its CNI, CNI_TYPE counts."""
    async with cluster.controller(CNI_TYPE="weave") as running:
        cluster.switch()
        await until(cluster.applied)
        await until(lambda: running.world.cluster_kinds["kubernetes"].spec.cni == "weave")


def test_the_lab_api_is_what_a_real_one_is() -> None:
    """A finalizer holds an object back in the lab as it does in a cluster; the tests above rest on that."""
    api = KubeApi(tls=False)
    head = {"namespace": "kube-system", "name": "x", "finalizers": [FINALIZER]}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head})
    api.delete("ConfigMap", "x", "kube-system")
    assert api.get("ConfigMap", "x", "kube-system")["metadata"]["deletionTimestamp"]


async def test_nothing_is_applied_before_the_finalizer_is_on(cluster: Cluster) -> None:
    """A switch that we may not put our finalizer on applies nothing, and that is said; then it does."""
    cluster.api.faults.fail_next(3, verb="patch", resource="configmaps", status=403)
    async with cluster.controller() as running:
        cluster.switch()
        await until(lambda: any("does not bear our finalizer yet" in text for text in running._problems))
        assert not cluster.device.log
        await until(cluster.applied)
        assert finalizers(cluster) == [FINALIZER]


async def test_deleted_at_once(cluster: Cluster) -> None:
    """A switch that is deleted the moment something stands is an order like any other."""
    async with cluster.controller():
        cluster.switch()
        await until(lambda: bool(cluster.device.log))
        assert finalizers(cluster) == [FINALIZER]
        cluster.delete_switch()
        await until(lambda: cluster.find(SWITCH) is None)
        assert cluster.removed()

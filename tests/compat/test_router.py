"""The router's verbs, from Python and the command line, against a cluster in the lab's API."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml
from click.testing import CliRunner

from isthmus.cli import router as cli
from isthmus.compat import router
from isthmus.core import attachment
from isthmus.errors import InputError
from isthmus.model.resources import ZERO_MAC

from .rig import Cluster, node

NAME = ("kube-system", "kube-chorus-router")


def settings(cluster: Cluster, **more: str) -> dict[str, str]:
    return {
        "KUBECONFIG": str(cluster.kubeconfig),
        "NETWORK": "192.168.254.0/24",
        "VNID": "200",
        "VXLAN_PORT": "7000",
        "REMOTE_VTEPIP": "192.0.2.60",
        **more,
    }


async def test_create_builds_and_delete_takes_all_of_it_away(cluster: Cluster) -> None:
    """Every node gets its place, the ConfigMap says all; delete leaves neither; both may be said twice."""
    built = await router.create(settings(cluster))
    assert built == router.Built("kube-system/kube-chorus-router", ("n1", "n2"))
    found = cluster.find(NAME)
    assert found is not None
    assert found["data"]["EndpointIP"] == "192.168.254.254"
    assert found["data"]["Interface-192.0.2.101"] == "192.168.254.1"
    writes = cluster.api.faults.writes
    assert await router.create(settings(cluster)) == built
    assert cluster.api.faults.writes == writes
    gone = await router.delete(settings(cluster))
    assert gone.nodes == ("n1", "n2")
    assert cluster.find(NAME) is None
    assert cluster.attached() == []
    assert (await router.delete(settings(cluster))).nodes == ()


async def test_nodes_flood_to_an_endpoint_whose_mac_nobody_knows(cluster: Cluster) -> None:
    """The endpoint's MAC is not known, so nodes are told the zero MAC and the export says none."""
    await router.create(settings(cluster))
    annotations = cluster.api.get("Node", "n1")["metadata"]["annotations"]
    (peer,) = attachment.parse(annotations[attachment.annotation(NAME[1])]).peers
    assert (peer.mac, str(peer.vtep), [str(a) for a in peer.addresses]) == (
        ZERO_MAC,
        "192.0.2.60",
        ["192.168.254.254"],
    )
    (document,) = await router.export(settings(cluster))
    assert json.loads(document["data"]["overlay.json"])["endpoints"][0]["mac"] is None


async def test_export_writes_nothing_and_is_what_is_published(cluster: Cluster) -> None:
    """What is printed is, byte for byte, what stands in the ConfigMap; before anything is built it has no nodes."""
    (empty,) = await router.export(settings(cluster))
    assert not [key for key in empty["data"] if key.startswith("Node-")]
    assert cluster.api.faults.writes == 0
    await router.create(settings(cluster))
    (document,) = await router.export(settings(cluster))
    found = cluster.find(NAME)
    assert found is not None
    assert document["data"] == found["data"]
    assert document["metadata"] == {"namespace": "kube-system", "name": "kube-chorus-router"}


async def test_another_node_keeps_the_places_of_the_others(cluster: Cluster) -> None:
    """A second create gives a node that came meanwhile its place, and nobody another one."""
    await router.create(settings(cluster))
    first = (cluster.find(NAME) or {})["data"]
    cluster.api.put(node(3))
    built = await router.create(settings(cluster))
    assert built.nodes == ("n1", "n2", "n3")
    after = (cluster.find(NAME) or {})["data"]
    assert {key: after[key] for key in first if key != "overlay.json"} == {
        key: text for key, text in first.items() if key != "overlay.json"
    }


async def test_a_network_that_is_too_small_says_who_waits(cluster: Cluster) -> None:
    """Two addresses are one for the device and one for a node; the other node waits and is named."""
    built = await router.create(settings(cluster, NETWORK="192.168.254.0/30"))
    assert built.nodes == ("n1",)
    assert len(built.waiting) == 1
    assert "too small" in built.waiting[0]


async def test_everything_that_is_wrong_is_one_error(cluster: Cluster) -> None:
    """From Python, too, all that is wrong with the variables is told at once, before the cluster is asked."""
    with pytest.raises(InputError) as caught:
        await router.create(settings(cluster, VNID="0", NETWORK="nonsense"))
    assert "VNID" in str(caught.value)
    assert "NETWORK" in str(caught.value)
    assert cluster.api.faults.writes == 0


async def test_the_command_line(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same verbs with options, which go before the variables; the exit code says how it ended."""
    for name, text in settings(cluster, NETWORK="10.9.9.0/24").items():
        monkeypatch.setenv(name, text)

    def run(*arguments: str) -> tuple[object, str]:
        result = CliRunner().invoke(cli.command, arguments, standalone_mode=False)
        assert result.exception is None, result.exception
        return result.return_value, result.output

    code, said = await asyncio.to_thread(run, "create", "--network", "192.168.254.0/24")
    assert (code, said) == (0, "2 nodes are on the overlay; ConfigMap kube-system/kube-chorus-router describes it\n")
    code, said = await asyncio.to_thread(run, "export", "--network", "192.168.254.0/24")
    assert yaml.safe_load(said)["data"]["EndpointIP"] == "192.168.254.254"
    code, said = await asyncio.to_thread(run, "export", "--network", "192.168.254.0/24", "--json")
    assert json.loads(said)[0]["kind"] == "ConfigMap"
    code, said = await asyncio.to_thread(run, "delete", "--network", "192.168.254.0/24")
    assert code == 0
    assert cluster.attached() == []
    code, said = await asyncio.to_thread(run, "create", "--vni", "0", "--port", "8472")
    assert code == 1
    assert "VNID" in said
    assert "VXLAN_PORT" in said

"""The known defects of the older systems, one named test each: what they did wrong cannot happen here.

The numbers are those of the list of defects that this project began with; 14, 15, 18 and 19 are of other parts.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from app.home.rig import Place, holds, place, service
from app.home.test_two_controllers import elected
from drivers.netscaler.nitro.rig import Given as Credentials
from drivers.netscaler.nitro.rig import appliance, options, talking
from drivers.netscaler.nitro.test_pair import two
from isthmus.compat.environment import read
from isthmus.core import attachment
from isthmus.drivers.netscaler.nitro import Meaning
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.errors import DeviceRefused, DeviceUnreachable
from isthmus.kube import informer as informer_module
from isthmus.kube import pace
from isthmus.lab.nitro import serving
from isthmus.model.facts import DeviceFacts, Interface

from .rig import EXPORT, OLD, Cluster, adc, node, until

ROOT = Path(__file__).parents[2]


def exported(cluster: Cluster) -> dict[str, str]:
    """Return the router's ConfigMap as it stands, empty if there is none."""
    return dict((cluster.find(EXPORT) or {"data": {}})["data"])


def routes(cluster: Cluster) -> dict[str, str]:
    """Return the ADC's routes: prefix and next hop."""
    found = [one for key, one in cluster.device.resources.items() if key.startswith("route ")]
    return {str(one.prefix): str(one.via) for one in found}  # type: ignore[union-attr]


def moved(number: int, address: str, pods: str, **metadata: object) -> dict[str, object]:
    """Return a Node with another address and pod CIDR than it had."""
    made = node(number, **metadata)
    made["spec"] = {"podCIDR": pods, "podCIDRs": [pods]}
    made["status"] = {"addresses": [{"type": "InternalIP", "address": address}]}
    return made


async def test_defect_01_changed_values_of_a_known_node_are_followed(cluster: Cluster) -> None:
    """A node with another MAC, another address and another pod CIDR is known by the new ones everywhere."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        fdb = next(key for key in cluster.device.resources if key.endswith("192.0.2.102"))
        found = cluster.api.get("Node", "n2")
        key = next(key for key in found["metadata"]["annotations"] if key.startswith("isthmus.dev/overlay."))
        said = json.loads(found["metadata"]["annotations"][key])
        said["mac"] = "02:aa:bb:cc:dd:ee"
        found["metadata"]["annotations"][key] = json.dumps(said)
        cluster.api.put(found)
        await until(lambda: exported(cluster).get("Mac-192.0.2.102") == "02:aa:bb:cc:dd:ee")
        found["status"] = {"addresses": [{"type": "InternalIP", "address": "192.0.2.77"}]}
        cluster.api.put(found)
        await until(lambda: "Node-192.0.2.77" in exported(cluster) and "Node-192.0.2.102" not in exported(cluster))
        await until(lambda: fdb not in cluster.device.resources and "192.0.2.77" in str(cluster.device.resources))
        cluster.api.delete("Node", "n2")
        await until(lambda: "10.244.2.0/24" not in routes(cluster))
        cluster.api.put(moved(2, "192.0.2.77", "10.244.99.0/24"))
        await until(lambda: "10.244.99.0/24" in routes(cluster))
        await until(lambda: exported(cluster).get("CNI-192.0.2.77") == "10.244.99.0/24")


async def test_defect_02_no_route_goes_before_another_comes(cluster: Cluster) -> None:
    """A resync writes nothing, and a route whose next hop changes is changed, never deleted and made again."""
    async with cluster.controller() as running:
        cluster.switch()
        await until(cluster.applied)
        writes = cluster.device.writes
        for _ in range(3):
            running._look_at_everything()
            await asyncio.sleep(0.1)
        assert cluster.device.writes == writes
        found = cluster.api.get("Node", "n2")
        key = next(key for key in found["metadata"]["annotations"] if key.startswith("isthmus.dev/overlay."))
        said = json.loads(found["metadata"]["annotations"][key])
        said["addresses"] = ["172.16.3.200/24"]
        found["metadata"]["annotations"][key] = json.dumps(said)
        cluster.api.put(found)
        await until(lambda: routes(cluster)["10.244.2.0/24"] == "172.16.3.200")
        steps = [one for one in cluster.device.log[writes:] if one.identity == "route 10.244.2.0/24"]
        assert [one.before is not None and one.after is not None for one in steps] == [True]


async def test_defect_03_a_restart_leaves_configmap_and_routes(cluster: Cluster) -> None:
    """The ConfigMap is the same object at the same version after restarts, also hard ones, and no route was touched."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        await asyncio.sleep(0.3)
    before, writes = cluster.find(EXPORT), cluster.device.writes
    for _ in range(2):
        async with cluster.controller():
            await until(lambda: cluster.older is not None and cluster.older.state == "on")
            await holds(lambda: cluster.find(EXPORT) == before and cluster.device.writes == writes, 0.4)


async def test_defect_04_addresses_are_no_matter_of_order(cluster: Cluster) -> None:
    """Who has which overlay address is kept on the node: neither the order of events nor a restart moves one."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        cluster.api.put(node(3))
        await until(lambda: "Interface-192.0.2.103" in exported(cluster))
    before = {key: text for key, text in exported(cluster).items() if key.startswith("Interface-")}
    cluster.api.delete("Node", "n1")
    cluster.api.put(node(0))
    async with cluster.controller():
        await until(lambda: "Interface-192.0.2.100" in exported(cluster))
        await until(lambda: "Interface-192.0.2.101" not in exported(cluster))
        after = exported(cluster)
        assert {key: after[key] for key in before if "101" not in key} == {
            key: text for key, text in before.items() if "101" not in key
        }
        assert after["EndpointIP"] == "172.16.3.254"


@pytest.mark.parametrize("length", [8, 9, 15, 16, 17, 20, 23, 24, 25, 26, 27, 29])
async def test_defect_05_addresses_are_right_for_every_prefix_length(cluster: Cluster, length: int) -> None:
    """Device and nodes get distinct addresses inside the network, neither its first nor its last one."""
    network = ip_network(f"100.72.131.200/{length}", strict=False)
    async with cluster.controller(NETWORK=str(network)):
        cluster.switch()
        await until(cluster.applied)
    data = exported(cluster)
    own = [ip_address(data["EndpointIP"]), *(ip_address(data[f"Interface-192.0.2.10{n}"]) for n in (1, 2))]
    assert len(set(own)) == 3
    for address in own:
        assert address in network
        assert address not in (network.network_address, network.broadcast_address)
    assert own[0] == network.broadcast_address - 1


async def test_defect_06_routes_have_no_host_bits_and_a_mask(cluster: Cluster) -> None:
    """A pod CIDR that is published with host bits, or without a length, is a network here, or is named and left out."""
    cluster.api.put(node(7, annotations={"isthmus.dev/pod-cidrs": "10.250.7.1/24"}))
    cluster.api.put(node(8, annotations={"isthmus.dev/pod-cidrs": "10.250.8.0/, 10.250.9.0/33, nonsense"}))
    async with cluster.controller(NETWORK="172.16.3.254/24"):
        cluster.switch()
        await until(lambda: {"10.244.7.0/24", "10.244.8.0/24"} <= routes(cluster).keys())
        await until(lambda: "Interface-192.0.2.108" in exported(cluster))
        await asyncio.sleep(0.2)
        for prefix in routes(cluster):
            assert ip_network(prefix, strict=True).prefixlen == 24
        assert not [prefix for prefix in routes(cluster) if prefix.startswith(("10.250.8", "10.250.9", "0."))]
        assert exported(cluster)["Interface-192.0.2.102"].startswith("172.16.3.")


async def test_defect_07_cleaning_up_needs_no_helper(cluster: Cluster) -> None:
    """Everything is removed although the ConfigMap of the export and a node's annotation are gone by somebody's hand."""
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        await asyncio.sleep(0.2)
    cluster.api.delete("ConfigMap", EXPORT[1], EXPORT[0])
    found = cluster.api.get("Node", "n1")
    found["metadata"]["annotations"] = {}
    cluster.api.put(found)
    cluster.delete_switch()
    async with cluster.controller():
        await until(lambda: cluster.find(("kube-system", OLD_SWITCH)) is None)
        assert cluster.removed()


OLD_SWITCH = "citrix-node-controller"


@pytest.fixture
async def home(tmp_path: Path, brisk: None) -> AsyncIterator[Place]:
    async with place(tmp_path) as made:
        made.join()
        yield made


def shown(home: Place, name: str) -> str:
    """Return the address that a Service's status shows, empty if none."""
    found = home.api.get("Service", name).get("status") or {}
    return next((one["ip"] for one in found.get("loadBalancer", {}).get("ingress") or []), "")


async def test_defect_08_no_vip_twice_and_no_range_wrong_for_ever(home: Place) -> None:
    """Restarts give no address twice, reserved ones to nobody, a failed write loses none, a corrected range is used."""
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/33"]})
    home.put("VirtualIP", "198.51.100.1", {"address": "198.51.100.1", "reservation": True})
    home.api.put(service("web"))
    async with home.controller():
        await until(lambda: home.routes() != [])
        await holds(lambda: not shown(home, "web"), 0.2)
        home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/29"]})
        await until(lambda: shown(home, "web") == "198.51.100.0")
    home.api.put(service("late"))
    home.api.faults.fail_next(2, verb="create", resource="virtualips", status=500)
    async with home.controller():
        await until(lambda: shown(home, "late") == "198.51.100.2", what=lambda: shown(home, "late"))
        assert shown(home, "web") == "198.51.100.0"
    holders = [one["spec"].get("holder") for one in home.api.list("VirtualIP")]
    assert len({json.dumps(one) for one in holders}) == len(holders) == 3


async def test_defect_09_a_deleted_vip_moves_nobody(home: Place) -> None:
    """The claim of a living Service that somebody deletes is made again, and the Service keeps its address."""
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})
    home.api.put(service("web"))
    async with home.controller():
        await until(lambda: shown(home, "web") == "198.51.100.0")
        home.api.put(service("shop"))
        await until(lambda: shown(home, "shop") == "198.51.100.1")
        before = home.find("VirtualIP", "198.51.100.0")
        home.api.delete("VirtualIP", "198.51.100.0")
        await until(lambda: home.find("VirtualIP", "198.51.100.0") not in (None, before))
        assert shown(home, "web") == "198.51.100.0"


async def test_defect_10_every_answer_is_read(cluster: Cluster) -> None:
    """Errors in bodies of any HTTP status are errors, unknown statuses no success, and no read error means "gone"."""
    async with talking() as rig:
        rig.device.faults.refuse_item(1, code=257)
        made = await rig.nitro.add(
            "nsip", [{"ipaddress": f"192.0.2.{n}", "netmask": "255.255.255.0"} for n in (1, 2, 3)]
        )
        assert [one.done for one in made] == [True, False, True]
        (again,) = await rig.nitro.add("nsip", [{"ipaddress": "192.0.2.1", "netmask": "255.255.255.0"}])
        assert again.error is not None
        assert again.error.meaning is Meaning.EXISTS
    async with cluster.controller():
        cluster.switch()
        await until(cluster.applied)
        writes = cluster.device.writes
        cluster.api.faults.fail_next(20, verb="*", resource="nodes", status=500)
        cluster.api.close_watches(abrupt=True)
        await holds(lambda: cluster.device.writes == writes and cluster.applied(), 0.6)


async def test_defect_11_two_writers_do_not_fight(home: Place) -> None:
    """Of two controllers one writes; the changes on a device are of one epoch after the other, never in turns."""
    async with home.controller(turn=elected(home, "a")), home.controller(turn=elected(home, "b")):
        await until(lambda: len(home.routes()) == 3)
        home.api.put(node(4))
        await until(lambda: len(home.routes()) == 4)
        epochs = home.epochs["gw1"]
        assert epochs == sorted(epochs)
        assert len(set(epochs)) == 1


async def test_defect_12_saved_and_failed_over() -> None:
    """What was changed is saved and there after a reboot; a pair's new primary gets the next change."""
    async with talking(saveAfter="0s") as rig:
        (made,) = await rig.nitro.add("vxlan", [{"id": 300}])
        assert made.done
        async with asyncio.timeout(5):
            while rig.device.config.changed:
                await asyncio.sleep(0.01)
        rig.device.reboot()
        assert [row["id"] for row in await rig.nitro.get("vxlan")] == ["300"]
    async with two() as pair:
        pair.fail_over()
        (made,) = await pair.nitro.add("vxlan", [{"id": 301}])
        assert made.done
        assert pair.nitro.session[0] == pair.urls[1]


async def test_defect_13_nothing_spins_hangs_or_dies(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """In sync nobody is asked all the time; an ADC that does not answer is given up in time; malformed input is said."""
    monkeypatch.setattr(informer_module, "Timing", pace.Timing)  # the pace of a real controller
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections and never says a word
    host, port = silent.getsockname()[:2]
    nitro = Nitro("adc1", options(f"http://{host}:{port}", timeout="1s"), Credentials())
    began = time.monotonic()
    with pytest.raises(DeviceUnreachable):
        await nitro.open()
    assert time.monotonic() - began < 10
    await nitro.close()
    silent.close()
    cluster.api.put(node(9, annotations={"isthmus.dev/pod-cidrs": "not a network"}))
    broken = node(10, annotations={"isthmus.dev/overlay.citrix-node-controller": '{"addresses": "x"'})
    cluster.api.put(broken)
    async with cluster.controller() as running:
        cluster.switch({"tolerations.json": "]["})
        await until(lambda: any("tolerations.json" in text for text in running._problems))
        cluster.switch({})
        await until(lambda: {"10.244.1.0/24", "10.244.2.0/24"} <= routes(cluster).keys())
        await asyncio.sleep(0.5)
        before, observed = sum(cluster.api.faults.requests.values()), cluster.device.observes
        await asyncio.sleep(1.0)
        assert sum(cluster.api.faults.requests.values()) - before <= 10
        assert cluster.device.observes - observed <= 3
    found = read({**OLD, "NETWORK": "\x1b[2J", "VNID": "\ud800", "KUBECONFIG": "/nonexistent"}, {"netscaler"})
    assert len(found.problems) >= 3


async def test_defect_16_tls_is_on_and_nothing_is_leaked_or_executed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown certificate gets no password; none is in logs, objects or annotations; text from a cluster stays text."""
    device = appliance()
    async with serving(device, tls=True) as endpoint:
        nitro = Nitro("adc1", options(endpoint.url, plainHttp=False), Credentials())
        with pytest.raises((DeviceRefused, DeviceUnreachable)):
            await nitro.open()
        await nitro.close()
        assert not device.faults.requests
    evil = '{"addresses":["172.16.3.9/24"],"mac":"$(reboot)","vni":300,"port":3267,"mtu":1450}'
    with pytest.raises(ValueError, match="is not the MAC address"):
        attachment.parse(evil)
    cluster.api.put(node(6, annotations={"isthmus.dev/overlay.citrix-node-controller": evil}))
    with capture_logs() as logs:
        async with cluster.controller():
            cluster.switch()
            await until(cluster.applied)
            await until(lambda: "Mac-192.0.2.106" in exported(cluster))
    everything = f"{logs} {cluster.api.list('ConfigMap')} {cluster.api.list('Node')} {cluster.device.resources}"
    assert "planted" not in everything
    assert "$(reboot)" not in f"{exported(cluster)} {cluster.device.resources}"
    for path in sorted((ROOT / "deploy").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            text = json.dumps(document)
            assert '"privileged": true' not in text, path
            assert '"ALL"' not in text or '"drop": ["ALL"]' in text, path


async def test_defect_17_both_families_and_the_mtu_there_is(cluster: Cluster) -> None:
    """IPv6 beside IPv4, an MTU that is worked out from the device's interface, and the tunnel end that was said."""
    big = Interface("10/1", "02:00:00:00:00:08", 9000, (ip_interface("192.0.2.50/24"),))
    small = Interface("0/1", "02:00:00:00:00:07", 1500, (ip_interface("10.0.0.10/24"),))
    cluster.device = adc()
    cluster.device.facts = DeviceFacts((small, big), cluster.device.facts.traits)
    for number in (1, 2):
        made = node(number)
        made["spec"] = {
            "podCIDR": f"10.244.{number}.0/24",
            "podCIDRs": [f"10.244.{number}.0/24", f"fd00:244:{number}::/64"],
        }
        cluster.api.delete("Node", f"n{number}")
        cluster.api.put(made)
    async with cluster.controller(NETWORK="172.16.3.0/24,fd00:16::/64"):
        cluster.switch()
        await until(lambda: len(routes(cluster)) == 4)
        await until(lambda: "Node-192.0.2.102" in exported(cluster))
        assert routes(cluster)["fd00:244:1::/64"].startswith("fd00:16::")
        document = json.loads(exported(cluster)["overlay.json"])
        assert document["mtu"] == 8950
        assert document["endpoints"][0]["vtep"] == "192.0.2.50"
        assert document["endpoints"][0]["overlay"] == ["172.16.3.254/24", "fd00:16::ffff:ffff:ffff:ffff/64"]
        assert document["nodes"][0]["podCIDRs"] == ["10.244.1.0/24", "fd00:244:1::/64"]

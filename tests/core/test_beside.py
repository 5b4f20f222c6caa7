"""What a cluster's CNI means for our own tunnel and routes: its port, what its nodes carry, by which card they are met."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import msgspec
import pytest

from core.rig import Rig, node
from isthmus.core import attachment
from isthmus.core.attachment import Attachment, Peer
from isthmus.core.beside import carried
from isthmus.core.cni import Decision, Finding
from isthmus.core.ground import Ground
from isthmus.core.overlay_addresses import OverlayAddresses
from isthmus.core.paths.overlay import node_side
from isthmus.kube.publishing import read
from isthmus.model.facts import DeviceFacts, Interface
from isthmus.model.resources import ZERO_MAC, FdbEntry, Neighbor, Route, SourceAddress, Tunnel


def with_cni(rig: Rig, name: str, **said: Any) -> Rig:
    """Have the rig's cluster certainly have that CNI."""
    finding = Finding(name, sure=True, mode=said.pop("mode", ""), seen=(), **said)
    rig.world.view("east").homes.decision = Decision(name, "certain", finding.mode, "", (finding,))
    rig.world.view("east").homes.as_assigned = True
    return rig


def overlay_rig(**overlay: Any) -> Rig:
    """Return a rig with an overlay and one node that is not attached yet."""
    rig = Rig("overlay", link={"overlay": {"networks": ["10.200.0.0/24"], **overlay}})
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"))
    rig.world.device_addresses["lab", "gw"] = (ip_interface("10.200.0.254/24"),)
    return rig


def tunnel_mtu(rig: Rig) -> int:
    """Return the MTU of the tunnel that is wanted."""
    plan = rig.full()
    (found,) = [change.after for change in plan.changes if isinstance(change.after, Tunnel)]
    return found.mtu


@pytest.mark.parametrize(
    ("said", "mtu"),
    [
        ({}, 1450),
        ({"tunnels": ("vxlan",), "mtu": 1410}, 1410),
        ({"tunnels": ("ipip", "none"), "mtu": 1440}, 1410),
        ({"tunnels": ("none",), "mtu": 1460}, 1410),
        ({"tunnels": ("vxlan",), "mtu": 8951}, 1450),
        ({"tunnels": (), "mtu": 1410}, 1450),
        ({"tunnels": ("none",), "mtu": 1300}, 1280),
        ({"tunnels": ("none",), "mtu": 900}, 1450),
    ],
)
def test_the_overlay_is_no_wider_than_what_nodes_send_each_other(said: dict[str, Any], mtu: int) -> None:
    """Pods' MTU and what the CNI's tunnel adds pass between nodes; that is all that is known, and never below IPv6's."""
    assert tunnel_mtu(with_cni(overlay_rig(), "calico", **said)) == mtu


def test_what_a_person_says_goes_before_what_is_published() -> None:
    """spec.overlay.mtu is taken as it is."""
    assert tunnel_mtu(with_cni(overlay_rig(mtu=1400), "calico", tunnels=("vxlan",), mtu=1300)) == 1400


def test_ovn_says_more_than_its_tunnel_adds() -> None:
    """OpenShift gives OVN's pods 100 bytes less than its nodes have."""
    rig = with_cni(overlay_rig(), "ovn-kubernetes", tunnels=("geneve",), mtu=1400)
    assert carried(rig.world.view("east")) == 1500
    assert carried(Rig().world.view("east")) is None


def test_the_cnis_port_is_refused_and_named() -> None:
    """Neither the device nor a node gets a tunnel on the port of the CNI, also where that is an unusual one."""
    rig = with_cni(overlay_rig(port=4790), "calico", mode="vxlan Always", port=4790)
    plan = rig.full()
    assert plan.empty
    refused = {refusal.reason: refusal for refusal in plan.refusals}
    assert (
        refused["PortTaken"].message == "UDP port 4790 is that of calico (vxlan Always) on the nodes of cluster east"
    )
    assert "spec.overlay.port" in refused["PortTaken"].remedy
    ground = Ground(rig.world, rig.world.links["lab"], rig.world.devices["gw"], rig.planner.facts)
    found = OverlayAddresses(rig.world, "lab").attachment(ground, rig.world.view("east").nodes["n1"], [ground])
    assert isinstance(found, str)
    assert found.startswith("UDP port 4790 is that of calico")


def test_what_stands_on_the_port_already_stays() -> None:
    """An overlay that was made before the CNI was known must have worked: it is told, and not torn down."""
    rig = overlay_rig(port=4790)
    ground = Ground(rig.world, rig.world.links["lab"], rig.world.devices["gw"], rig.planner.facts)
    found = OverlayAddresses(rig.world, "lab").attachment(ground, rig.world.view("east").nodes["n1"], [ground])
    assert isinstance(found, Attachment)
    annotations = {attachment.annotation("lab"): found.render()}
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24", annotations=annotations))
    rig.settle()
    with_cni(rig, "calico", port=4790)
    plan = rig.full()
    assert plan.empty
    assert {refusal.reason for refusal in plan.refusals} == {"PortTaken"}


def test_calicos_own_port_is_read() -> None:
    """A FelixConfiguration says which port its VXLAN has."""
    rig = Rig()
    daemon_set = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {
            "template": {
                "spec": {"initContainers": [{"name": "install-cni"}], "containers": [{"name": "calico-node"}]}
            }
        },
    }
    head = {"apiVersion": "crd.projectcalico.org/v1"}
    pool = {"metadata": {"name": "p"}, "spec": {"cidr": "10.42.0.0/16", "vxlanMode": "Always"}}
    felix = {"metadata": {"name": "default"}, "spec": {"vxlanPort": 4799, "vxlanVNI": 9}}
    objects = [daemon_set, {**head, "kind": "IPPool", **pool}, {**head, "kind": "FelixConfiguration", **felix}]
    rig.world.put_published("east", read(objects))
    found = rig.world.view("east").cni
    assert found is not None
    assert (found.networks[0].port, found.networks[0].vni) == (4799, 9)


def test_direct_takes_the_card_that_is_on_the_segment() -> None:
    """Calico reaches the node by another address than its InternalIP; the one on the device's segment is the next hop."""
    rig = Rig("direct")
    rig.kind("KubeCluster", "east", {"inCluster": True, "podCIDRs": "nodes"})
    rig.world.tell_network("east")
    calico = {"projectcalico.org/IPv4Address": "192.0.2.21/24"}
    rig.world.put_published(
        "east",
        read([{"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool", "metadata": {"name": "p"}, "spec": {}}]),
    )
    rig.put(node("two", "203.0.113.5", "10.244.1.0/24", annotations=calico))
    rig.put(node("both", ("192.0.2.12", "203.0.113.6"), "10.244.2.0/24"))
    rig.put(node("none", "203.0.113.7", "10.244.3.0/24"))
    plan = rig.full()
    routes = {
        str(change.after.prefix): change.after.via for change in plan.changes if isinstance(change.after, Route)
    }
    assert routes == {"10.244.1.0/24": ip_address("192.0.2.21"), "10.244.2.0/24": ip_address("192.0.2.12")}
    assert [refusal.reason for refusal in plan.refusals] == ["NotOnSegment"]


@pytest.mark.parametrize(("card", "mtu"), [(9000, 1450), (1500, 1450), (1400, 1350)])
def test_a_nodes_end_fits_through_its_own_card(card: int, mtu: int) -> None:
    """A node with a narrower card than the others has a narrower tunnel, and says so to whoever sends through it."""
    attached = Attachment((ip_interface("10.200.0.1/24"),), "02:00:00:00:00:05", 7700, 7700, 1450)
    facts = DeviceFacts((Interface("eth0", mtu=card, addresses=(ip_interface("192.0.2.11/24"),)),))
    (found,) = [one for one in node_side(attached, ip_address("192.0.2.11"), facts) if isinstance(one, Tunnel)]
    assert found.mtu == mtu


def test_a_peer_whose_mac_nobody_knows_is_asked_for() -> None:
    """A node floods to such a peer and has no neighbor for it; for NDP it gets the link-local address of its own MAC."""
    peer = Peer("a10", ip_address("192.0.2.60"), ZERO_MAC, (ip_address("10.200.0.254"), ip_address("fd00:200::ff")))
    addresses = (ip_interface("10.200.0.1/24"), ip_interface("fd00:200::1/64"))
    attached = Attachment(addresses, "02:00:00:00:00:05", 7700, 7700, 1450, (peer,))
    facts = DeviceFacts((Interface("eth0", addresses=(ip_interface("192.0.2.11/24"),)),))
    found = node_side(attached, ip_address("192.0.2.11"), facts)
    assert FdbEntry("isth7700", ZERO_MAC, ip_address("192.0.2.60")) in found
    assert SourceAddress(ip_interface("fe80::ff:fe00:5/64"), "isth7700") in found
    assert not [one for one in found if isinstance(one, Neighbor)]
    told = msgspec.structs.replace(attached, peers=(msgspec.structs.replace(peer, mac="02:00:5e:10:00:02"),))
    known = node_side(told, ip_address("192.0.2.11"), facts)
    assert len([one for one in known if isinstance(one, Neighbor)]) == 2
    assert not [one for one in known if isinstance(one, SourceAddress) and one.address.is_link_local]

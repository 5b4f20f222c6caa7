"""Overlay addresses: unique, stable, and right for every prefix length (contracts F4 and F5: the old ones were not)."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.core import attachment
from isthmus.core.attachment import Attachment
from isthmus.core.desire import grounds
from isthmus.core.overlay_addresses import OverlayAddresses, device_addresses, usable
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPNetwork

from .rig import Rig, node

LENGTHS = [f"10.0.0.0/{length}" for length in range(8, 31)] + [f"fd00::/{length}" for length in range(48, 127)]
KEY = attachment.annotation("lab")


class Overlay:
    """One overlay link with its nodes, whose annotations are written as the controller writes them."""

    def __init__(self, *networks: str, devices: tuple[str, ...] = ("gw",)) -> None:
        overlay = {"networks": list(networks)}
        self.rig = Rig("overlay", link={"overlay": overlay, "devices": list(devices)})
        for device in devices:
            self.rig.kind("EdgeDevice", device, {"driver": "memory"})
        self.link = self.rig.world.links["lab"]
        # One node makes the device's tunnel end known; it takes part like any other.
        self.put(node("n0", ["192.0.2.10", "2001:db8::10"], "10.244.0.0/24"))
        given = device_addresses(self.link, {})
        for device, addresses in given.items():
            self.rig.world.device_addresses["lab", device] = addresses
        self.addresses = OverlayAddresses(self.rig.world, "lab")

    def put(self, facts: NodeFacts | None, name: str = "") -> None:
        self.rig.world.put_node("east", facts.name if facts is not None else name, facts)

    def ask(self, facts: NodeFacts) -> Attachment | str:
        ground = [grounds(self.rig.world, device, self.rig.driver.facts)["lab"] for device in self.link.spec.devices]
        return self.addresses.attachment(ground[0], facts, ground)

    def attach(self, facts: NodeFacts) -> NodeFacts:
        """Assign, write the annotation and hear of it; return the node as it is then."""
        found = self.ask(facts)
        assert isinstance(found, Attachment), found
        written = msgspec.structs.replace(facts, annotations={KEY: found.render()})
        self.addresses.learn(facts.name, written)
        return written


def reserved(network: IPNetwork) -> set[int]:
    """Return the network address, and of IPv4 the broadcast address."""
    edges = {int(network.network_address)}
    return edges | {int(network.broadcast_address)} if network.version == 4 else edges


@pytest.mark.parametrize("text", LENGTHS)
def test_every_prefix_length(text: str) -> None:
    """Devices are at the upper end, nodes at the lower, all inside the network and none on its edges."""
    network = ip_network(text)
    overlay = Overlay(text, devices=("gw", "gx") if network.num_addresses > 8 else ("gw",))
    device = [a for own in overlay.rig.world.device_addresses.values() for a in own]
    first, last = usable(network)
    assert int(device[0].ip) == last
    room = min(5, last - first + 1 - len(device))
    found = [attachment.parse(overlay.attach(node(f"n{i}")).annotations[KEY]) for i in range(room)]
    every = [address.ip for address in device] + [a.ip for one in found for a in one.addresses]
    assert len(set(every)) == len(every), "nobody shares"
    assert all(ip in network and int(ip) not in reserved(network) for ip in every)
    assert all(a.network == network for one in found for a in one.addresses), "with the network's own mask"
    assert [int(one.addresses[0].ip) for one in found] == [first + i for i in range(room)], "lowest first"


@pytest.mark.parametrize("text", ["10.0.0.0/30", "10.0.0.0/29", "fd00::/126"])
def test_too_small_a_network_names_who_is_left_out(text: str) -> None:
    """A full network refuses the next node by name and goes on serving the others; a place that becomes free is given."""
    overlay = Overlay(text)
    first, last = usable(ip_network(text))
    nodes = [overlay.attach(node(f"n{i}")) for i in range(last - first)]
    late = node("late")
    for _ in range(3):
        told = overlay.ask(late)
        assert isinstance(told, str)
        assert told.startswith(f"overlay network {text} is too small: no address is left for node late (")
    assert all(overlay.attach(one) == one for one in nodes), "who has an address keeps it"
    overlay.addresses.learn(nodes[0].name, None)
    found = overlay.ask(late)
    assert isinstance(found, Attachment)
    assert int(found.addresses[0].ip) == first


def test_too_small_a_network_leaves_devices_out() -> None:
    """With more devices than addresses, the first devices of the link have one each."""
    overlay = Overlay("10.0.0.0/30", devices=("a", "b", "c"))
    assert {d: str(own[0]) for (_, d), own in overlay.rig.world.device_addresses.items()} == {
        "a": "10.0.0.2/30",
        "b": "10.0.0.1/30",
    }


def test_devices_keep_what_was_recorded() -> None:
    """A recorded address stays whatever the order of devices; one outside the network or given twice is not kept."""
    overlay = Overlay("10.0.0.0/24", devices=("a", "b", "c", "d"))
    recorded = {
        "a": (ip_interface("10.9.0.1/24"),),
        "b": (ip_interface("10.0.0.254/24"),),
        "c": (ip_interface("10.0.0.254/24"),),
        "d": (ip_interface("10.0.0.255/24"),),
        "left": (ip_interface("10.0.0.253/24"),),
    }
    nodes = {ip_address("10.0.0.252")}
    found = {device: str(own[0]) for device, own in device_addresses(overlay.link, recorded, nodes).items()}
    assert found == {"a": "10.0.0.251/24", "b": "10.0.0.254/24", "c": "10.0.0.250/24", "d": "10.0.0.249/24"}


@given(
    events=st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.sampled_from(("join", "hear", "beat", "leave", "restart"))),
        max_size=40,
    )
)
def test_any_order_of_events(events: list[tuple[str, str]]) -> None:
    """Whatever nodes do and however often the controller starts anew, nobody shares and nobody who stays moves."""
    overlay = Overlay("10.0.0.0/28", "fd00::/124")
    written: dict[str, NodeFacts] = {}
    proposed: dict[str, Attachment] = {}
    for name, event in events:
        facts = written.get(name, node(name, uid=f"{name}"))
        match event:
            case "join":
                found = overlay.ask(facts)
                if isinstance(found, str):
                    continue
                if name in written:
                    assert found.render() == facts.annotations[KEY], "what a node has stays"
                elif name in proposed:
                    assert found == proposed[name], "what was proposed stays proposed"
                proposed[name] = found
            case "hear" if name in proposed:
                written[name] = msgspec.structs.replace(facts, annotations={KEY: proposed[name].render()})
                overlay.addresses.learn(name, written[name])
            case "beat":
                overlay.addresses.learn(name, facts)
            case "leave":
                written.pop(name, None)
                proposed.pop(name, None)
                overlay.addresses.learn(name, None)
            case "restart":
                overlay.addresses = OverlayAddresses(overlay.rig.world, "lab")
                proposed = {name: attachment.parse(facts.annotations[KEY]) for name, facts in written.items()}
                for known in random.Random(len(events)).sample(sorted(written), len(written)):
                    overlay.addresses.learn(known, written[known])
        everybody = [*proposed.values()]
        addresses = [a.ip for one in everybody for a in one.addresses]
        own = [a.ip for held in overlay.rig.world.device_addresses.values() for a in held]
        assert len({*addresses, *own}) == len(addresses) + len(own), "nobody shares an address"
        assert len({one.mac for one in everybody}) == len(everybody), "nobody shares a MAC"


def test_a_proposal_stays_while_it_is_written() -> None:
    """News of a node whose annotation is still on its way does not move what was proposed, even if a lower one is free."""
    overlay = Overlay("10.0.0.0/28")
    overlay.attach(node("a"))
    proposed = overlay.ask(node("b"))
    overlay.addresses.learn("a", None)
    overlay.addresses.learn("b", node("b", labels={"zone": "x"}))
    assert overlay.ask(node("b")) == proposed


@given(st.permutations(["a", "b", "c"]))
def test_one_address_twice_is_the_older_nodes(order: list[str]) -> None:
    """Of nodes that all say they have one address and MAC the oldest keeps them, whichever was heard of first."""
    overlay = Overlay("10.0.0.0/28")
    first = overlay.attach(node("x"))
    overlay.addresses.learn("x", None)
    created = {"a": "2024-02-01T00:00:00Z", "b": "2024-01-01T00:00:00Z", "c": "2024-03-01T00:00:00Z"}
    nodes = {name: node(name, uid=name, created=created[name], annotations=first.annotations) for name in created}
    told: set[str] = set()
    for number, name in enumerate(order):
        rivals = overlay.addresses.learn(name, nodes[name])
        assert rivals == set(order[:number]), "whoever has the same place must be looked at, too"
        told |= rivals
    assert told == set(order[:2])
    found = {name: overlay.ask(nodes[name]) for name in order}
    assert all(isinstance(one, Attachment) for one in found.values())
    kept = [n for n, one in found.items() if isinstance(one, Attachment) and one.render() == first.annotations[KEY]]
    assert kept == ["b"]
    assert len({one.addresses for one in found.values() if isinstance(one, Attachment)}) == 3
    assert len({one.mac for one in found.values() if isinstance(one, Attachment)}) == 3


def test_a_devices_address_is_never_a_nodes() -> None:
    """A node whose annotation has a device's address gets another one."""
    overlay = Overlay("10.0.0.0/28")
    mine = overlay.attach(node("a"))
    text = mine.annotations[KEY].replace("10.0.0.1/28", "10.0.0.14/28")
    taken = node("a", annotations={KEY: text})
    overlay.addresses.learn("a", taken)
    found = overlay.ask(taken)
    assert isinstance(found, Attachment)
    assert str(found.addresses[0]) == "10.0.0.1/28"


def test_a_changed_network_gives_new_addresses_and_keeps_the_mac() -> None:
    """When the user moves the overlay, nodes get an address there; the MAC, which has no network, stays."""
    overlay = Overlay("10.0.0.0/28")
    had = attachment.parse(overlay.attach(node("a")).annotations[KEY])
    moved = {"networks": ["10.1.0.0/28"]}
    overlay.rig.kind(
        "ClusterLink", "lab", {"cluster": "east", "devices": ["gw"], "path": "overlay", "overlay": moved}
    )
    overlay.link = overlay.rig.world.links["lab"]
    given = device_addresses(overlay.link, {"gw": (ip_interface("10.0.0.14/28"),)})
    overlay.rig.world.device_addresses["lab", "gw"] = given["gw"]
    found = overlay.ask(node("a", annotations={KEY: had.render()}))
    assert isinstance(found, Attachment)
    assert (str(found.addresses[0]), found.mac) == ("10.1.0.1/28", had.mac)
    assert found.peers[0].addresses == (ip_address("10.1.0.14"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"addresses":[1],"mac":"02:00:00:00:00:01","vni":1,"port":1,"mtu":1}',
        '{"addresses":["x"],"mac":"02:00:00:00:00:01","vni":1,"port":1,"mtu":1}',
        '{"addresses":["10.0.0.1/33"],"mac":"02:00:00:00:00:01","vni":1,"port":1,"mtu":1}',
        '{"addresses":["10.0.0.1/24"],"mac":"ff:ff:ff:ff:ff:ff","vni":1,"port":1,"mtu":1}',
        '{"addresses":["10.0.0.1/24"],"mac":"02:00:00:00:00:01","vni":"1","port":1,"mtu":1}',
        '{"addresses":[],"mac":"02:00:00:00:00:01","vni":1,"port":1,"mtu":1,"peers":[{"device":"a","vtep":"x","mac":"","addresses":[]}]}',
    ],
)
def test_what_is_no_attachment_is_refused_with_a_reason(text: str) -> None:
    """Whatever stands in the annotation, parsing gives an attachment or a ValueError that says why."""
    with pytest.raises(ValueError, match=r".+"):
        attachment.parse(text)


def test_the_text_of_an_attachment_reads_back() -> None:
    """What is written is what is read, and a long link name still makes a key that Kubernetes takes."""
    overlay = Overlay("10.0.0.0/28", "fd00::/64")
    found = overlay.ask(node("a"))
    assert isinstance(found, Attachment)
    assert attachment.parse(found.render()) == found
    long = attachment.annotation("l" * 200), attachment.annotation("l" * 201)
    assert len(set(long)) == 2
    assert all(len(key.partition("/")[2]) <= 63 for key in long)

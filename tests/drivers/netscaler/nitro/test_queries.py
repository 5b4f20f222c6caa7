"""URLs: nothing that stands in an object's name or address gets out of its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.netscaler.nitro.rig import talking
from isthmus.drivers.netscaler.nitro.kinds import identity
from isthmus.drivers.netscaler.nitro.queries import fits, path
from isthmus.lab.nitro import queries as device

BASE = "/nitro/v1/config/"
# A percent sign in an id is decoded once more by the appliance than by anybody who wrote it; names of ours have none.
_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(
    lambda text: text.strip("/")
)


def seen(target: str) -> device.Request:
    """Return what the device makes of ``target``."""
    where, _, query = target.partition("?")
    return device.read(where, query)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (path("nsip", "192.0.2.1"), "nsip/192.0.2.1"),
        (path("interface", "1/1"), "interface/1%252F1"),
        (path("nsip6", "2001:db8::1/64"), "nsip6/2001%253Adb8%253A%253A1%252F64"),
        (path("route6", args={"network": "fd00::/8"}), "route6?args=network:fd00%3A%3A%2F8"),
        (path("bridgetable", args={"mac": "02:00:00", "vxlan": "2"}), "bridgetable?args=mac:02%3A00%3A00,vxlan:2"),
        (path("nsip", filter={"type": "SNIP"}, attrs=["ipaddress", "type"]), "nsip?filter=type:SNIP&attrs=ipaddress,type"),
        (path("nsconfig", options={"action": "save"}), "nsconfig?action=save"),
        (path("lbvserver", "a&b?c#d", view="summary"), "lbvserver/a%2526b%253Fc%2523d?view=summary"),
    ],
)  # fmt: skip
def test_the_forms(target: str, expected: str) -> None:
    """Ids are encoded twice, values of arguments once."""
    assert target == BASE + expected


@pytest.mark.parametrize("kind", ["", "../login", "nsip/x", "nsip?action=clear", "Nsip", "nsip ", "nsip\n"])
def test_a_kind_is_a_word(kind: str) -> None:
    """What is no word cannot be asked for."""
    with pytest.raises(ValueError, match="no kind"):
        path(kind)


def test_nothing_is_asked_for_without_a_value() -> None:
    """An empty name would ask for all, and an empty argument is an error of the device (seen)."""
    with pytest.raises(ValueError, match="empty name"):
        path("nsip", "")
    with pytest.raises(ValueError, match="empty argument"):
        path("arp", args={"ipaddress": ""})


@given(_TEXT)
def test_an_id_arrives(name: str) -> None:
    """The device sees the id that was meant, slashes, colons, spaces, ampersands and percent signs included."""
    asked = seen(path("lbvserver", name))
    assert (asked.resource, asked.identifier, asked.args, asked.action) == ("lbvserver", name, {}, "")


@given(st.dictionaries(st.sampled_from(["name", "vtep", "string"]), _TEXT, min_size=1), _TEXT)
def test_arguments_arrive(args: dict[str, str], wanted: str) -> None:
    """Values of arguments and filters arrive whole and add nothing to the query."""
    asked = seen(path("bridgetable", args=args, filter={"vxlan": wanted}))
    assert asked.args == args
    assert asked.filters == {"vxlan": wanted}
    assert (asked.identifier, asked.action, asked.count) == ("", "", False)


@pytest.mark.parametrize("name", ["10.0.0.1/24", "a b", "a:b,c", "50%2F", "x?action=clear&y=1", "ü"])
async def test_odd_names_on_the_wire(name: str) -> None:
    """An object with an odd name is made, read and removed by the device, and its neighbour stays."""
    async with talking() as rig:
        await rig.nitro.add("policypatset", [{"name": name}, {"name": "other"}])
        assert [row["name"] for row in await rig.nitro.get("policypatset", name)] == [name]
        await rig.nitro.add("policypatset_pattern_binding", [{"name": name, "string": name}])
        assert [row["string"] for row in await rig.nitro.get("policypatset_pattern_binding", name)] == [name]
        [unbound] = await rig.nitro.remove("policypatset_pattern_binding", [{"name": name, "string": name}])
        assert unbound.done, unbound
        [gone] = await rig.nitro.remove("policypatset", [{"name": name}])
        assert gone.done
        assert [row["name"] for row in await rig.nitro.get("policypatset")] == ["other"]


def test_a_filter_is_compared_again() -> None:
    """A value that means more as a pattern than as text lets only itself through; a pattern is the device's affair."""
    row = {"name": "a.b", "Interface": "LO/1", "on": True}
    assert fits(row, {"name": "a.b", "interface": "LO/1", "on": "true"})
    assert not fits({"name": "axb"}, {"name": "a.b"})
    assert fits({"name": "axb"}, {"name": "/a.b/"})
    assert fits({}, {"name": "a"})


def test_what_identifies_an_object() -> None:
    """Key and arguments are taken from a row as it was read; what else it holds is left out, ``all`` above all."""
    row = {"ipaddress": "10.0.0.2", "mac": "02:00:00:00:00:01", "vxlan": "2", "td": "0", "all": "true", "flags": "4"}
    assert identity("arp").of(row) == ("10.0.0.2", {"td": "0"})
    assert identity("bridgetable").of({"mac": "02:00:00:00:00:01", "vxlan": 2, "vtep": "10.0.0.1", "flags": "9"}) == (
        None,
        {"mac": "02:00:00:00:00:01", "vxlan": "2", "vtep": "10.0.0.1"},
    )
    assert identity("policypatset_pattern_binding").row({"name": "a", "String": "b", "index": 1}) == {
        "name": "a",
        "string": "b",
    }
    assert identity("nsip6").of({"ipv6address": "2001:db8::1/64", "td": ""}) == ("2001:db8::1/64", {})

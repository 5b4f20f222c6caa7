"""Reading what came over the wire: either it is exactly what it should be, or it is refused; never anything else."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.drivers.linux.remote import messages as api
from isthmus.drivers.linux.remote.typed import BadMessage, Reader
from isthmus.drivers.memory import MemoryDriver
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, Member, VirtualServer

from ..bench import everything
from .rig import FACTS

APPLY, SEEN = Reader(api.AskApply), Reader(api.Seen)
WORDS = st.sampled_from(
    [
        "epoch",
        "changes",
        "action",
        "create",
        "delete",
        "before",
        "after",
        "kind",
        "Route",
        "VirtualServer",
        "address",
        "prefix",
        "via",
        "link",
        "members",
        "port",
        "10.0.0.0/24",
        "192.0.2.1",
        "::1",
        "fe80::1%x",
        "tcp",
        "0.0.0.0",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), below, max_size=5),
    max_leaves=25,
)


def read(reader: Reader[Any], raw: bytes) -> str:
    """Return the place of what is wrong, ``$`` at least; that too where nothing is."""
    try:
        reader.read(raw)
    except BadMessage as error:
        return error.place if error.reason else ""
    return "$"


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """No bytes lead to another error."""
    assert read(APPLY, raw).startswith("$")
    assert read(SEEN, raw).startswith("$")


@given(value=JSON, after=JSON)
def test_any_json_is_read_or_refused(value: Any, after: Any) -> None:
    """Nor does any JSON, also where it looks much like what is meant."""
    assert read(APPLY, json.dumps(value).encode()).startswith("$")
    almost = {"epoch": 1, "changes": [{"action": "create", "after": after}]}
    assert read(APPLY, json.dumps(almost).encode()).startswith("$")


@pytest.mark.parametrize("resource", everything("eth0").values(), ids=lambda one: one.identity)
def test_a_resource_arrives_as_it_was_sent(resource: AnyResource) -> None:
    """Every kind, every field."""
    sent = api.spell_changes([Change("update", resource.identity, resource, resource, adopts="a route of somebody")])
    [step] = APPLY.read(api.encode(api.AskApply(1, sent))).changes
    assert step == sent[0]
    assert type(step.after) is type(resource)


@given(
    address=st.ip_addresses(),
    members=st.lists(st.builds(Member, st.ip_addresses(), st.integers(0, 2**62), st.integers(0, 10)), max_size=5),
)
def test_every_address_arrives(address: IPv4Address | IPv6Address, members: list[Member]) -> None:
    """Whatever its family and form, IPv4 inside IPv6 as well."""
    server = VirtualServer(address, "udp", 53, tuple(members))
    seen = SEEN.read(api.encode(api.Seen((server,), {"route 10.0.0.0/8": "kernel"}, FACTS, ("a", "b"))))
    assert seen.resources == (server,)
    assert seen.facts == FACTS


async def test_an_observation_arrives_as_it_was_made() -> None:
    """All of it, or the part that was asked for."""
    device = MemoryDriver(facts=FACTS, resources=everything("eth0"), foreign={"route 10.0.0.0/8": "kernel"})
    for identities in (None, ["route 10.244.11.0/24", "route 10.0.0.0/8"], []):
        made = await device.observe(identities)
        assert api.observation_of(SEEN.read(api.encode(api.seen_of(made)))) == made

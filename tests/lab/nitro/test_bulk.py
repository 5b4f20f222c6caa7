"""Several items in one request, and what is left when one of them fails."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab.nitro import Appliance, Refusal
from isthmus.lab.nitro.bulk import MODES
from isthmus.lab.nitro.queries import Request
from lab.nitro.talking import DONE, LOGIN, Nitro

ITEMS = [{"id": 1}, {"id": 2}, {"id": 2}, {"id": 3}]
TAKEN = {"errorcode": 273, "message": "Resource already exists [id, 2]", "severity": "ERROR"}
OK = {"errorcode": 0, "message": "Done", "severity": "NONE"}
BACK = {"errorcode": 1241, "message": "Rolled back", "severity": "ERROR"}


@pytest.mark.parametrize(
    ("mode", "responses", "left"),
    [
        ("exit", [OK, OK, TAKEN], ["1", "2"]),
        ("continue", [OK, OK, TAKEN, OK], ["1", "2", "3"]),
        ("rollback", [BACK, BACK, TAKEN], []),
        (None, [OK, OK, TAKEN], ["1", "2"]),
    ],
)
async def test_one_item_fails(nitro: Nitro, mode: str | None, responses: list[Any], left: list[str]) -> None:
    """207 with a response for each item tried; what stays depends on what was to happen on an error."""
    headers = LOGIN if mode is None else {**LOGIN, "X-NITRO-ONERROR": mode}
    reply = await nitro.call("POST", "vxlan", {"vxlan": ITEMS}, headers)
    assert reply.line == "207 Multi Status"
    assert reply.text.startswith('{ "errorcode": 1243, "message": "Bulk operation failed", "severity": "ERROR", ')
    assert reply.json["response"] == responses
    assert [row["id"] for row in await nitro.get("vxlan")] == left


async def test_all_items_go_well(nitro: Nitro) -> None:
    """Add, update, remove and mixed types: the plain envelope, as for one item."""
    reply = await nitro.call("POST", "vxlan", {"vxlan": [{"id": 1}, {"id": 2}]})
    assert (reply.line, reply.text) == ("201 Created", DONE)
    reply = await nitro.call("PUT", "vxlan", {"vxlan": [{"id": 1, "port": 9}, {"id": 2, "port": 9}]})
    assert (reply.line, reply.text) == ("200 OK", DONE)
    reply = await nitro.call("POST", "vxlan?action=remove", {"vxlan": [{"id": 1}, {"id": 2}]})
    assert (reply.line, reply.text) == ("200 OK", DONE)
    mixed = {"ipset": [{"name": "a"}, {"name": "b"}], "policypatset": {"name": "c"}}
    assert (await nitro.call("POST", "macroapi", mixed)).line == "201 Created"
    assert [row["name"] for row in await nitro.get("ipset")] == ["a", "b"]


async def test_rollback_is_for_adds(nitro: Nitro) -> None:
    """An update or a removal cannot be taken back, and is not begun."""
    await nitro.made("vxlan", id=1)
    headers = {**LOGIN, "X-NITRO-ONERROR": "rollback"}
    assert (await nitro.call("POST", "vxlan?action=remove", {"vxlan": [{"id": 1}]}, headers)).code == 1242
    assert len(await nitro.get("vxlan")) == 1


async def test_an_item_is_refused_by_order(nitro: Nitro, device: Appliance) -> None:
    """The fault hits one item of one bulk request; the next one goes through."""
    device.faults.refuse_item(1, code=257)
    headers = {**LOGIN, "X-NITRO-ONERROR": "continue"}
    reply = await nitro.call("POST", "vxlan", {"vxlan": [{"id": 1}, {"id": 2}, {"id": 3}]}, headers)
    assert [item["errorcode"] for item in reply.json["response"]] == [0, 257, 0]
    assert (await nitro.call("POST", "vxlan", {"vxlan": [{"id": 4}, {"id": 5}]}, headers)).line == "201 Created"


_ADDRESSES = st.sampled_from(["10.1.1.1", "10.1.1.2", "10.1.1.3"])
_MEMBERS = st.lists(
    st.fixed_dictionaries(
        {"servicegroupname": st.sampled_from(["a", "b"]), "ip": _ADDRESSES, "port": st.integers(80, 82)}
    ),
    max_size=8,
)


def _state(device: Appliance) -> tuple[Any, int]:
    return {name: dict(rows) for name, rows in device.running.tables.items() if rows}, device.running.revision


@given(before=_MEMBERS, items=_MEMBERS, mode=st.sampled_from(MODES))
def test_a_bulk_request_leaves_what_it_says(before: list[Any], items: list[Any], mode: str) -> None:
    """Rolled back, everything is as before, the servers that members make included; else all that succeeded is there."""
    device = Appliance()
    binding = "servicegroup_servicegroupmember_binding"

    def post(kind: str, value: Any, on_error: str = "continue") -> list[int]:
        answer = device.perform("POST", Request(kind), {kind: value}, token="", on_error=on_error)
        done = [0] * len(value)
        return [item["errorcode"] for item in answer.body.get("response", [])] or done

    post("servicegroup", [{"servicegroupname": name, "servicetype": "TCP"} for name in "ab"])
    post(binding, before)
    state = _state(device)
    codes = post(binding, items, mode)
    if mode == "rollback" and any(codes):
        assert _state(device) == state
    done = {(i["servicegroupname"], i["ip"], i["port"]) for i, code in zip(items, codes, strict=False) if code == 0}
    there = set(device.running.tables.get(binding, {}))
    assert done <= there
    servers = {member[1] for member in there}
    assert {key[0] for key in device.running.tables.get("server", {})} == servers
    for name in "ab":
        device.write("DELETE", f"servicegroup/{name}")
    assert not device.running.tables.get("server")
    with pytest.raises(Refusal):
        device.write("DELETE", "servicegroup/a")

"""What holds whatever is asked of the device, and in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.lab.nitro import Appliance, Refusal
from isthmus.lab.nitro import kinds as described
from isthmus.lab.nitro.answers import REASONS, Answer
from isthmus.lab.nitro.queries import Request, read
from isthmus.lab.nitro.writing import spaced

Json = dict[str, Any]
ALL = sorted(described.kinds())
ACTIONS = (
    "",
    "",
    "",
    "enable",
    "disable",
    "unset",
    "rename",
    "remove",
    "apply",
    "clear",
    "renumber",
    "send",
    "kill",
    "force",
)

_ODD = st.one_of(
    st.sampled_from(
        ["", "x", "10.1.1.1", "2001:db8::1/64", "255.255.255.0", "ENABLED", "TCP", "0a:00:00:00:00:01", "\u0661"]
    ),
    st.integers(-1, 20_000_000),
    st.sampled_from([None, True, False, 1.5, 1e300, [], ["a"], {}, {"a": 1}, 10**30, [None]]),
)


@st.composite
def _odd_requests(draw: st.DrawFn) -> tuple[str, Request, Json]:
    name = draw(
        st.sampled_from([*ALL, "macroapi", "reboot", "hafailover", "servicegroup_servicegroupmemberlist_binding"])
    )
    fields = sorted(described.kinds()[name].fields) if name in ALL else ["servicegroupname", "members", "nsip"]
    item = draw(st.dictionaries(st.sampled_from([*fields, "odd"]), _ODD, max_size=6))
    args = draw(
        st.dictionaries(st.sampled_from([field.lower() for field in fields] or ["odd"]), st.just("7"), max_size=2)
    )
    asked = Request(
        name,
        identifier=draw(st.sampled_from(["", "x", "10.1.1.1"])),
        action=draw(st.sampled_from(ACTIONS)),
        args=args,
        idempotent=draw(st.booleans()),
        bulk_bindings=draw(st.booleans()),
    )
    value: Any = draw(st.sampled_from([item, [item], [item, item], None, 5, []]))
    return draw(st.sampled_from(["GET", "POST", "PUT", "DELETE"])), asked, {name: value}


@settings(max_examples=100)
@given(st.lists(_odd_requests(), max_size=6))
def test_nonsense_is_answered(requests: list[tuple[str, Request, Json]]) -> None:
    """Whatever is asked, the answer is a body that can be written and a status with a reason: never a crash."""
    device = Appliance()
    for method, asked, body in requests:
        refused = None
        try:
            answer = device.perform(method, asked, body, token="")
        except Refusal as refusal:
            refused = refusal
            answer = Answer(refusal.status, refusal.body())
        assert answer.status in REASONS
        assert spaced(answer.body).startswith('{ "errorcode": ')
        assert (refused is None) == (answer.body["errorcode"] in (0, 1243))


@given(st.text(max_size=30), st.text(max_size=40))
def test_any_url_is_read_or_refused(path: str, query: str) -> None:
    """No URL is read as another's, none crashes the device."""
    asked = refused = None
    try:
        asked = read(f"/nitro/v1/config/{path}", query)
    except Refusal as refusal:
        refused = refusal
    assert refused is None or refused.status in REASONS
    assert asked is None or "/" not in asked.resource or "%2f" in path.lower()


ADDRESSES = ["10.1.0.1", "10.1.0.2"]
_NAME = st.sampled_from(["a", "b"])
_ADDRESS = st.sampled_from(ADDRESSES)
_ID = st.sampled_from([1, 2])
_PORT = st.sampled_from([80, 81])
_MAC = st.just("0a:00:00:00:00:01")


def _of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(fields)


_GROUP = "servicegroup_servicegroupmember_binding"
_MADE = {
    "nsip": _of(ipaddress=_ADDRESS, netmask=st.just("255.255.255.0")),
    "vxlan": _of(id=_ID),
    "vxlan_srcip_binding": _of(id=_ID, srcip=_ADDRESS),
    "vxlan_nsip_binding": _of(id=_ID, ipaddress=_ADDRESS),
    "arp": _of(ipaddress=_ADDRESS, mac=_MAC, vxlan=_ID, vtep=_ADDRESS),
    "bridgetable": _of(mac=_MAC, vxlan=_ID, vtep=_ADDRESS),
    "ipset": _of(name=_NAME),
    "ipset_nsip_binding": _of(name=_NAME, ipaddress=_ADDRESS),
    "netprofile": _of(name=_NAME, srcip=st.sampled_from([*ADDRESSES, "a"])),
    "server": _of(name=_NAME, ipaddress=_ADDRESS),
    "servicegroup": _of(servicegroupname=_NAME, servicetype=st.just("TCP"), netprofile=_NAME),
    _GROUP: _of(servicegroupname=_NAME, ip=_ADDRESS, port=_PORT),
    "lbmonitor": _of(monitorname=_NAME, type=st.just("TCP")),
    "servicegroup_lbmonitor_binding": _of(servicegroupname=_NAME, monitor_name=_NAME),
    "lbvserver": _of(
        name=_NAME, servicetype=st.just("TCP"), ipv46=st.sampled_from([*ADDRESSES, "203.0.113.1"]), port=_PORT
    ),
    "lbvserver_servicegroup_binding": _of(name=_NAME, servicegroupname=_NAME),
}
# (kind, field) -> the kinds and fields of which one must have that value
_REFERS = {
    ("vxlan_srcip_binding", "id"): [("vxlan", "id")],
    ("vxlan_srcip_binding", "srcip"): [("nsip", "ipaddress")],
    ("vxlan_nsip_binding", "id"): [("vxlan", "id")],
    ("vxlan_nsip_binding", "ipaddress"): [("nsip", "ipaddress")],
    ("arp", "vxlan"): [("vxlan", "id")],
    ("bridgetable", "vxlan"): [("vxlan", "id")],
    ("ipset_nsip_binding", "name"): [("ipset", "name")],
    ("ipset_nsip_binding", "ipaddress"): [("nsip", "ipaddress")],
    ("netprofile", "srcip"): [("nsip", "ipaddress"), ("ipset", "name")],
    ("servicegroup", "netprofile"): [("netprofile", "name")],
    (_GROUP, "servicegroupname"): [("servicegroup", "servicegroupname")],
    (_GROUP, "servername"): [("server", "name")],
    ("servicegroup_lbmonitor_binding", "servicegroupname"): [("servicegroup", "servicegroupname")],
    ("servicegroup_lbmonitor_binding", "monitor_name"): [("lbmonitor", "monitorname")],
    ("lbvserver", "ipv46"): [("nsip", "ipaddress")],
    ("lbvserver_servicegroup_binding", "name"): [("lbvserver", "name")],
    ("lbvserver_servicegroup_binding", "servicegroupname"): [("servicegroup", "servicegroupname")],
}


@st.composite
def _steps(draw: st.DrawFn) -> tuple[str, str, Json]:
    kind = draw(st.sampled_from(sorted(_MADE)))
    fields = draw(_MADE[kind])
    renamed = kind in ("server", "servicegroup", "lbvserver")
    how = draw(st.sampled_from(["add", "add", "add", "remove", "rename"] if renamed else ["add", "add", "remove"]))
    return how, kind, fields


@settings(max_examples=100)
@given(st.lists(_steps(), max_size=20))
def test_nothing_refers_to_what_is_gone(steps: list[tuple[str, str, Json]]) -> None:
    """After any adds, removals and renames every reference leads somewhere, and what is found fast is what is there."""
    device = Appliance()
    for how, kind, fields in steps:
        of = described.kinds()[kind]
        action = "" if how == "add" else how
        told = {n: v for n, v in fields.items() if how == "add" or n in (*of.identity, "ip", "type")}
        if how == "rename":
            told = {of.key: fields[of.key], "newname": "a" if fields[of.key] == "b" else "b"}
        before = {name: dict(rows) for name, rows in device.running.tables.items()}
        try:
            device.perform("POST", Request(kind, action=action), {kind: told}, token="")
        except Refusal:
            assert {name: dict(rows) for name, rows in device.running.tables.items() if name in before} == before
    running = device.running
    for (kind, field), ends in _REFERS.items():
        for row in running.table(kind).values():
            if field in row:
                assert any(running.find(end, **{word: row[field]}) for end, word in ends), (kind, field, row)
            same = [other for other in running.table(kind).values() if other.get(field) == row.get(field)]
            if field in row:
                assert sorted(map(str, running.find(kind, **{field: row[field]}))) == sorted(map(str, same))
    assert running.copy().tables == {name: rows for name, rows in running.tables.items() if rows}


@given(st.sampled_from(sorted(_MADE)).flatmap(lambda kind: st.tuples(st.just(kind), _MADE[kind])))
def test_an_add_said_again_changes_nothing(made: tuple[str, Json]) -> None:
    """With ``idempotent=yes`` the same add twice is one add."""
    kind, fields = made
    device = Appliance()
    for needed in ("nsip", "vxlan", "ipset", "netprofile", "servicegroup", "lbmonitor", "lbvserver"):
        for name, address, number in (("a", ADDRESSES[0], 1), ("b", ADDRESSES[1], 2)):
            body = {"name": name, "ipaddress": address, "id": number, "servicegroupname": name, "monitorname": name}
            extra = {"servicetype": "TCP", "type": "TCP", "netmask": "255.255.255.0", "netprofile": name}
            of = described.kinds()[needed]
            wanted = {
                n: v
                for n, v in {**body, **extra}.items()
                if n in of.required or (needed, n) == ("servicegroup", "netprofile")
            }
            device.write("POST", needed, {needed: wanted})
    try:
        device.perform("POST", Request(kind, idempotent=True), {kind: fields}, token="")
    except Refusal:
        return
    revision = device.running.revision
    if kind == _GROUP:  # told by server, not by address: a real device does not know it again either
        return
    device.perform("POST", Request(kind, idempotent=True), {kind: fields}, token="")
    assert device.running.revision == revision

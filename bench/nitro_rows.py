"""What resources come to on a NetScaler, written down without the driver: the least that anybody must send.

A ledger line for what bears no name of ours (a VXLAN, our address on it), and for the writer; then the objects, each once, in
an order in which a device takes them. It is the reference of a run, and the minimum that requests are counted against.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from bench.appliance import Step
from isthmus.model.resources import (
    AnyResource,
    FdbEntry,
    Member,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

MEMBERS = "servicegroup_servicegroupmember_binding"
_LEDGER = "isth_main_ledger"
_METHODS = {"round-robin": "ROUNDROBIN", "source-hash": "SOURCEIPHASH"}


def steps(resources: Iterable[AnyResource], *, first: bool, standing: Collection[AnyResource] = ()) -> list[Step]:
    """Return what to send for ``resources`` less those that stand there already; a save ends it.

    ``first`` says that the device has no ledger yet.
    """
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {
        ("POST", "policypatset", ""): [{"name": _LEDGER}] if first else [],
        ("PUT", "policypatset_pattern_binding", ""): [_line("writer")] if first else [],
        ("POST", "vxlan", ""): [],
        ("PUT", "vxlan_srcip_binding", ""): [],
        ("POST", "nsip", ""): [],
        ("PUT", "vxlan_nsip_binding", ""): [],
        ("POST", "bridgetable", ""): [],
        ("POST", "route", ""): [],
        ("POST", "netprofile", ""): [],
        ("POST", "servicegroup", ""): [],
        ("PUT", MEMBERS, ""): [],
        ("POST", "lbvserver", ""): [],
        ("PUT", "lbvserver_servicegroup_binding", ""): [],
        ("POST", "nsip", "?idempotent=yes"): [],
    }
    vnis: dict[str, int] = {}
    for one in sorted(resources, key=lambda resource: resource.rank):
        for step, row in _rows(one, vnis):
            if one not in standing:
                rows[step].append(row)
    found: list[Step] = [(*step, said) for step, said in rows.items() if said]
    return [*found, ("POST", "nsconfig", "?action=save", [{}])]


def _line(text: str) -> dict[str, Any]:
    return {"name": _LEDGER, "string": text}


def _rows(one: AnyResource, vnis: dict[str, int]) -> Iterable[tuple[tuple[str, str, str], dict[str, Any]]]:
    match one:
        case Tunnel():
            vnis[one.name] = one.vni
            yield ("PUT", "policypatset_pattern_binding", ""), _line(f"vxlan {one.vni}")
            yield ("POST", "vxlan", ""), {"id": one.vni, "port": one.port}
            yield ("PUT", "vxlan_srcip_binding", ""), {"id": one.vni, "srcip": str(one.local)}
        case SourceAddress():
            own, mask = str(one.address.ip), str(one.address.netmask)
            yield ("PUT", "policypatset_pattern_binding", ""), _line(f"snip {own}")
            yield ("POST", "nsip", ""), {"ipaddress": own, "netmask": mask, "type": "SNIP"}
            binding = {"id": vnis[one.link], "ipaddress": own, "netmask": mask}
            yield ("PUT", "vxlan_nsip_binding", ""), binding
        case FdbEntry():
            entry = {"mac": one.mac, "vxlan": vnis[one.tunnel], "vtep": str(one.destination)}
            yield ("POST", "bridgetable", ""), entry
        case Route():
            prefix = one.prefix
            row = {"network": str(prefix.network_address), "netmask": str(prefix.netmask), "gateway": str(one.via)}
            yield ("POST", "route", ""), row
        case SourceProfile():
            yield ("POST", "netprofile", ""), {"name": _name(one.address), "srcip": str(one.address)}
        case VirtualServer():
            yield from _server(one)
        case VirtualAddress():
            row = {"ipaddress": str(one.address), "netmask": "255.255.255.255", "type": "VIP"}
            yield ("POST", "nsip", "?idempotent=yes"), row


def _server(one: VirtualServer) -> Iterable[tuple[tuple[str, str, str], dict[str, Any]]]:
    name, kind = f"{_name(one.address)}_{one.port}_{one.protocol}", one.protocol.upper()
    profile = {"netprofile": _name(one.source)} if one.source is not None else {}
    yield ("POST", "servicegroup", ""), {"servicegroupname": name, "servicetype": kind, **profile}
    for member in one.members:
        yield ("PUT", MEMBERS, ""), _member(name, member)
    server = {"name": name, "servicetype": kind, "ipv46": str(one.address), "port": one.port}
    yield ("POST", "lbvserver", ""), {**server, "lbmethod": _METHODS[one.algorithm]}
    yield ("PUT", "lbvserver_servicegroup_binding", ""), {"name": name, "servicegroupname": name}


def _member(group: str, member: Member) -> dict[str, Any]:
    return {"servicegroupname": group, "ip": str(member.address), "port": member.port}


def _name(address: object) -> str:
    return f"isth_main_{str(address).replace(':', '-')}"

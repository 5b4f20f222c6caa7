"""What is to be served and probed, read from the configuration: virtual servers, their members, monitors, sources.

Values only; whoever serves compares them with what it serves already. The one confusing thing is where a connection comes
from: the net profile of the group, else that of the virtual server, else the subnet address of its way out. A probe knows
no virtual server, so only the group's (or the monitor's) profile counts for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isthmus.lab.adc.places import Places
from isthmus.lab.adc.routing import Roads, source
from isthmus.lab.adc.wiring import Address, address_of
from isthmus.lab.nitro.balancing import MEMBERS
from isthmus.lab.nitro.kinds import Row, Value
from isthmus.lab.nitro.running import Running

Name = tuple[Value, Value, Value]  # a member: group, server, port
_DATAGRAM = ("UDP", "DNS", "RADIUS", "TFTP", "SIP_UDP", "SYSLOGUDP")
_SECONDS = {"SEC": 1.0, "MSEC": 0.001, "MIN": 60.0}


@dataclass(frozen=True, slots=True)
class Probe:
    """One question that is asked again and again; times are in seconds."""

    kind: str
    address: Address
    port: int
    source: Address | None
    interval: float = 5.0
    timeout: float = 2.0
    retries: int = 3
    successes: int = 1
    downtime: float = 30.0
    reverse: bool = False
    request: str = ""
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a virtual server; ``sources`` are the addresses its connections come from, none if there is none."""

    name: Name
    address: Address
    port: int
    weight: int
    sources: tuple[Address, ...]
    takes: bool


@dataclass(frozen=True, slots=True)
class Service:
    """One virtual server that may serve."""

    name: str
    address: Address
    port: int
    datagram: bool
    method: str
    persistence: float  # seconds that a client stays with its member; 0 for not at all
    idle: float  # seconds after which a silent flow or connection ends
    members: tuple[Member, ...]


def members(running: Running, group: Row, profile: str, where: Places, ways: Roads) -> Iterator[Member]:
    """Yield the members of one group as a virtual server with the net profile ``profile`` sees them."""
    for row in running.find(MEMBERS, servicegroupname=group["servicegroupname"]):
        server = running.row("server", row["servername"])
        text = row.get("ip") or (server or {}).get("ipaddress")
        if not text:
            continue
        address = address_of(str(text))
        chosen = _profile(running, str(group.get("netprofile") or profile), address.version, where)
        if chosen is None:
            own = source(address, where, ways)
            chosen = () if own is None else (own,)
        takes = "DISABLED" not in (row["state"], group["state"], (server or {}).get("state"))
        name = (group["servicegroupname"], row["servername"], row["port"])
        yield Member(name, address, int(str(row["port"])), int(str(row["weight"])), chosen, takes)


def _profile(running: Running, name: str, version: int, where: Places) -> tuple[Address, ...] | None:
    """Return the sources that a net profile leaves; None if it says nothing about the family."""
    row = running.row("netprofile", name) if name else None
    if row is None or not row.get("srcip"):
        return None
    text = str(row["srcip"])
    if running.row("ipset", text) is not None:
        bound = [*running.find("ipset_nsip_binding", name=text), *running.find("ipset_nsip6_binding", name=text)]
        listed = [address_of(str(item["ipaddress"]).partition("/")[0]) for item in bound]
    else:
        listed = [address_of(text)]
    fits = tuple(address for address in listed if address.version == version)
    return tuple(address for address in fits if where.at(address) is not None) if fits else None


def services(running: Running, where: Places, ways: Roads) -> dict[str, Service]:
    """Return the virtual servers that may serve, by name: enabled, with an address that is there, and the feature on."""
    found: dict[str, Service] = {}
    if "LB" not in running.features:
        return found
    for row in running.table("lbvserver").values():
        address, port = address_of(str(row["ipv46"])), int(str(row["port"]))
        if row["state"] != "ENABLED" or not 0 < port < 65535 or where.at(address) is None:
            continue
        bound: list[Member] = []
        for binding in running.find("lbvserver_servicegroup_binding", name=row["name"]):
            group = running.row("servicegroup", binding["servicegroupname"])
            if group is not None:
                bound += members(running, group, str(row.get("netprofile", "")), where, ways)
        minutes = float(str(row.get("timeout", 2))) if row["persistencetype"] == "SOURCEIP" else 0.0
        found[str(row["name"])] = Service(
            name=str(row["name"]),
            address=address,
            port=port,
            datagram=str(row["servicetype"]) in _DATAGRAM,
            method=str(row["lbmethod"]),
            persistence=minutes * 60,
            idle=float(str(row["clttimeout"])),
            members=tuple(bound),
        )
    return found


def probes(running: Running, where: Places, ways: Roads) -> dict[Name, tuple[Probe, ...]]:
    """Return what is asked of each member, nothing of those whose group wants no monitors."""
    found: dict[Name, tuple[Probe, ...]] = {}
    for group in running.table("servicegroup").values():
        monitors = [] if group["healthmonitor"] == "NO" else _monitors(running, group)
        for member in members(running, group, "", where, ways):
            if member.takes:
                found[member.name] = tuple(_probe(running, row, member, where) for row in monitors)
    return found


def _monitors(running: Running, group: Row) -> list[Row]:
    rows: list[Row] = []
    for binding in running.find("servicegroup_lbmonitor_binding", servicegroupname=group["servicegroupname"]):
        row = running.row("lbmonitor", binding["monitor_name"])
        if row is not None and row["state"] == "ENABLED" and binding.get("monstate") != "DISABLED":
            rows.append(row)
    datagram = str(group["servicetype"]) in _DATAGRAM
    return rows or [{"type": "PING" if datagram else "TCP"}]  # ping-default, tcp-default


def _probe(running: Running, row: Row, member: Member, where: Places) -> Probe:
    def seconds(word: str, unit: str, usual: float) -> float:
        return float(str(row.get(word, usual))) * _SECONDS[str(row.get(unit, "SEC"))]

    address, port = member.address, member.port
    if row.get("destip") not in (None, "", "0.0.0.0", "::"):
        address = address_of(str(row["destip"]))
    if int(str(row.get("destport") or 0)):
        port = int(str(row["destport"]))
    sources = member.sources
    own = _profile(running, str(row.get("netprofile") or ""), address.version, where)
    if own is not None:
        sources = own
    codes = row.get("respcode", ("200",))
    return Probe(
        kind=str(row["type"]),
        address=address,
        port=port,
        source=sources[0] if sources else None,
        interval=seconds("interval", "units3", 5),
        timeout=seconds("resptimeout", "units4", 2),
        retries=int(str(row.get("retries", 3))),
        successes=int(str(row.get("successretries", 1))),
        downtime=seconds("downtime", "units2", 30),
        reverse=row.get("reverse") == "YES",
        request=str(row.get("httprequest", "HEAD /")),
        codes=codes if isinstance(codes, tuple) else (str(codes),),
    )

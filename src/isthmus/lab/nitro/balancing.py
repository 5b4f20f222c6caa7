"""The rules of virtual servers, service groups, their members, monitors and servers.

The one confusing thing: a member given by address makes a server of that name, which is read back and which goes when the
last member that made it goes. A member is then told by either name or address, never by both.
"""

from __future__ import annotations

from typing import Any

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.kinds import Field, Kind, Row, Value, kind
from isthmus.lab.nitro.rules import Json, Rule, drop, require, there, together, unused
from isthmus.lab.nitro.running import Running

MEMBERS = "servicegroup_servicegroupmember_binding"
MEMBER_LIST = "servicegroup_servicegroupmemberlist_binding"
_BOUND = "lbvserver_servicegroup_binding"
_MONITORS = "servicegroup_lbmonitor_binding"
_ADDRESS = Field("ip", "str", form="address")
_PORTLESS = "0.0.0.0"


class Servers(Rule):
    """server: one address, one server; it stays while a group has it as a member."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if "ipaddress" not in row and "domain" not in row:
            raise Refusal(1095, "IPAddress")
        if "ipaddress" in row and "domain" in row:
            raise Refusal(1092, "IPAddress", "domain")
        if "ipaddress" in row and running.find("server", ipaddress=row["ipaddress"]):
            raise Refusal(1335, row["ipaddress"])
        return row

    def removing(self, running: Running, row: Row) -> None:
        unused(running, ((MEMBERS, "servername"),), row["name"])

    def shown(self, running: Running, row: Row) -> Json:
        return {"autoscale": "DISABLED", "usip": "NO", "cka": "NO", "tcpb": "NO", "cmp": "NO"}


class Groups(Rule):
    """servicegroup: members, monitors and bindings to virtual servers go with it."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if row.get("netprofile"):
            there(running, "netprofile", "name", row["netprofile"], said="netProfile")
        together(row, "cipheader", "cip")
        return {"cip": "DISABLED", "usip": "NO", "clttimeout": 180, "svrtimeout": 360, **row}

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        return self.adding(running, kind("servicegroup"), row)

    def removed(self, running: Running, row: Row) -> None:
        for member in running.find(MEMBERS, servicegroupname=row["servicegroupname"]):
            remove_member(running, member)
        for name in (_BOUND, _MONITORS):
            drop(running, kind(name), servicegroupname=row["servicegroupname"])

    def shown(self, running: Running, row: Row) -> Json:
        return {
            "numofconnections": 0,
            "serviceconftype": True,
            "svrstate": "DOWN",
            "ip": _PORTLESS,
            "serviceipstr": _PORTLESS,
            "monstatcode": 0,
            "monstatparam1": 0,
            "monstatparam2": 0,
            "monstatparam3": 0,
            "groupcount": "0",
            "servicegroupeffectivestate": group_state(running, row["servicegroupname"]),
        }


class Members(Rule):
    """servicegroup_servicegroupmember_binding: by server or by address, and by port."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        there(running, "servicegroup", "servicegroupname", row["servicegroupname"])
        if "ip" in row and "servername" in row:
            raise Refusal(1092, "serverName", "IP")
        if "ip" not in row and "servername" not in row:
            raise Refusal(1095, "serverName")
        require(row, "port")
        if "ip" in row:
            known = running.find("server", ipaddress=row["ip"])
            row["servername"] = known[0]["name"] if known else row["ip"]
        else:
            server = there(running, "server", "name", row["servername"])
            if "ipaddress" in server:
                row["ip"] = server["ipaddress"]
        row.setdefault("weight", 1)
        row.setdefault("serverid", 0)
        row.setdefault("hashid", 0)
        return row

    def added(self, running: Running, row: Row) -> None:
        if running.row("server", row["servername"]) is None:
            servers = kind("server")
            own: Row = {
                **servers.defaults(),
                "name": row["servername"],
                "ipaddress": row["servername"],
                "_made": True,
            }
            running.put(servers, own)

    def removed(self, running: Running, row: Row) -> None:
        server = running.row("server", row["servername"])
        if server is not None and server.get("_made") and not running.find(MEMBERS, servername=row["servername"]):
            running.remove(kind("server"), server)

    def shown(self, running: Running, row: Row) -> Json:
        return {"svrstate": member_state(running, row), "delay": 0}


class Bindings(Rule):
    """lbvserver_servicegroup_binding: both ends exist; a weight is for services, not for groups."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        there(running, "lbvserver", "name", row["name"])
        if "servicegroupname" in row and "servicename" in row:
            raise Refusal(1092, "serviceName", "serviceGroupName")
        together(row, "weight", "servicename")
        require(row, "servicegroupname")
        there(running, "servicegroup", "servicegroupname", row["servicegroupname"])
        return row


class GroupMonitors(Rule):
    """servicegroup_lbmonitor_binding: both ends exist."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        there(running, "servicegroup", "servicegroupname", row["servicegroupname"])
        there(running, "lbmonitor", "monitorname", row["monitor_name"], said="monitorName")
        return {"monstate": "ENABLED", **row}

    def shown(self, running: Running, row: Row) -> Json:
        return {"monweight": "1"}


class Monitors(Rule):
    """lbmonitor: told by name and type; read back in the largest unit that fits; a group keeps it."""

    def removing(self, running: Running, row: Row) -> None:
        unused(running, ((_MONITORS, "monitor_name"),), row["monitorname"])

    def shown(self, running: Running, row: Row) -> Json:
        shown: Json = {"lrtmconf": 0}
        for number, unit in (("interval", "units3"), ("downtime", "units2"), ("deviation", "units1")):
            value = row.get(number)
            if row.get(unit) == "SEC" and isinstance(value, int) and value and value % 60 == 0:
                shown |= {number: value // 60, unit: "MIN"}
        return shown


class VirtualServers(Rule):
    """lbvserver: one address and port once; the VIP comes and goes with it."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        if "ipv46" in row:
            require(row, "port")
        together(row, "port", "ipv46")
        row.setdefault("ipv46", _PORTLESS)
        row.setdefault("port", 0)
        row.setdefault("clttimeout", 180 if row["servicetype"] in ("HTTP", "SSL") else 9000)
        row.setdefault("persistencetype", "NONE")
        row.setdefault("insertvserveripport", "OFF")
        self._check(running, row)
        return row

    def updating(self, running: Running, before: Row, row: Row) -> Row:
        self._check(running, row)
        if row["ipv46"] != before["ipv46"]:
            self._address(running, row)
        return row

    def added(self, running: Running, row: Row) -> None:
        self._address(running, row)

    def removed(self, running: Running, row: Row) -> None:
        drop(running, kind(_BOUND), name=row["name"])
        if running.find("lbvserver", ipv46=row["ipv46"]):
            return
        name, key = ("nsip6", f"{row['ipv46']}/128") if ":" in str(row["ipv46"]) else ("nsip", row["ipv46"])
        own = running.row(name, key, row["td"])
        if own is not None and own.get("_made"):
            running.remove(kind(name), own)

    def shown(self, running: Running, row: Row) -> Json:
        states = server_members(running, row["name"])
        total, active = len(states), states.count("UP")
        works = active and "LB" in running.features
        state = "OUT OF SERVICE" if row["state"] == "DISABLED" else "UP" if works else "DOWN"
        return {
            "type": "ADDRESS",
            "curstate": state,
            "effectivestate": state,
            "status": 1,
            "health": str(active * 100 // total if total else 0),
            "totalservices": str(total),
            "activeservices": str(active),
            "isgslb": False,
            "thresholdvalue": 0,
        }

    @staticmethod
    def _check(running: Running, row: Row) -> None:
        if row.get("netprofile"):
            there(running, "netprofile", "name", row["netprofile"], said="netProfile")
        if row["ipv46"] == _PORTLESS:
            return
        for other in running.find("lbvserver", ipv46=row["ipv46"]):
            same = other["port"] == row["port"] and other["td"] == row["td"]
            if same and other["name"] != row["name"] and _datagram(other) == _datagram(row):
                raise Refusal(273, "name", other["name"])
        owner = running.row("nsip", row["ipv46"], row["td"])
        if owner is not None and owner["type"] == "NSIP":
            raise Refusal(2407, row["ipv46"])

    @staticmethod
    def _address(running: Running, row: Row) -> None:
        address = str(row["ipv46"])
        if address == _PORTLESS:
            return
        made: Row = {"type": "VIP", "td": row["td"], "_made": True}
        if ":" in address:
            name, made = "nsip6", {**made, "ipv6address": f"{address}/128"}
            known = any(str(at["ipv6address"]).startswith(f"{address}/") for at in running.table(name).values())
        else:
            name, made = "nsip", {**made, "ipaddress": address, "netmask": "255.255.255.255"}
            known = running.row(name, address, row["td"]) is not None
        if not known:
            running.put(kind(name), {**kind(name).defaults(), **made})


class Patterns(Rule):
    """policypatset: its patterns go with it."""

    def removed(self, running: Running, row: Row) -> None:
        drop(running, kind("policypatset_pattern_binding"), name=row["name"])


class PatternBindings(Rule):
    """policypatset_pattern_binding: the set exists; patterns are numbered."""

    def adding(self, running: Running, kind: Kind, row: Row) -> Row:
        there(running, "policypatset", "name", row["name"])
        taken = [int(other["index"]) for other in running.find(kind.name, name=row["name"])]  # type: ignore[arg-type]
        return {"index": max(taken, default=0) + 1, "charset": "ASCII", **row}


def _datagram(row: Row) -> bool:
    return str(row["servicetype"]) in ("UDP", "DNS", "RADIUS", "TFTP", "SIP_UDP", "SYSLOGUDP", "DTLS", "QUIC")


def member_state(running: Running, row: Row) -> str:
    """Return the state of one member: OUT OF SERVICE by order, UP where it answers its monitors, else DOWN."""
    group = running.row("servicegroup", row["servicegroupname"])
    server = running.row("server", row["servername"])
    if "DISABLED" in (row["state"], group and group["state"], server and server["state"]):
        return "OUT OF SERVICE"
    # Members are probed by whoever carries the packets; nobody does so behind an API that is alone.
    health = running.health
    up = health is not None and health.up(row["servicegroupname"], row["servername"], row["port"])
    return "UP" if up else "DOWN"


def group_state(running: Running, name: Value) -> str:
    """Return the effective state of a service group."""
    group = running.row("servicegroup", name)
    if group is not None and group["state"] == "DISABLED":
        return "OUT OF SERVICE"
    states = [member_state(running, row) for row in running.find(MEMBERS, servicegroupname=name)]
    active = states.count("UP")
    return "DOWN" if not active else "UP" if active == len(states) else "PARTIAL-UP"


def server_members(running: Running, name: Value) -> list[str]:
    """Return the states of all members of a virtual server."""
    return [
        member_state(running, row)
        for group in running.find(_BOUND, name=name)
        for row in running.find(MEMBERS, servicegroupname=group["servicegroupname"])
    ]


def remove_member(running: Running, row: Row) -> None:
    """Remove one member, and the server that it made."""
    running.remove(kind(MEMBERS), row)
    RULES[MEMBERS].removed(running, row)


def set_members(running: Running, body: dict[str, Any]) -> list[Json]:
    """Make the members of a group exactly those listed; return those that could not be, as the device lists them."""
    name = str(body.get("servicegroupname") or "")
    if not name:
        raise Refusal(1095, "serviceGroupName")
    group = there(running, "servicegroup", "servicegroupname", name)
    if group.get("autoscale") != "API":
        raise Refusal(257)
    listed = body.get("members", [])
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise Refusal(1233)
    members, failed = kind(MEMBERS), list[Json]()
    wanted: dict[tuple[Value, Value], Row] = {}
    for item in listed:
        try:
            row = members.read({**item, "servicegroupname": name}, members.add)
            require(row, "ip", "port")
            row = RULES[MEMBERS].adding(running, members, {**members.defaults(), **row})
            wanted[(_ADDRESS.read(row["ip"]), row["port"])] = row
        except Refusal as refusal:
            failed.append({"ip": item.get("ip"), "port": item.get("port"), **refusal.body()})
    for row in running.find(MEMBERS, servicegroupname=name):
        if (row["ip"], row["port"]) not in wanted:
            remove_member(running, row)
    for row in wanted.values():
        if running.table(MEMBERS).get(members.key_of(row)) != row:
            running.put(members, row)
            RULES[MEMBERS].added(running, row)
    return failed


RULES: dict[str, Rule] = {
    MEMBERS: Members(),
    _BOUND: Bindings(),
    _MONITORS: GroupMonitors(),
    "lbmonitor": Monitors(),
    "lbvserver": VirtualServers(),
    "policypatset": Patterns(),
    "policypatset_pattern_binding": PatternBindings(),
    "server": Servers(),
    "servicegroup": Groups(),
}

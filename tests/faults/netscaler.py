"""A NetScaler that outlives controllers: one device or a pair, what other people keep on it, and the judge's eye upon it.

It is the lab's own appliance, in this process and on the plan's clock. What is asked of it comes through :mod:`faults.nitro`;
here is what it holds, who else has a hand on it, and what is seen of each request that changes something.

The one confusing thing: what it holds is looked at in its tables, never over its API and never with the driver's eyes. What
stands there and was not made by the people below is taken for ours, whatever its name.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults.objects import Objects, lines, pieces, standing, wanted
from faults.seam import PROCESS, Process
from faults.virtual import CLOCK
from isthmus.lab.nitro import Appliance, appliance, config, sessions
from isthmus.lab.nitro.answers import Answer, Refusal
from isthmus.lab.nitro.kinds import Key, Row
from isthmus.lab.nitro.queries import Request
from isthmus.model.facts import DeviceFacts, DeviceTraits, Interface
from isthmus.model.resources import AnyResource

if TYPE_CHECKING:
    from faults.judge import Judge

MAC = "02:4e:53:00:00:01"
FACTS = DeviceFacts(
    (Interface("1/1", MAC, 1500, (ip_interface("192.0.2.10/32"), ip_interface("192.0.2.50/24"))),),
    DeviceTraits(
        neighbors="flooded",
        onlink=False,
        clamps=False,
        profiles=True,
        policy_routes=True,
        tunnel_mac=MAC,
    ),
)
PEOPLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("nsip", {"ipaddress": "192.0.2.50", "netmask": "255.255.255.0", "type": "SNIP"}),
    ("nsip", {"ipaddress": "203.0.113.129", "netmask": "255.255.255.0", "type": "SNIP"}),
    ("vxlan", {"id": 9, "port": 4789}),
    ("vxlan_srcip_binding", {"id": 9, "srcip": "192.0.2.50"}),
    ("bridgetable", {"mac": "02:aa:00:00:00:01", "vxlan": 9, "vtep": "192.0.2.200"}),
    ("arp", {"ipaddress": "203.0.113.130", "mac": "02:aa:00:00:00:02"}),
    ("route", {"network": "10.99.0.0", "netmask": "255.255.0.0", "gateway": "192.0.2.254"}),
    ("netprofile", {"name": "isth_main2_192.0.2.50", "srcip": "192.0.2.50"}),
    ("server", {"name": "web1", "ipaddress": "10.244.1.10"}),
    ("servicegroup", {"servicegroupname": "old_app", "servicetype": "TCP"}),
    ("servicegroup_servicegroupmember_binding", {"servicegroupname": "old_app", "servername": "web1", "port": 80}),
    ("lbvserver", {"name": "old_app", "servicetype": "TCP", "ipv46": "203.0.113.200", "port": 80}),
    ("lbvserver_servicegroup_binding", {"name": "old_app", "servicegroupname": "old_app"}),
    ("policypatset", {"name": "isth_main2_ledger"}),
    ("policypatset_pattern_binding", {"name": "isth_main2_ledger", "string": "vxlan 10 isth10"}),
)
"""What people, and another installation, keep on the device."""
_SECRETS = tempfile.TemporaryDirectory(prefix="isthmus-faults-")
"""Where the credentials lie; goes with this process, and is the same for all that it is forked into."""
for _name in ("username", "password"):
    (Path(_SECRETS.name) / _name).write_text("nsroot")
MEMBERS = "servicegroup_servicegroupmember_binding"
UNSAVED = "what runs is not saved"
_TURN = 20.0
"""Seconds in which a writer that takes its turn has done so; a line of an old one that stays then does no harm."""
_MEDDLED = (
    "route",
    "bridgetable",
    "vxlan_nsip_binding",
    "lbvserver",
    "servicegroup",
    "lbvserver_servicegroup_binding",
    MEMBERS,
)


def install() -> None:
    """Put the appliance's dates on the plan's clock; for the rest of this process's life."""
    config.stamp = appliance.stamp = _stamp  # type: ignore[assignment]
    sessions.datetime = _Dates  # type: ignore[attr-defined,assignment]


class NetScaler:
    """The device, or the pair, that one plan plays on."""

    def __init__(self, judge: Judge, source: random.Random) -> None:
        self.judge = judge
        self.source = source
        self.facts = FACTS
        self.foreign: dict[str, str] = {}
        self.refused = 0
        self.nodes = [self._node("192.0.2.10")]
        for kind, row in PEOPLE:
            self.nodes[0].write("POST" if not kind.endswith("_binding") else "PUT", kind, {kind: row})
        self.nodes[0].config.end_save()
        if source.random() < 0.5:
            self.nodes.append(self._node("192.0.2.11"))
            Appliance.paired(*self.nodes)
        self.logins: dict[tuple[str, int], Process] = {}
        self.lost_logins = 0
        self._turned = 0.0
        self.people = {node.address: self._visitor(node) for node in self.nodes}
        for node in self.nodes:
            node.perform = self._watched(node)  # type: ignore[method-assign]
        self._theirs = self._rows()
        self._secrets = Path(_SECRETS.name)

    @staticmethod
    def _node(address: str) -> Appliance:
        node = Appliance(address=address, clock=CLOCK.monotonic)
        node.faults.boot_takes = 20.0
        return node

    @staticmethod
    def _visitor(node: Appliance) -> str:
        """Let a person log in for long, and return the token."""
        return node.sessions.login("nsroot", "nsroot", 86400.0).token

    @property
    def spec(self) -> dict[str, Any]:
        """Return the spec of the EdgeDevice."""
        return {
            "driver": "netscaler",
            "tunnelAddresses": ["192.0.2.50"],
            "netscaler": {
                "urls": [f"http://{node.address}" for node in self.nodes],
                "plainHttp": True,
                "credentials": {"directory": str(self._secrets)},
                "enableFeatures": True,
            },
        }

    @property
    def primary(self) -> Appliance:
        """Return the node that takes changes."""
        return next(node for node in self.nodes if node.primary)

    def _rows(self) -> dict[tuple[str, Key], Row]:
        return {
            (kind, key): dict(row)
            for kind, table in self.primary.running.tables.items()
            for key, row in table.items()
            if row.get("type") != "NSIP"
        }

    def node(self, root: str) -> Appliance | None:
        """Return the node whose URL begins with ``root``."""
        return next((node for node in self.nodes if root == f"http://{node.address}"), None)

    # --- what it holds ------------------------------------------------------------------------------------------

    def objects(self, *, saved: bool = False) -> Objects:
        """Return what stands there and is nobody else's: now, or after a reboot."""
        stored = self.primary.config
        return standing(stored.saved if saved else stored.running, self._theirs)

    def holds(self, identity: str) -> bool:
        """Say whether the route that ``identity`` names stands there."""
        prefix = identity.removeprefix("route ")
        return any(key[0] == "route" and key[1] == prefix for key in self.objects())

    def amiss(self, resources: Mapping[str, AnyResource]) -> list[str]:
        """Return what is not as it should be, in words."""
        should, has = wanted(resources), self.objects()
        found = [
            f"{' '.join(key)} should be {should.get(key, 'nothing')} and is {has.get(key, 'nothing')}"
            for key in sorted(should.keys() | has.keys())
            if should.get(key) != has.get(key)
        ]
        if not found and self.objects(saved=True) != has:
            found.append(UNSAVED)
        told = lines(self.primary.running)
        if sum(line.startswith("writer ") for line in told) > 1 and CLOCK.monotonic() < self._turned + _TURN:
            found.append("it is not over who writes")
        if not found and len(told) > len(resources) + 8:
            found.append(f"the ledger has {len(told)} lines for {len(resources)} things: {told}")
        if "LB" not in self.primary.running.features and any(key[0] == "server" for key in should):
            found.append("load balancing is switched off")
        return found

    # --- what others do -----------------------------------------------------------------------------------------

    def meddle(self) -> None:
        """Let somebody remove one thing of ours, or change it."""
        node = self.primary
        tables = node.running.tables
        kinds = [kind for kind in _MEDDLED if any(self._ours(kind, key) for key in tables.get(kind, {}))]
        if not kinds:
            return
        kind = self.source.choice(kinds)
        key, row = next((key, row) for key, row in sorted(tables[kind].items(), key=str) if self._ours(kind, key))
        try:
            if kind == "lbvserver" and self.source.random() < 0.5:
                node.write("PUT", kind, {kind: {"name": row["name"], "lbmethod": "LEASTCONNECTION"}})
            elif kind == MEMBERS and self.source.random() < 0.5:
                body = {name: row[name] for name in ("servicegroupname", "servername", "port")}
                node.write("POST", "servicegroup", {"servicegroup": body}, "action=disable")
            else:
                self._remove(node, kind, key, row)
        except Refusal:
            return  # something stands on it

    def _ours(self, kind: str, key: Key) -> bool:
        row = self.primary.running.tables[kind][key]
        return (kind, key) not in self._theirs and row.get("routetype") != "CONNECTED"

    @staticmethod
    def _remove(node: Appliance, kind: str, key: Key, row: Row) -> None:
        asked = {
            "route": ("network", "netmask", "gateway"),
            "bridgetable": ("mac", "vxlan", "vtep"),
        }
        names = asked.get(kind, ())
        if names:
            first, rest = (row[names[0]], names[1:]) if kind == "route" else ("", names)
            path = f"{kind}/{first}" if first else kind
            node.write("DELETE", path, query="args=" + ",".join(f"{name}:{row[name]}" for name in rest))
        elif kind == MEMBERS:
            node.write("DELETE", f"{kind}/{row['servicegroupname']}", query=f"args=ip:{row['ip']},port:{row['port']}")
        elif kind.endswith("_binding"):
            name = {"vxlan_nsip_binding": "ipaddress"}.get(kind, "servicegroupname")
            first = row["id"] if kind.startswith("vxlan") else row["name"]
            node.write("DELETE", f"{kind}/{first}", query=f"args={name}:{row[name]}")
        else:
            node.write("DELETE", f"{kind}/{key[0]}")

    def plant(self, identity: str) -> None:
        """Let somebody put up a route of his own, and keep it."""
        network, _, length = identity.removeprefix("route ").partition("/")
        assert length == "24", "routes to pods"
        node = self.primary
        row = {"network": network, "netmask": "255.255.255.0", "gateway": "192.0.2.253"}
        node.write("POST", "route", {"route": row})
        node.config.end_save()
        key = (network, "255.255.255.0", "192.0.2.253", 0)
        self._theirs["route", key] = dict(node.running.tables["route"][key])
        self.foreign[identity] = "route of somebody else"

    # --- what requests do ---------------------------------------------------------------------------------------

    def _watched(self, node: Appliance) -> Any:
        """Return ``node.perform`` under the judge's eye, to be put in its place."""
        real = node.perform

        def perform(method: str, asked: Request, body: Any, *, token: str, on_error: str = "exit") -> Answer:
            if method == "GET" or not token or token == self.people[node.address]:
                return real(method, asked, body, token=token, on_error=on_error)
            what = f"{method} {asked.resource}{'?' + asked.action if asked.action else ''} {asked.identifier}"
            what = f"{what} {asked.args or ''}{_short(body)}"
            process = PROCESS.get()
            before, revision = pieces(self.objects()), node.running.revision
            self.judge.asked(process, what)
            try:
                return real(method, asked, body, token=token, on_error=on_error)
            finally:
                if node.running.revision != revision:
                    if _takes_turn(asked, body):
                        self._turned = CLOCK.monotonic()
                    else:
                        self.judge.changed(process, what)
                    explicit = method == "DELETE" or asked.action == "remove"
                    self._look(process, before, asked.resource if explicit else "")

        return perform

    def _look(self, process: Process, before: set[Key], removed: str) -> None:
        """See what a request has done; what goes along with what it has ``removed`` is not judged again."""
        after = pieces(self.objects())
        for key in sorted(after - before):
            self.judge.made(key)
        named = {"lbvserver": "server", MEMBERS: "member"}.get(removed, removed)
        for key in sorted(before - after):
            if key[0] == named:
                self.judge.removed(process, key, self)
        rows = self._rows()
        for which, row in self._theirs.items():
            if rows.get(which) != row:
                is_now = rows.get(which, {})
                self.judge.wrong(f"{process.name}: {which} is somebody else's, and is now {is_now}")
                self._theirs[which] = dict(is_now)

    # --- sessions -----------------------------------------------------------------------------------------------

    def logged_in(self, node: Appliance, sid: int, process: Process) -> None:
        """Note whose session it is: a client has one on a node, and two clients overlap while a process changes its turn.

        Those whose login got no answer are nobody's, and end by themselves.
        """
        self.logins[node.address, sid] = process
        own = self.sessions_of(process, node)
        if own > 2 + self.lost_logins:
            self.judge.wrong(f"{process.name} has {own} sessions on {node.address}")

    def sessions_of(self, process: Process, node: Appliance) -> int:
        """Return how many sessions of a process ``node`` still keeps."""
        return sum(self.logins.get((node.address, one.sid)) is process for one in node.sessions.live())


def _takes_turn(asked: Request, body: Any) -> bool:
    """Say whether a request is but a writer's own line in the ledger: whose turn it is, is found out by writing it."""
    if not asked.resource.startswith("policypatset"):
        return False
    rows = (body or {}).get(asked.resource) or {"string": str((asked.args or {}).get("string"))}
    rows = rows if isinstance(rows, list) else [rows]
    return all("string" not in row or str(row["string"]).startswith("writer ") for row in rows)


def _short(body: Any) -> str:
    text = str(body) if body else ""
    return text if len(text) < 200 else text[:200] + "…"


class _Dates:
    """As much of ``datetime`` as sessions need."""

    @staticmethod
    def now(zone: tzinfo) -> datetime:
        """Return the time by the device's clock, which is right."""
        return datetime.fromtimestamp(CLOCK.wall() - CLOCK.skew, zone)


def _stamp() -> str:
    """Return the time as the device tells it."""
    return _Dates.now(UTC).strftime("%a %b %e %H:%M:%S %Y")

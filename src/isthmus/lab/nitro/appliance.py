"""One device: its configuration running and saved, its sessions, its place in a pair; and what a request does to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from isthmus.lab.nitro import balancing, bulk, operations, queries, system
from isthmus.lab.nitro.answers import DONE, Answer, Refusal
from isthmus.lab.nitro.config import Config, Pair, stamp
from isthmus.lab.nitro.faults import Faults
from isthmus.lab.nitro.kinds import Kind, kind, kinds
from isthmus.lab.nitro.queries import Request
from isthmus.lab.nitro.rules import Carrier
from isthmus.lab.nitro.running import Running
from isthmus.lab.nitro.sessions import LIMIT, Sessions
from isthmus.lab.nitro.system import Port

Json = dict[str, Any]

RELEASE = "NetScaler NS14.1: Build 29.72.nc, Date: Jan  1 2025, 00:00:00   (64-bit)"
_BALANCING = ("lbvserver", "lbvserver_servicegroup_binding", "servicegroup", "lbmonitor", balancing.MEMBERS)


class Appliance:
    """One device, without the network in front of it."""

    def __init__(
        self,
        *,
        address: str = "192.0.2.10",
        netmask: str = "255.255.255.0",
        users: dict[str, str] | None = None,
        release: str = RELEASE,
        sessions: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a device with nothing but its own address; ``sessions`` is how many it takes."""
        running = Running(hostname="netscaler")
        running.put(kind("nsip"), system.management_address(address, netmask))
        self.address = address
        self.netmask = netmask
        self.release = release
        self.clock = clock
        self.config = Config(running)
        self.faults = Faults()
        self.sessions = Sessions({"nsroot": "nsroot"} if users is None else users, clock, limit=sessions)
        self.ports: tuple[Port, ...] = (Port("1/1", "02:4e:53:00:00:01"),)
        self.pair: Pair | None = None
        self.carrier: Carrier | None = None
        self.role_since = clock()
        self._down_until = clock()

    @classmethod
    def paired(cls, first: Appliance, second: Appliance) -> Pair:
        """Make two devices a pair that holds the configuration of ``first``, which leads."""
        pair = Pair((first, second))
        first.pair = second.pair = pair
        second.config = first.config
        return pair

    @property
    def up(self) -> bool:
        """Return whether the device answers."""
        return self.clock() >= self._down_until

    @property
    def primary(self) -> bool:
        """Return whether changes are taken here."""
        return self.pair is None or self.pair.leads(self)

    @property
    def role_age(self) -> float:
        """Return how long, in seconds, it has been primary or secondary."""
        return self.clock() - self.role_since

    @property
    def running(self) -> Running:
        """Return the running configuration."""
        return self.config.running

    def reboot(self, seconds: float = 0.0) -> None:
        """Start anew: sessions end, and what was not saved is gone unless the peer still runs it."""
        self.sessions.kill_all()
        self._down_until = self.clock() + seconds
        if self.pair is not None and self.pair.other(self).up:
            if self.primary:
                self.pair.fail_over()
        else:
            self.config.revert()
        self._carry()

    async def settle(self) -> None:
        """Wait until whoever carries packets has done what is configured now; nobody may."""
        for node in self.pair.nodes if self.pair is not None else (self,):
            if node.carrier is not None:
                await node.carrier.settled()

    def _carry(self) -> None:
        for node in self.pair.nodes if self.pair is not None else (self,):
            if node.carrier is not None:
                node.carrier.changed()

    def write(self, method: str, path: str, body: Json | None = None, query: str = "") -> None:
        """Do what somebody else asks for, uncounted and past all faults: another writer. Raises Refusal."""
        self.perform(method, queries.read(f"/nitro/v1/config/{path}", query), body or {}, token="")

    def perform(self, method: str, asked: Request, body: Json, *, token: str, on_error: str = "exit") -> Answer:
        """Do one request and return its answer; raise Refusal. Saving takes time and is not done here."""
        if method == "GET":
            return self._get(asked, token)
        if asked.resource == "systemsession":
            return self._sessions(asked, body, token)
        if not self.primary and asked.resource not in ("hafailover", "reboot"):
            raise Refusal(self.faults.secondary_code)
        revision = self.running.revision
        answer = self._change(method, asked, body, on_error)
        if self.running.revision != revision:
            self.config.changed_at = stamp()
            self._carry()
        if asked.resource in _BALANCING and "LB" not in self.running.features:
            answer.warnings.append("1067 - Feature(s) not enabled [LB]")
        return answer

    def _get(self, asked: Request, token: str) -> Answer:
        name = asked.resource
        match name:
            case "nsversion":
                shown: Json = system.version(self)
            case "nsfeature" | "nsmode":
                shown = system.flags(name, self.running)
            case "nsconfig":
                shown = system.config(self)
            case _:
                return self._list(asked, self._rows(asked, token))
        [shown] = queries.choose([shown], asked) or [{}]
        return Answer(200, {**DONE, name: shown})

    def _list(self, asked: Request, rows: list[Json]) -> Answer:
        if asked.summary:
            of = kinds().get(asked.resource)
            told = {*of.identity, "type", "state"} if of is not None else set()
            rows = [{n: value for n, value in row.items() if not told or n in told} for row in rows]
        rows = queries.choose(rows, asked)
        name = system.SPOKEN_KINDS.get(asked.resource, asked.resource)
        if asked.count:
            return Answer(200, {**DONE, name: [{"__count": len(rows)}]})
        return Answer(200, {**DONE, name: rows} if rows else dict(DONE))

    def _rows(self, asked: Request, token: str) -> list[Json]:
        name, identifier = asked.resource, asked.identifier
        match name:
            case "nshostname":
                return system.host_name(self.running)
            case "hanode":
                rows = system.nodes(self)
            case "interface":
                rows = system.interfaces(self)
            case "systemsession":
                rows = self.sessions.show(token)
            case _:
                parent = name.removesuffix("_binding")
                if name.endswith("_binding") and name not in kinds() and parent in kinds():
                    return operations.read_bindings(self.running, parent, identifier)
                of = kind(name)
                if of.binding and not identifier and not asked.args and not asked.bulk_bindings:
                    raise Refusal(1095, of.key)
                return operations.read(self.running, of, identifier, asked.args)
        key = kind(name).key
        if identifier and not any(row[key] == identifier for row in rows):
            raise Refusal(258, key, identifier)
        return [row for row in rows if not identifier or row[key] == identifier]

    def _sessions(self, asked: Request, body: Json, token: str) -> Answer:
        if asked.action != "kill":
            raise Refusal(1240, asked.action)
        given = kind("systemsession").read(_object(body, "systemsession"), frozenset({"sid", "all"}))
        if given.get("all"):
            self.sessions.kill_all(keep=token)
        elif isinstance(sid := given.get("sid"), int):
            self.sessions.kill(sid)
        else:
            raise Refusal(1095, "sid")
        return Answer()

    def _change(self, method: str, asked: Request, body: Json, on_error: str) -> Answer:
        name, running = asked.resource, self.running
        if method == "DELETE":
            if name == balancing.MEMBER_LIST:
                body = {name: {"servicegroupname": asked.identifier, "members": []}}
                return self._one(lambda: balancing.set_members(running, body[name]), 200)
            of = kind(name)
            return self._one(lambda: operations.delete(running, of, asked.identifier, asked.args), 200)
        if name == "macroapi":
            steps = [
                self._step(method, Request(other, idempotent=asked.idempotent), item)
                for other, items in body.items()
                for item in (items if isinstance(items, list) else [items])
            ]
            return bulk.run(running, steps, on_error, self.faults.item_refusal, status=201)
        status = 201 if method == "POST" and not asked.action and not asked.idempotent else 200
        if method == "PUT" and name.endswith("_binding"):
            status = 201
        value = _content(body, name)
        if isinstance(value, list):
            if on_error == "rollback" and (asked.action or (method == "PUT" and not name.endswith("_binding"))):
                raise Refusal(1242)
            steps = [self._step(method, asked, item) for item in value]
            return bulk.run(running, steps, on_error, self.faults.item_refusal, status=status)
        if name == balancing.MEMBER_LIST and isinstance(value, dict):
            with running.attempt():
                failed = balancing.set_members(running, value)
            return Answer(status, {**DONE, name: [{"failedmembers": failed}]} if failed else dict(DONE))
        return self._one(self._step(method, asked, value), status)

    def _one(self, step: Callable[[], object], status: int) -> Answer:
        with self.running.attempt():
            step()
        return Answer(status)

    def _step(self, method: str, asked: Request, item: Any) -> bulk.Step:
        """Return what one item of a request does."""
        if not isinstance(item, dict):
            raise Refusal(1233)
        name, running, action = asked.resource, self.running, asked.action
        match name:
            case balancing.MEMBER_LIST:
                return lambda: balancing.set_members(running, item)
            case "nsfeature" | "nsmode":
                if action not in ("enable", "disable"):
                    raise Refusal(1240, action)
                return lambda: system.switch(name, running, item, on=action == "enable")
            case "nshostname":
                return lambda: system.set_host_name(running, item)
            case "nspbrs":
                return lambda: system.policy_routes(name, running, action)
            case "nsconfig" if action == "clear":
                return lambda: self._clear(item)
            case "reboot":
                return lambda: self.reboot(self.faults.boot_takes)
            case "hafailover" if action == "force" and self.pair is not None:
                return self.pair.fail_over
            case "nsversion" | "nsconfig" | "hanode" | "hafailover":
                raise Refusal(1240, action or method, status=405 if not action else 0)
        of = kind(name)
        if action:
            return lambda: self._act(of, action, item)
        if method == "PUT" and not of.binding:
            return lambda: operations.update(running, of, item)
        return lambda: operations.add(running, of, item, idempotent=asked.idempotent)

    def _act(self, of: Kind, action: str, item: Json) -> None:
        running = self.running
        match action:
            case "unset":
                operations.unset(running, of, item)
            case "enable" | "disable":
                operations.switch(running, of, item, "ENABLED" if action == "enable" else "DISABLED")
            case "rename":
                operations.rename(running, of, item)
            case "remove":
                operations.delete(running, of, "", {name: str(given) for name, given in item.items()})
            case "apply" | "renumber" | "clear" if of.name == "nspbr6":
                system.policy_routes(of.name, running, action)
            case "clear":
                operations.clear(running, of, item)
            case "send" if of.name == "arp":
                pass  # a gratuitous ARP changes nothing here
            case _:
                raise Refusal(1240, action)

    def _clear(self, item: Json) -> None:
        if str(item.get("level", "")).lower() not in ("basic", "extended", "full"):
            raise Refusal(1095, "level")
        for name, table in self.running.tables.items():
            for row in list(table.values()):
                if row.get("type") != "NSIP":
                    self.running.remove(kinds()[name], row)
        self.running.applied = {}


def _content(body: Json, name: str) -> Any:
    for key, value in body.items():
        if key.lower() == name:
            return value
    raise Refusal(1232, name)


def _object(body: Json, name: str) -> Json:
    value = _content(body, name)
    if not isinstance(value, dict):
        raise Refusal(1233)
    return value

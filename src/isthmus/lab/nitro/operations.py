"""Add, update, unset, delete, read, enable, disable and rename rows, for every kind in one way.

Each either does all of what it was asked or raises Refusal and has done nothing.
"""

from __future__ import annotations

from typing import Any

from isthmus.lab.nitro import balancing, network
from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.kinds import Kind, Row, Value, kind, kinds, spoken
from isthmus.lab.nitro.rules import Json, Rule, there
from isthmus.lab.nitro.running import Running

RULES: dict[str, Rule] = network.RULES | balancing.RULES
_PLAIN = Rule()

# What a delete must name besides the id.
_TOLD_BY: dict[str, tuple[str, ...]] = {
    "bridgetable": ("mac", "vxlan", "vtep"),
    "lbmonitor": ("type",),
    "lbvserver_servicegroup_binding": ("servicegroupname",),
    "route": ("netmask", "gateway"),
}
# Who refers to an object by its name, for renaming.
_NAMED_BY: dict[str, tuple[tuple[str, str], ...]] = {
    "lbvserver": (("lbvserver_servicegroup_binding", "name"),),
    "server": ((balancing.MEMBERS, "servername"),),
    "servicegroup": (
        ("lbvserver_servicegroup_binding", "servicegroupname"),
        ("servicegroup_lbmonitor_binding", "servicegroupname"),
        (balancing.MEMBERS, "servicegroupname"),
    ),
}


def rule(of: Kind) -> Rule:
    """Return the rule of a kind."""
    return RULES.get(of.name, _PLAIN)


def can(of: Kind, operation: str) -> None:
    """Refuse an operation that a kind does not have."""
    if operation in of.operations or (of.binding and operation == "update" and "add" in of.operations):
        return
    if operation in ("add", "update", "delete", "get"):
        raise Refusal(1240, operation, status=405)
    raise Refusal(1240, operation)


def add(running: Running, of: Kind, body: Json, *, idempotent: bool = False) -> None:
    """Add a row; with ``idempotent`` an existing one is updated by what is given."""
    can(of, "add")
    given = of.read(body, of.add)
    for name in of.required:
        if name not in given and not (of.name == "nsip" and name == "netmask" and given.get("type") == "VIP"):
            raise Refusal(1095, spoken(name))
    if idempotent and all(name in {**of.defaults(), **given} for name in of.identity):
        before = running.table(of.name).get(of.key_of({**of.defaults(), **given}))
        if before is not None:
            _merge(running, of, before, given)
            return
    row = rule(of).adding(running, of, {**of.defaults(), **given})
    key = of.key_of(row)
    if key in running.table(of.name):
        if of.name == balancing.MEMBERS:
            raise Refusal(273)
        raise Refusal(273, *_about(of, row))
    running.put(of, row)
    rule(of).added(running, row)


def _about(of: Kind, row: Row) -> tuple[str, Value]:
    """Return the name and value by which a message tells a row: of a binding what is bound, else the key."""
    names = (of.bound, *reversed(of.identity)) if of.binding else (of.key,)
    name = next((name for name in names if name in row), of.key)
    return spoken(name), row.get(name, "")


def _merge(running: Running, of: Kind, before: Row, given: Row) -> None:
    """Update a row by what an idempotent add gives; what cannot be updated must be as it is."""
    changed = {name: value for name, value in given.items() if before.get(name) != value}
    for name in changed:
        if name not in of.update or name in of.identity:
            raise Refusal(278, spoken(name))
    if changed:
        running.put(of, rule(of).updating(running, before, {**before, **changed}))


def update(running: Running, of: Kind, body: Json) -> None:
    """Change fields of a row; a field that has no place in an update is refused, equal or not."""
    can(of, "update")
    given = of.read(body, of.update | frozenset(of.identity))
    before = _named(running, of, given)
    changed = {name: value for name, value in given.items() if name not in of.identity}
    if not changed:
        raise Refusal(431)
    row = {**before, **changed}
    if row != before:
        running.put(of, rule(of).updating(running, before, row))


def unset(running: Running, of: Kind, body: Json) -> None:
    """Put fields of a row back to their defaults; their values in the body do not matter."""
    can(of, "unset")
    names = {of.field(name).name for name in body}
    for name in names:
        if name not in of.unset and name not in of.identity:
            raise Refusal(278, spoken(name))
    identity = {name: given for name, given in body.items() if of.field(name).name in of.identity}
    before = _named(running, of, of.read(identity, frozenset(of.identity)))
    defaults, row = of.defaults(), dict(before)
    for name in names - set(of.identity):
        if name in defaults:
            row[name] = defaults[name]
        else:
            row.pop(name, None)
    running.put(of, rule(of).updating(running, before, row))


def _named(running: Running, of: Kind, given: Row) -> Row:
    key = {**of.defaults(), **given}
    for name in of.identity:
        if name not in key:
            raise Refusal(1095, spoken(name))
    before = running.table(of.name).get(of.key_of(key))
    if before is None:
        raise Refusal(258, spoken(of.key), key[of.key])
    return before


def delete(running: Running, of: Kind, identifier: str, args: dict[str, str]) -> None:
    """Remove the one row that id and arguments tell."""
    can(of, "delete")
    words = {**({of.key: identifier} if identifier else {}), **args}
    where = of.read_some(words)
    if not where:
        raise Refusal(1095, spoken(of.key))
    if of.binding and "ip" in where and "servername" in where:
        raise Refusal(1092, "serverName", "IP")
    told = _TOLD_BY.get(of.name, (of.bound,) if of.bound else ())
    for name in told:
        if name not in where and not (name == "ip" and "servername" in where):
            raise Refusal(1095, spoken(name))
    if of.binding and of.key not in where:
        raise Refusal(1095, spoken(of.key))
    if of.binding and of.parent in kinds():
        there(running, of.parent, of.key, where[of.key])
    found = running.find(of.name, **where)
    if not found:
        _refuse_derived(running, of, where)
        if of.name == "vxlan_srcip_binding":
            raise Refusal(2612, where[of.bound])
        raise Refusal(258, *_about(of, where))
    if len(found) > 1:
        missing = next(name for name in of.identity if name not in where)
        raise Refusal(1095, spoken(missing))
    rule(of).removing(running, found[0])
    running.remove(of, found[0])
    rule(of).removed(running, found[0])


def _refuse_derived(running: Running, of: Kind, where: Row) -> None:
    for row in rule(of).derived(running):
        if all(row.get(name) == value for name, value in where.items()):
            rule(of).removing(running, row)


def read(running: Running, of: Kind, identifier: str, args: dict[str, str]) -> list[Json]:
    """Return the rows that id and arguments choose, as they are read back; refuse an id that is not there."""
    can(of, "get")
    where = of.read_some({**({of.key: identifier} if identifier else {}), **args})
    for silent in ("detail", "includemembers", "internal", "nodeid"):  # they say how much to show, not what
        where.pop(silent, None)
    if of.binding and of.parent in kinds() and of.key in where:
        there(running, of.parent, of.key, where[of.key])
    rows = running.find(of.name, **where)
    rows += [row for row in rule(of).derived(running) if all(row.get(n) == v for n, v in where.items())]
    if identifier and not rows and not of.binding:
        raise Refusal(258, spoken(of.key), identifier)
    return [{**of.show(row), **rule(of).shown(running, row)} for row in rows]


def read_bindings(running: Running, parent: str, identifier: str) -> list[Json]:
    """Return objects with all that is bound to them (``vxlan_binding/200``)."""
    of = kind(parent)
    bound = [k for name, k in kinds().items() if k.binding and name.startswith(f"{parent}_")]
    shown = []
    for item in read(running, of, identifier, {}):
        entry: Json = {of.key: item[of.key]}
        for binding in bound:
            if rows := read(running, binding, str(item[of.key]), {}):
                entry[binding.name] = rows
        shown.append(entry)
    return shown


def switch(running: Running, of: Kind, body: Json, state: str) -> None:
    """Enable or disable a row, or one member of a group."""
    can(of, "enable" if state == "ENABLED" else "disable")
    if of.name == "servicegroup" and ("servername" in body or "port" in body):
        of = kind(balancing.MEMBERS)
    words = frozenset(of.identity) | {"ip", "type", "monitorname", "delay", "graceful"}
    where = of.read({name: given for name, given in body.items() if name.lower() in words}, words)
    where = {name: value for name, value in where.items() if name not in ("delay", "graceful")}
    if of.key not in where:
        raise Refusal(1095, spoken(of.key))
    found = running.find(of.name, **where)
    if not found:
        raise Refusal(258, spoken(of.key), where[of.key])
    for row in found:
        running.put(of, {**row, "state": state})


def rename(running: Running, of: Kind, body: Json) -> None:
    """Give a row another name; what refers to it follows."""
    can(of, "rename")
    old, new = str(body.get(of.key) or ""), str(body.get("newname") or "")
    if not old or not new:
        raise Refusal(1095, "newName" if old else spoken(of.key))
    before = running.row(of.name, old)
    if before is None:
        raise Refusal(258, spoken(of.key), old)
    if running.row(of.name, new) is not None:
        raise Refusal(273, spoken(of.key), new)
    users = [
        (kind(name), field, row) for name, field in _NAMED_BY[of.name] for row in running.find(name, **{field: old})
    ]
    running.remove(of, before)
    running.put(of, {**before, of.key: new})
    for user, field, row in users:
        running.remove(user, row)
        running.put(user, {**row, field: new})


def clear(running: Running, of: Kind, body: dict[str, Any]) -> None:
    """Remove all rows of a kind that may go, as ``bridgetable?action=clear`` and ``route?action=clear`` do."""
    can(of, "clear")
    given: dict[str, Value] = of.read(body, frozenset(of.fields))
    for row in running.find(of.name, **given):
        running.remove(of, row)

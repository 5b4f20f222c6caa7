"""What each resource looks like: fields and their types, keys, and what may be sent with which operation.

Read once from ``data/kinds.json``. The one confusing thing: a ``dbl`` is a whole number that is read back as a string, an
``int`` one that is read back as a number; which field is which follows no rule but the vendor's list.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from ipaddress import AddressValueError, IPv4Address, IPv6Interface, NetmaskValueError, ip_address
from typing import Any

from isthmus.lab.nitro.answers import Refusal

Value = str | int | bool | tuple[str, ...]
Row = dict[str, Value]
Key = tuple[Value, ...]

_SPEC = re.compile(r"(str|dbl|int|bool)(\[\])?(?:\{([^}]*)\})?(?:\[(-?\d*)\.\.(\d*)\])?(?:=(.*))?")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TEXT_MAX = 2047

# How messages name an argument, where that is not the field's name (seen on devices).
_SPOKEN = {
    "servername": "serverName",
    "servicename": "serviceName",
    "servicegroupname": "serviceGroupName",
    "ip": "IP",
}

_ADDRESSES = {"ipaddress", "vtep", "gateway", "network", "ip", "neighbor", "ipv46", "local", "remote"}
_FORMS = {
    **{f"*.{name}": "address" for name in _ADDRESSES},
    "*.netmask": "mask",
    "*.mac": "mac",
    "nsip6.ipv6address": "interface6",
    "route6.network": "interface6",
    "vxlan_nsip6_binding.ipaddress": "interface6",
    "vxlan_srcip_binding.srcip": "address",
}

# What makes two objects the same, where key and bound key of the vendor's list do not say it.
_IDENTITIES: dict[str, tuple[str, ...]] = {
    "arp": ("ipaddress", "td"),
    "bridgetable": ("mac", "vxlan", "vtep"),
    "lbvserver_servicegroup_binding": ("name", "servicegroupname"),
    "nd6": ("neighbor", "td"),
    "nsip": ("ipaddress", "td"),
    "nsip6": ("ipv6address", "td"),
    "route": ("network", "netmask", "gateway", "td"),
    "route6": ("network", "gateway", "td"),
    "servicegroup_servicegroupmember_binding": ("servicegroupname", "servername", "port"),
    "vxlan_iptunnel_binding": ("id", "tunnel"),
}


def spoken(name: str) -> str:
    """Return an argument's name as messages have it."""
    return _SPOKEN.get(name, name)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a resource."""

    name: str
    type: str
    many: bool = False
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    default: Value | None = None
    form: str = ""

    def read(self, given: Any) -> Value:
        """Return what a client sent as it is stored; raise Refusal."""
        if self.many:
            items = given.split(",") if isinstance(given, str) else given
            if not isinstance(items, list):
                raise Refusal(1097, spoken(self.name))
            return tuple(self._text(item) for item in items)
        if self.type == "bool":
            return self._boolean(given)
        if self.type in ("int", "dbl"):
            return self._number(given)
        return self._formed(self._text(given))

    def show(self, value: Value) -> Any:
        """Return a stored value as it is read back."""
        if isinstance(value, tuple):
            return list(value)
        return str(value) if self.type == "dbl" else value

    def _text(self, given: Any) -> str:
        if isinstance(given, dict | list) or given is None:
            raise Refusal(1097, spoken(self.name))
        text = ("YES" if given else "NO") if isinstance(given, bool) else str(given)
        if len(text) > _TEXT_MAX:
            raise Refusal(1106, spoken(self.name))
        if not self.choices:
            return text
        for choice in self.choices:
            if choice.lower() == text.lower():
                return choice
        raise Refusal(1097, f"{spoken(self.name)}, {text}")

    def _boolean(self, given: Any) -> bool:
        text = str(given).lower()
        if text not in ("true", "false", "yes", "no"):
            raise Refusal(1097, spoken(self.name))
        return text in ("true", "yes")

    def _number(self, given: Any) -> int:
        if isinstance(given, float) and given.is_integer():
            given = int(given)
        text = str(given)
        if isinstance(given, bool) or not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise Refusal(1097, spoken(self.name))
        number = int(text)
        if self.high is not None and number > self.high:
            raise Refusal(1108, spoken(self.name))
        if self.low is not None and number < self.low:
            raise Refusal(1109, spoken(self.name))
        return number

    def _formed(self, text: str) -> str:
        try:
            match self.form:
                case "address":
                    return str(ip_address(text))
                case "mask":
                    return _mask(text)
                case "interface6":
                    return str(IPv6Interface(text))
        except NetmaskValueError:
            raise Refusal(1111, text) from None
        except ValueError:
            raise Refusal(1110, text) from None
        if self.form == "mac":
            text = text.lower()
            if not _MAC.fullmatch(text):
                raise Refusal(1097, f"{spoken(self.name)}, {text}")
        return text


def _mask(text: str) -> str:
    try:
        bits = int(IPv4Address(text))
    except AddressValueError as error:
        raise NetmaskValueError(text) from error
    inverse = bits ^ 0xFFFFFFFF
    if inverse & (inverse + 1):
        raise NetmaskValueError(text)
    return text


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource type."""

    name: str
    operations: frozenset[str]
    fields: dict[str, Field]  # by name as the device writes it
    identity: tuple[str, ...]
    key: str
    bound: str
    required: tuple[str, ...]
    add: frozenset[str]
    update: frozenset[str]
    unset: frozenset[str]
    singleton: bool

    @property
    def binding(self) -> bool:
        """Return whether this ties one object to another."""
        return self.name.endswith("_binding")

    @property
    def parent(self) -> str:
        """Return the kind that a binding belongs to."""
        return self.name.partition("_")[0]

    def field(self, name: str) -> Field:
        """Return a field by its name in any case; raise Refusal."""
        found = self.fields.get(name) or next((f for n, f in self.fields.items() if n.lower() == name.lower()), None)
        if found is None:
            raise Refusal(278, name)
        return found

    def read(self, body: dict[str, Any], allowed: frozenset[str]) -> Row:
        """Return the fields of a request's body, all of which must be ``allowed``; raise Refusal."""
        row: Row = {}
        for name, given in body.items():
            field = self.field(name)
            if field.name not in allowed:
                raise Refusal(278, spoken(field.name))
            row[field.name] = field.read(given)
        return row

    def read_some(self, words: dict[str, str]) -> Row:
        """Return the fields that path and ``args`` name; raise Refusal."""
        return {field.name: field.read(text) for name, text in words.items() for field in (self.field(name),)}

    def defaults(self) -> Row:
        """Return the fields that are there when nobody has set them."""
        return {name: field.default for name, field in self.fields.items() if field.default is not None}

    def key_of(self, row: Row) -> Key:
        """Return the identity of a row that has it all."""
        return tuple(row[name] for name in self.identity)

    def show(self, row: Row) -> dict[str, Any]:
        """Return a row as it is read back: in the order of the fields, its key first."""
        return {name: field.show(row[name]) for name, field in self.fields.items() if name in row}


def _field(kind: str, name: str, spec: str) -> Field:
    parts = _SPEC.fullmatch(spec)
    if parts is None:
        raise ValueError(f"{kind}.{name}: {spec}")
    form = _FORMS.get(f"{kind}.{name}") or _FORMS.get(f"*.{name}", "")
    if (kind, name) == ("route6", "network"):
        form = "interface6"
    choices = tuple(parts[3].split("|")) if parts[3] else ()
    low, high = (int(limit) if limit else None for limit in (parts[4], parts[5]))
    text = parts[6]
    default: Value | None = int(text) if text is not None and parts[1] in ("int", "dbl") else text
    return Field(name, parts[1], bool(parts[2]), choices, low, high, default, form)


def _required(name: str, raw: dict[str, Any], key: str, bound: str) -> tuple[str, ...]:
    # Two bindings name what they bind in more than one way; their rules look at it.
    if name in ("servicegroup_servicegroupmember_binding", "lbvserver_servicegroup_binding"):
        return (key,)
    return tuple(dict.fromkeys((*raw.get("required", ()), *(word for word in (key, bound) if word))))


def _kind(name: str, raw: dict[str, Any]) -> Kind:
    fields = {n: _field(name, n, spec) for n, spec in raw["fields"].items()}
    fields |= {n: _field(name, n, spec) for n, spec in raw.get("readonly", {}).items() if n not in fields}
    key, bound = raw.get("key", ""), raw.get("bound", "")
    return Kind(
        name=name,
        operations=frozenset(raw["operations"]),
        fields=fields,
        identity=_IDENTITIES.get(name) or tuple(word for word in (key, bound) if word),
        key=key or _IDENTITIES.get(name, ("",))[0],
        bound=bound,
        required=_required(name, raw, key, bound),
        add=frozenset(raw.get("add", ())),
        update=frozenset(raw.get("update", ())),
        unset=frozenset(raw.get("unset", ())),
        singleton=bool(raw.get("singleton")),
    )


@cache
def kinds() -> dict[str, Kind]:
    """Return all kinds by their lower-case names."""
    text = resources.files(__package__).joinpath("data/kinds.json").read_text(encoding="utf-8")
    return {name: _kind(name, raw) for name, raw in json.loads(text).items()}


def kind(name: str) -> Kind:
    """Return one kind; raise Refusal for what the device does not have."""
    found = kinds().get(name.lower())
    if found is None:
        raise Refusal(1232, name)
    return found

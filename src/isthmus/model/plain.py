"""Resources, plans and facts as plain data: how they are written into files, annotations and what is printed.

Whatever JSON lacks (``ipaddress`` objects) is text there, and read back by field: what comes from a file of last year is
checked as if a stranger had written it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

import msgspec

from isthmus.model.resources import (
    AnyResource,
    DirectReturn,
    FdbEntry,
    HealthCheck,
    IPAddress,
    IpTunnel,
    Member,
    MssClamp,
    Neighbor,
    Partial,
    PolicyRoute,
    PortFilter,
    Resource,
    Route,
    SourceAddress,
    SourceProfile,
    Tunnel,
    VirtualAddress,
    VirtualServer,
)

__all__ = ["encode_value", "from_builtins", "to_builtins", "to_json"]


def encode_value(value: Any) -> Any:
    """Spell the types that JSON lacks (``ipaddress`` objects) as text; for ``msgspec`` encoders."""
    if isinstance(value, (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def to_builtins(value: Any) -> Any:
    """Return ``value`` (a resource, change, plan or fact) as plain dicts, lists and strings."""
    return msgspec.to_builtins(value, enc_hook=encode_value)


def to_json(value: Any) -> bytes:
    """Return what :func:`to_builtins` returns as JSON text, without building it first: of a whole device it is large."""
    return msgspec.json.encode(value, enc_hook=encode_value)


_KINDS: dict[str, type[Resource]] = {
    kind.__name__: kind
    for kind in (
        Tunnel,
        IpTunnel,
        SourceAddress,
        MssClamp,
        PortFilter,
        DirectReturn,
        FdbEntry,
        Neighbor,
        Route,
        PolicyRoute,
        SourceProfile,
        VirtualServer,
        VirtualAddress,
        Partial,
    )
}


def _optional_address(value: str | None) -> IPAddress | None:
    return None if value is None else ip_address(value)


def _members(values: list[Mapping[str, Any]]) -> tuple[Member, ...]:
    return tuple(Member(ip_address(v["address"]), int(v["port"]), int(v.get("weight", 1))) for v in values)


def _check(value: Mapping[str, Any] | None) -> HealthCheck | None:
    return None if value is None else HealthCheck(**value)


_FIELDS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("Tunnel", "local"): ip_address,
    ("SourceAddress", "address"): ip_interface,
    ("PortFilter", "sources"): lambda values: tuple(ip_address(value) for value in values),
    ("DirectReturn", "network"): ip_network,
    ("FdbEntry", "destination"): ip_address,
    ("Neighbor", "address"): ip_address,
    ("Neighbor", "vtep"): _optional_address,
    ("IpTunnel", "local"): ip_address,
    ("IpTunnel", "remote"): ip_address,
    ("PolicyRoute", "prefix"): ip_network,
    ("PolicyRoute", "source"): ip_address,
    ("PolicyRoute", "via"): _optional_address,
    ("SourceProfile", "address"): ip_address,
    ("Route", "prefix"): ip_network,
    ("Route", "via"): ip_address,
    ("Route", "source"): _optional_address,
    ("VirtualServer", "address"): ip_address,
    ("VirtualServer", "source"): _optional_address,
    ("VirtualServer", "members"): _members,
    ("VirtualServer", "check"): _check,
    ("VirtualAddress", "address"): ip_address,
}


def from_builtins(data: Mapping[str, Any]) -> AnyResource:
    """Return the resource that :func:`to_builtins` spelled as ``data``.

    Raises ``ValueError`` for an unknown kind, a missing field or a value that does not parse.
    """
    fields = dict(data)
    name = fields.pop("kind", None)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"no resource is of kind {name!r}")
    try:
        values = {
            field: _FIELDS[name, field](value) if (name, field) in _FIELDS else value
            for field, value in fields.items()
        }
        return kind(**values)  # type: ignore[return-value]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from error

"""What objects look like on the wire, reduced to the fields that we read; msgspec skips the rest without building it.

Spelling only: no field is judged here (``parse`` does that). Every field may be missing or null, because both occur in
answers of real API servers. An object whose types do not fit at all is a ``Broken``: named, with the reason, and skipped.

The one confusing thing: ``Whole`` and ``dict`` are also wire types, for kinds whose contents others understand.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

__all__ = [
    "Broken",
    "Envelope",
    "ListMeta",
    "Listing",
    "Meta",
    "Named",
    "Namespace",
    "Node",
    "Page",
    "Service",
    "Slice",
    "Whole",
    "broken",
    "meta_of",
]

T = TypeVar("T")


class Meta(msgspec.Struct, rename="camel"):
    """An object's head."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    generation: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Named(msgspec.Struct):
    """Any object, as far as its head."""

    metadata: Meta = msgspec.field(default_factory=Meta)


class Whole(Named):
    """An object of a kind that somebody else understands: its head typed, the rest as plain values."""

    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None
    data: dict[str, str] | None = None


class NodeAddress(msgspec.Struct):
    type: str = ""
    address: str = ""


class Condition(msgspec.Struct, rename="camel"):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class NodeSpec(msgspec.Struct):
    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default=None, name="podCIDRs")


class NodeStatus(msgspec.Struct):
    addresses: list[NodeAddress] | None = None
    conditions: list[Condition] | None = None


class Node(Named):
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class Port(msgspec.Struct):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class ServiceSpec(msgspec.Struct, rename="camel"):
    type: str | None = None
    load_balancer_class: str | None = None
    load_balancer_ip: str | None = msgspec.field(default=None, name="loadBalancerIP")
    cluster_ip: str | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: list[str] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: list[str] | None = None
    ports: list[Port] | None = None
    session_affinity: str | None = None
    external_traffic_policy: str | None = None
    publish_not_ready_addresses: bool | None = None


class Ingress(msgspec.Struct):
    ip: str | None = None


class LoadBalancerStatus(msgspec.Struct):
    ingress: list[Ingress] | None = None


class ServiceStatus(msgspec.Struct, rename="camel"):
    load_balancer: LoadBalancerStatus | None = None
    conditions: list[Condition] | None = None


class Service(Named):
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class EndpointConditions(msgspec.Struct):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(msgspec.Struct, rename="camel"):
    addresses: list[str] | None = None
    conditions: EndpointConditions | None = None
    node_name: str | None = None


class Slice(Named, rename="camel"):
    address_type: str = ""
    endpoints: list[SliceEndpoint] | None = None
    ports: list[Port] | None = None


class Namespace(Named):
    pass


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class Listing(msgspec.Struct, Generic[T]):
    """One page of a list."""

    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[T] | None = None


class Envelope(msgspec.Struct):
    """One line of a watch; the object is decoded once its type says what it is."""

    type: str
    object: msgspec.Raw = msgspec.Raw(b"{}")


class Broken(NamedTuple):
    """An object that could not be decoded: who it is, as far as that could be read, and why."""

    namespace: str
    name: str
    resource_version: str
    reason: str


class Page(msgspec.Struct, Generic[T]):
    """One decoded page: the good objects, the broken ones, and the resourceVersion of the whole list."""

    items: list[T]
    broken: list[Broken]
    resource_version: str
    last: bool


def broken(raw: bytes | msgspec.Raw, error: Exception) -> Broken:
    """Return who the undecodable object in ``raw`` is, as far as its head can be read."""
    try:
        head: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        head = None
    meta = head.get("metadata") if isinstance(head, dict) else None
    if not isinstance(meta, dict):
        meta = {}

    def text(field: str) -> str:
        value = meta.get(field)
        return value if isinstance(value, str) else ""

    return Broken(text("namespace"), text("name"), text("resourceVersion"), str(error)[:300])


def meta_of(thing: Any) -> Meta:
    """Return the head of a decoded object, whether a Struct or a plain dict."""
    if isinstance(thing, dict):
        return msgspec.convert(thing.get("metadata") or {}, Meta)
    meta: Meta = thing.metadata
    return meta

"""AddressPool: the ranges that service addresses come from, and who may have one.

A pool is a set of integers per family, held as sorted disjoint intervals, so that a /48 costs no more than a /30. Which
address is *taken* is not known here: claims (VirtualIP) are the memory. All restrictions must hold together; an empty
one restricts nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from isthmus.model.kinds.addresses import AddressRange, Family, Interval, IPAddress, IPRange, merged, without
from isthmus.model.kinds.kind import Column, Kind, Part, Status, Whole, YesNo
from isthmus.model.kinds.names import Name, Namespace
from isthmus.model.kinds.selector import LabelSelector
from isthmus.model.kinds.wrong import Wrong

__all__ = ["AddressPool", "AddressPoolSpec", "AddressPoolStatus"]

# What no Service can be reached at. IPv4-mapped addresses are refused because they would be a second name of another.
_UNUSABLE = tuple(
    (ip_network(text), why)
    for text, why in (
        ("0.0.0.0/8", '"this network"'),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/127", "unspecified and loopback"),
        ("::ffff:0:0/96", "IPv4 addresses in IPv6 clothes"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)


def _routable(item: AddressRange) -> None:
    first, last = item.interval
    for network, why in _UNUSABLE:
        if network.version == item.family and first <= int(network[-1]) and int(network[0]) <= last:
            raise Wrong(f"{item} holds addresses that no Service can have: {network} is {why}", "leave them out")


def _edges(item: AddressRange) -> Iterator[Interval]:
    """Yield the addresses of a network that are not for hosts; of IPv6 the subnet-router anycast (RFC 4291 2.6.1)."""
    if item.prefix is None or item.prefix > (30 if item.family == 4 else 126):
        return
    first, last = item.interval
    yield first, first
    if item.family == 4:
        yield last, last


class AddressPoolSpec(Part):
    """The ranges, and who may have an address of them."""

    ranges: tuple[IPRange, ...] = Field(
        min_length=1,
        max_length=1000,
        description="Networks (192.0.2.0/28), single addresses, or ranges (192.0.2.10 - 192.0.2.20), of both families.",
    )
    exclude: tuple[IPRange, ...] = Field(
        default=(), max_length=1000, description="What of the ranges is not given away, in the same forms."
    )
    clusters: tuple[Name, ...] = Field(
        default=(),
        max_length=1000,
        description="KubeClusters whose Services may have an address; all by default.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    namespaces: tuple[Namespace, ...] = Field(
        default=(),
        max_length=1000,
        description="Namespaces whose Services may have an address; all by default.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    namespace_selector: LabelSelector = Field(
        default_factory=LabelSelector, description="Labels that the Service's namespace must have."
    )
    service_selector: LabelSelector = Field(
        default_factory=LabelSelector, description="Labels that the Service must have."
    )
    priority: Whole = Field(default=0, description="Among the pools that fit, the highest priority comes first.")
    auto_assign: YesNo = Field(
        default=True,
        description="Whether Services get an address unasked; otherwise only those that ask for this pool.",
    )
    avoid_network_and_broadcast: YesNo = Field(
        default=False,
        description="Leave out the network and broadcast address of every IPv4 network in the ranges, and the first "
        "address of every IPv6 network.",
    )

    @field_validator("ranges")
    @classmethod
    def _reachable(cls, value: tuple[AddressRange, ...]) -> tuple[AddressRange, ...]:
        for index, item in enumerate(value):
            try:
                _routable(item)
            except Wrong as wrong:
                raise Wrong(wrong.reason, wrong.remedy, at=(index,)) from wrong
        return value

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if not self.addresses(4) and not self.addresses(6):
            raise Wrong(
                "no address is left after the exclusions", "make the ranges larger or exclude less", at=("ranges",)
            )
        return self

    @cached_property
    def _intervals(self) -> dict[int, tuple[Interval, ...]]:
        excluded = {family: [item.interval for item in self.exclude if item.family == family] for family in (4, 6)}
        if self.avoid_network_and_broadcast:
            for item in self.ranges:
                excluded[item.family].extend(_edges(item))
        return {
            family: without((item.interval for item in self.ranges if item.family == family), excluded[family])
            for family in (4, 6)
        }

    def addresses(self, family: Family) -> tuple[Interval, ...]:
        """Return the pool's addresses of ``family`` as sorted disjoint intervals of integers, exclusions taken out."""
        return self._intervals[family]

    def size(self, family: Family) -> int:
        """Return how many addresses of ``family`` the pool can give away in all."""
        return sum(last - first + 1 for first, last in self.addresses(family))

    def contains(self, address: IPAddress) -> bool:
        """Return whether the pool may give ``address`` away; logarithmic in the number of ranges."""
        intervals = self.addresses(4 if address.version == 4 else 6)
        # 2**128 is above every address, so an interval that begins at this one sorts before the needle.
        index = bisect_right(intervals, (int(address), 1 << 128)) - 1
        return index >= 0 and intervals[index][0] <= int(address) <= intervals[index][1]

    def overlap(self, other: AddressPoolSpec, family: Family) -> tuple[Interval, ...]:
        """Return the addresses of ``family`` that are in both pools, as sorted disjoint intervals."""
        return shared(self.addresses(family), other.addresses(family))

    def admits(
        self,
        *,
        cluster: str,
        namespace: str,
        namespace_labels: Mapping[str, str],
        service_labels: Mapping[str, str],
    ) -> bool:
        """Return whether a Service may have an address of this pool; every restriction must hold."""
        return (
            (not self.clusters or cluster in self.clusters)
            and (not self.namespaces or namespace in self.namespaces)
            and self.namespace_selector.matches(namespace_labels)
            and self.service_selector.matches(service_labels)
        )


def shared(ours: tuple[Interval, ...], theirs: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """Return the integers that are in both; each argument is sorted and disjoint."""
    result: list[Interval] = []
    left = right = 0
    while left < len(ours) and right < len(theirs):
        first = max(ours[left][0], theirs[right][0])
        last = min(ours[left][1], theirs[right][1])
        if first <= last:
            result.append((first, last))
        if ours[left][1] < theirs[right][1]:
            left += 1
        else:
            right += 1
    return merged(result)


# Kubernetes' integers end here, and IPv6 pools do not: what is more is shown as this many.
_MOST = 2**63 - 1
Count = Annotated[Whole, AfterValidator(lambda value: min(value, _MOST))]


class AddressPoolStatus(Status):
    """How full the pool is; counts above 2**63 - 1 are shown as that."""

    total: Count | None = Field(default=None, description="Addresses in the pool.")
    used: Count | None = Field(default=None, description="Addresses that are claimed.")
    free: Count | None = Field(default=None, description="Addresses that can be claimed now.")
    waiting: Count | None = Field(default=None, description="Services that wait for an address of this pool.")


class AddressPool(Kind):
    """A set of addresses that Services are given."""

    PLURAL: ClassVar[str] = "addresspools"
    SINGULAR: ClassVar[str] = "addresspool"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("pool",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Ranges", ".spec.ranges"),
        Column("Total", ".status.total", "integer"),
        Column("Used", ".status.used", "integer"),
        Column("Free", ".status.free", "integer"),
        Column("Waiting", ".status.waiting", "integer"),
        Column("Priority", ".spec.priority", "integer", wide=True),
    )

    kind: Literal["AddressPool"] = Field(default="AddressPool", description="The kind of this object.")
    spec: AddressPoolSpec = Field(description="The ranges, and who may have an address of them.")
    status: AddressPoolStatus = Field(default_factory=AddressPoolStatus, description="How full the pool is.")

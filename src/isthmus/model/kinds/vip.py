"""VirtualIP: a claim of one address, for a Service or as a reservation.

The object's name *is* the address, in one canonical spelling, so that two claims of one address are one name and the
second create fails in the store: a double allocation is a conflict, not a race. IPv6 is fully expanded with dashes for
colons, since a name may hold no colon and a compressed address has many spellings.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from isthmus.model.kinds.addresses import Address, IPAddress, parse_address
from isthmus.model.kinds.kind import Column, Kind, Part, Status, Timestamp, YesNo, rule
from isthmus.model.kinds.names import Name, Namespace
from isthmus.model.kinds.wrong import Wrong

__all__ = ["Holder", "VirtualIP", "VirtualIPSpec", "VirtualIPStatus", "vip_address", "vip_name"]


def vip_name(address: IPAddress) -> str:
    """Return the name of the claim of ``address``: ``192.0.2.1`` or ``2001-0db8-0000-0000-0000-0000-0000-0001``.

    An IPv4-mapped IPv6 address is that IPv4 address; a zone is ``Wrong``.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    parse_address(address)
    return str(address) if isinstance(address, IPv4Address) else address.exploded.replace(":", "-")


def vip_address(name: str) -> IPAddress:
    """Return the address that a claim's ``name`` says; raise ``Wrong`` unless the name is the canonical spelling."""
    try:
        address: IPAddress = IPv6Address(name.replace("-", ":")) if "-" in name else IPv4Address(name)
    except ValueError as error:
        raise Wrong(f'"{name}" is not an address', "the name of a VirtualIP is its address") from error
    parse_address(address)
    if vip_name(address) != name:
        raise Wrong(f'"{name}" is not how the address {address} is spelled in a name', f"write {vip_name(address)}")
    return address


class Holder(Part):
    """The Service that has the address."""

    cluster: Name = Field(description="Name of the KubeCluster.")
    namespace: Namespace = Field(description="Namespace of the Service.")
    service: Name = Field(description="Name of the Service.")

    def __str__(self) -> str:
        return f"{self.cluster}/{self.namespace}/{self.service}"


class VirtualIPSpec(Part):
    """The address, and whose it is: exactly one of holder and reservation."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.holder) != (has(self.reservation) && self.reservation)",
            "say exactly one of holder and reservation: true",
        )
    )

    address: Address = Field(description="The address; the object's name says the same.")
    pool: Name | None = Field(default=None, description="AddressPool it was taken from.")
    holder: Holder | None = Field(default=None, description="The Service that has it.")
    reservation: YesNo = Field(default=False, description="Whether it is kept back, so that no Service gets it.")
    description: str | None = Field(default=None, max_length=1024, description="What a person wants to remember.")

    @model_validator(mode="after")
    def _one_use(self) -> Self:
        if self.holder is not None and self.reservation:
            raise Wrong("has a holder and is a reservation", "keep one of them", at=("reservation",))
        if self.holder is None and not self.reservation:
            raise Wrong("does not say whose the address is", "say holder, or reservation: true")
        return self


class VirtualIPStatus(Status):
    """Since when the address is held."""

    since: Timestamp | None = Field(default=None, description="Since when the holder has it.")


class VirtualIP(Kind):
    """A claim of one address."""

    PLURAL: ClassVar[str] = "virtualips"
    SINGULAR: ClassVar[str] = "virtualip"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("vip",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Address", ".spec.address"),
        Column("Pool", ".spec.pool"),
        Column("Cluster", ".spec.holder.cluster"),
        Column("Namespace", ".spec.holder.namespace"),
        Column("Service", ".spec.holder.service"),
        Column("Reserved", ".spec.reservation", "boolean", wide=True),
        Column("Since", ".status.since", "date"),
    )

    kind: Literal["VirtualIP"] = Field(default="VirtualIP", description="The kind of this object.")
    spec: VirtualIPSpec = Field(description="The address, and whose it is.")
    status: VirtualIPStatus = Field(default_factory=VirtualIPStatus, description="Since when the address is held.")

    @model_validator(mode="after")
    def _named_for_it(self) -> Self:
        wanted = vip_name(self.spec.address)
        if self.metadata.name != wanted:
            raise Wrong(
                f'"{self.metadata.name}" is not the address {self.spec.address}',
                f"a VirtualIP's name is its address: write {wanted}",
                at=("metadata", "name"),
            )
        return self

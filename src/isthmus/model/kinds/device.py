"""EdgeDevice: one external target that we configure, by which driver, and how boldly.

The spec's common part says what every device has (tunnel addresses, policy, resync, the deletion guard); what only one
driver understands stands in a block named for it. Owner marks are chosen here, before the first write: changing the
route protocol or the installation of a device in use leaves what was written under the old mark behind.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from isthmus.model.kinds.addresses import Address, IPAddress
from isthmus.model.kinds.duration import Duration
from isthmus.model.kinds.kind import Column, Kind, Part, Status, Timestamp, Whole, YesNo, rule
from isthmus.model.kinds.names import AbsolutePath, Installation, Interface
from isthmus.model.kinds.netscaler import NetScalerOptions, UnicastMac
from isthmus.model.kinds.urls import url_parts
from isthmus.model.kinds.wrong import Wrong, closest

__all__ = [
    "ADOPT",
    "ALLOW_DELETES",
    "Deletes",
    "DriftAnswer",
    "EdgeDevice",
    "EdgeDeviceSpec",
    "EdgeDeviceStatus",
    "ExternalOptions",
    "GatewayAgent",
    "LinuxOptions",
    "MemberProbe",
    "Policy",
]

ALLOW_DELETES = "isthmus.dev/allow-deletes"
"""Annotation on an EdgeDevice: any value is consent to the deletions that the guard holds back just now."""

ADOPT = "isthmus.dev/adopt"
"""Annotation on an EdgeDevice: identities, comma-separated, of foreign things there that are to be taken over, once."""

Policy = Literal["sync", "upsert-only", "observe"]
DriftAnswer = Literal["repair", "alert", "ignore"]

# /etc/iproute2/rt_protos, zebra's own numbers (FRR zebra/rt_netlink.h) and Calico's: routes so marked are another
# program's, and one owner mark for two programs means that each deletes the other's routes.
_TAKEN = {
    16: "dhcp",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    80: "Calico",
    99: "openr",
    186: "FRR bgp",
    187: "FRR isis",
    188: "FRR ospf",
    189: "FRR rip",
    190: "FRR ripng",
    191: "FRR nhrp",
    192: "FRR eigrp",
    193: "FRR ldp",
    194: "FRR sharp",
    195: "FRR pbr",
    196: "FRR static",
    197: "FRR openfabric",
    198: "FRR srte",
}


def unicast(address: IPAddress) -> IPAddress:
    """Return ``address`` if packets of an overlay can be sent to it; raise ``Wrong``."""
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise Wrong(f"{address} cannot be the end of a tunnel", "write a unicast address of the device")
    return address


class Deletes(Part):
    """The deletion guard: how much may go in one window without consent."""

    floor: Whole = Field(default=20, ge=0, description="This many deletions always pass.")
    share: float = Field(default=0.25, ge=0, le=1, description="Above the floor, this share of what is ours passes.")
    window: Duration = Field(default=600.0, description="Deletions are counted over this sliding window.")


class GatewayAgent(Part):
    """Where the gateway's own agent is, when the controller runs elsewhere."""

    url: str = Field(
        max_length=512, description="Where `isthmus agent gateway` listens, like https://gw1.example.org:7441."
    )
    directory: AbsolutePath | None = Field(
        default=None,
        description="Directory of credentials, in which this device has a folder of its name; gateways below the state "
        "directory by default.",
    )

    @field_validator("url")
    @classmethod
    def _https(cls, value: str) -> str:
        parts = url_parts(value, schemes=("https",), example="https://192.0.2.1:7441")
        if parts.path not in ("", "/"):
            raise Wrong("has a path", f"write {parts.scheme}://{parts.netloc}")
        return value.rstrip("/")


class MemberProbe(Part):
    """How the gateway asks the nodes behind its routes whether they answer."""

    interval: Duration = Field(
        default=0.1, description="Each node is sent an echo request this often; with thousands of nodes less often."
    )
    timeout: Duration = Field(default=0.1, description="An answer later than this is none.")
    failures: Whole = Field(default=2, ge=1, le=100, description="So many misses in a row take new flows away.")
    rises: Whole = Field(default=2, ge=1, le=100, description="So many answers in a row bring them back.")

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if not 0.01 <= self.interval <= 60:
            raise Wrong("is outside 10ms to 60s", "write a time such as 100ms", at=("interval",))
        if not 0 < self.timeout <= self.interval:
            raise Wrong(
                "is longer than the interval, or no time at all", "write at most the interval", at=("timeout",)
            )
        return self


class LinuxOptions(Part):
    """What only the linux driver understands."""

    protocol: Whole = Field(
        default=200,
        ge=16,
        le=255,
        description="Route protocol number that marks our routes, rules and neighbors; no other program may use it.",
    )
    installation: Installation = Field(
        default="main", description="Marks what has a name: the nft table is isthmus_<installation>."
    )
    announce: tuple[Interface, ...] = Field(
        default=(),
        max_length=64,
        description="Interfaces on which VIPs are answered for and announced; all suitable ones by default.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    member_probe: MemberProbe | None = Field(
        default=None,
        description="The gateway asks the nodes itself and gives no new flows to pods on one that is silent; off by default.",
    )
    agent: GatewayAgent | None = Field(
        default=None,
        description="The gateway's agent; without it the controller programs the host that it runs on. With it, the agent's "
        "own flags say protocol, installation, announce and the member probe.",
    )

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        if self.agent is not None:
            for name, flag in (
                ("protocol", "--protocol"),
                ("installation", "--installation"),
                ("announce", "--announce"),
                ("member_probe", "--member-probe"),
            ):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise Wrong(
                        "is the agent's own setting", f"remove it here and start the agent with {flag}", at=(name,)
                    )
        return self

    @field_validator("protocol")
    @classmethod
    def _own(cls, value: int) -> int:
        if value in _TAKEN:
            raise Wrong(f"route protocol {value} is used by {_TAKEN[value]}", "choose a free number, such as 200")
        return value

    @field_validator("announce")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise Wrong("names an interface twice", "name each once")
        return value


class ExternalOptions(Part):
    """What only the external driver understands: a device that another program configures, from what we publish."""

    mac: UnicastMac | None = Field(
        default=None,
        description="MAC that the device sends from in the overlay; without it, nodes find it by asking.",
    )
    mtu: Whole = Field(
        default=1500, ge=576, le=9216, description="MTU of the interface that the device's tunnel ends on."
    )


class EdgeDeviceSpec(Part):
    """Which driver configures the device, and how boldly."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.netscaler) == (self.driver == 'netscaler')",
            "the block netscaler belongs to driver netscaler, which needs it",
        )
    )

    driver: str = Field(description="The driver that configures the device.", min_length=1, max_length=63)
    tunnel_addresses: tuple[Address, ...] = Field(
        default=(),
        max_length=2,
        description="The device's ends of our tunnels, at most one per family; the driver finds them by default.",
    )
    policy: Policy = Field(
        default="sync",
        description="sync changes everything, upsert-only deletes nothing, observe writes nothing and only reports.",
    )
    drift: DriftAnswer = Field(
        default="repair",
        description="What of ours somebody else changed is put right (repair), left and reported (alert), or left (ignore).",
    )
    resync: Duration = Field(default=300.0, description="The device is read whole and compared this often.")
    deletes: Deletes = Field(default_factory=Deletes, description="How much may be deleted without consent.")
    linux: LinuxOptions = Field(default_factory=LinuxOptions, description="What only the linux driver understands.")
    netscaler: NetScalerOptions | None = Field(
        default=None, description="What only the netscaler driver understands; it needs this block."
    )
    external: ExternalOptions = Field(
        default_factory=ExternalOptions, description="What only the external driver understands."
    )

    @field_validator("driver")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        drivers = info.context.get("drivers") if isinstance(info.context, dict) else None
        if drivers is not None and value not in drivers:
            meant = closest(value, drivers)
            known = "known drivers: " + ", ".join(sorted(drivers))
            raise Wrong(f'no driver is called "{value}"', f'did you mean "{meant}"? {known}' if meant else known)
        return value

    @field_validator("tunnel_addresses")
    @classmethod
    def _one_per_family(cls, value: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
        for index, address in enumerate(value):
            try:
                unicast(address)
            except Wrong as wrong:
                raise Wrong(wrong.reason, wrong.remedy, at=(index,)) from wrong
        if len({address.version for address in value}) != len(value):
            raise Wrong("names two addresses of one family", "keep one IPv4 and one IPv6 address at most")
        return value

    @field_validator("resync")
    @classmethod
    def _not_busy(cls, value: float) -> float:
        if value < 1:
            raise Wrong("would read the whole device without a pause", "write 1s or more")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.driver != "linux" and "linux" in self.model_fields_set:
            raise Wrong(f'is not for driver "{self.driver}"', "remove the block", at=("linux",))
        if self.driver != "external" and "external" in self.model_fields_set:
            raise Wrong(f'is not for driver "{self.driver}"', "remove the block", at=("external",))
        if self.driver == "external" and not self.tunnel_addresses:
            raise Wrong(
                "are all that we know of such a device", "write its end of the overlay", at=("tunnelAddresses",)
            )
        if self.driver != "netscaler" and self.netscaler is not None:
            raise Wrong(f'is not for driver "{self.driver}"', "remove the block", at=("netscaler",))
        if self.driver == "netscaler" and self.netscaler is None:
            raise Wrong('is needed by driver "netscaler"', "say at least urls and credentials", at=("netscaler",))
        return self


class LastPlan(Part):
    """The last plan for the device, in numbers."""

    at: Timestamp | None = Field(default=None, description="When it was made.")
    creates: Whole = Field(default=0, description="Resources to create.")
    updates: Whole = Field(default=0, description="Resources to change.")
    deletes: Whole = Field(default=0, description="Resources to delete.")
    withheld: Whole = Field(default=0, description="Deletions that the guard or the policy held back.")
    refused: Whole = Field(default=0, description="Changes that the device refused.")


class EdgeDeviceStatus(Status):
    """What we see of the device."""

    reachable: YesNo | None = Field(default=None, description="Whether the device answers us.")
    in_sync: YesNo | None = Field(default=None, description="Whether it holds exactly what it should.")
    drift: Whole | None = Field(default=None, description="Resources of ours that somebody else changed.")
    conflicts: Whole | None = Field(default=None, description="Foreign resources where ours should stand.")
    last_plan: LastPlan | None = Field(default=None, description="The last plan, in numbers.")


class EdgeDevice(Kind):
    """One load balancer or gateway outside the clusters that we configure."""

    PLURAL: ClassVar[str] = "edgedevices"
    SINGULAR: ClassVar[str] = "edgedevice"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("edge",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Driver", ".spec.driver"),
        Column("Policy", ".spec.policy"),
        Column("Reachable", ".status.reachable", "boolean"),
        Column("In-Sync", ".status.inSync", "boolean"),
        Column("Drift", ".status.drift", "integer", wide=True),
        Column("Conflicts", ".status.conflicts", "integer"),
    )

    kind: Literal["EdgeDevice"] = Field(default="EdgeDevice", description="The kind of this object.")
    spec: EdgeDeviceSpec = Field(description="Which driver configures the device, and how boldly.")
    status: EdgeDeviceStatus = Field(default_factory=EdgeDeviceStatus, description="What we see of the device.")

    @property
    def deletes_allowed(self) -> bool:
        """Return whether the user has given consent to the deletions that the guard holds back."""
        return ALLOW_DELETES in self.metadata.annotations

"""ClusterLink: joins one cluster to one or more devices by a path.

``auto`` picks the first path that works and keeps it. The overlay's network is shared by devices and nodes, so it must
be nobody else's; its VNI and port must be its own on every host it touches, which is why the ports of the common CNIs
are refused. The flannel block says what the *cluster's* flannel uses, and changes nothing there.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from isthmus.model.kinds.addresses import Address, IPAddress, IPNetwork, Network
from isthmus.model.kinds.duration import Duration
from isthmus.model.kinds.kind import Column, Kind, Part, Status, Timestamp, Whole, YesNo, rule
from isthmus.model.kinds.names import Name
from isthmus.model.kinds.selector import LabelSelector
from isthmus.model.kinds.wrong import Wrong

__all__ = [
    "ClusterLink",
    "ClusterLinkSpec",
    "ClusterLinkStatus",
    "Flannel",
    "Overlay",
    "PathChoice",
    "PolicyRoutes",
    "Standby",
    "Tried",
]

PathChoice = Literal["auto", "direct", "flannel", "overlay"]

_LENGTHS = {4: (8, 30), 6: (48, 126)}
_CNI_PORTS = {
    8472: "flannel and Cilium own UDP port 8472 on their nodes",
    4789: "Calico, Antrea and others own UDP port 4789 on their nodes",
}
# RFC 8200 section 5: IPv6 needs links of at least this MTU.
_IPV6_MTU = 1280


class Overlay(Part):
    """Our own overlay between devices and nodes: VXLAN (RFC 7348), or IP in IP (RFC 2003)."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "!has(self.port) || !(self.port in [4789, 8472])", "ports 4789 and 8472 belong to the cluster's CNI"
        )
    )

    encapsulation: Literal["vxlan", "ipip"] = Field(
        default="vxlan",
        description="vxlan, for everything; or ipip, for IPv4 over IPv4 alone and devices with policy routes (a NetScaler).",
    )

    networks: tuple[Network, ...] = Field(
        min_length=1,
        max_length=2,
        description="Networks of the overlay, at most one per family; devices and nodes get an address in each.",
    )
    vni: Whole = Field(default=7700, ge=1, le=16777215, description="VXLAN network identifier.")
    port: Whole = Field(
        default=7700, ge=1, le=65535, description="UDP port; not 8472 or 4789, which the cluster's CNI may own."
    )
    mtu: Whole | None = Field(
        default=None, ge=576, le=9000, description="MTU inside the overlay; computed from the underlay by default."
    )

    @field_validator("networks")
    @classmethod
    def _usable(cls, value: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...]:
        for index, network in enumerate(value):
            shortest, longest = _LENGTHS[network.version]
            if not shortest <= network.prefixlen <= longest:
                raise Wrong(
                    f"{network} is too {'large' if network.prefixlen < shortest else 'small'} for an overlay",
                    f"its prefix length is /{shortest} to /{longest} for IPv{network.version}",
                    at=(index,),
                )
            if network.is_multicast or network.is_loopback or network.is_link_local or network.is_unspecified:
                raise Wrong(f"{network} cannot be routed", "write a private network nobody else uses", at=(index,))
        if len({network.version for network in value}) != len(value):
            raise Wrong("names two networks of one family", "keep one IPv4 and one IPv6 network at most")
        return value

    @field_validator("port")
    @classmethod
    def _own_port(cls, value: int) -> int:
        if value in _CNI_PORTS:
            raise Wrong(
                f"{_CNI_PORTS[value]}, and two VXLAN devices on one port exclude each other", "7700 is the default"
            )
        return value

    @model_validator(mode="after")
    def _ipip_is_ipv4(self) -> Self:
        if self.encapsulation == "ipip" and any(network.version == 6 for network in self.networks):
            raise Wrong(
                "ipip carries IPv4 over IPv4 alone", "keep the IPv4 network, or use vxlan", at=("encapsulation",)
            )
        return self

    @model_validator(mode="after")
    def _ipv6_fits(self) -> Self:
        if self.mtu is not None and self.mtu < _IPV6_MTU and any(network.version == 6 for network in self.networks):
            raise Wrong(f"{self.mtu} is below what IPv6 needs", f"write {_IPV6_MTU} or more (RFC 8200)", at=("mtu",))
        return self


class Flannel(Part):
    """What the cluster's own flannel uses, for the path on which the device poses as one of its nodes."""

    vni: Whole = Field(default=1, ge=1, le=16777215, description="VXLAN network identifier of the cluster's flannel.")
    port: Whole = Field(default=8472, ge=1, le=65535, description="UDP port of the cluster's flannel.")
    node_name: Name | None = Field(
        default=None,
        description="Name of the Node object that stands for the device, if the link has one device; made from the "
        "names of link and device by default.",
    )


class PolicyRoutes(Part):
    """Routes by the sender's address, so that clusters with the same pod CIDRs can share a device that has such routes."""

    sources: tuple[Address, ...] = Field(
        default=(),
        max_length=16,
        description="Addresses of the device on the nodes' segment that packets to pods are sent from, of no other link; "
        "Services are served from the first of their family. For path direct: a tunnel has an address of its own.",
    )

    @field_validator("sources")
    @classmethod
    def _each_once(cls, value: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
        for index, address in enumerate(value):
            if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local:
                raise Wrong(
                    f"nothing can be sent to pods from {address}", "write an address of the device", at=(index,)
                )
            if address in value[:index]:
                raise Wrong(f"names {address} twice", "name each address once", at=(index,))
        return value


class Standby(Part):
    """How devices that share a segment share its VIPs: one answers, the others stand by."""

    grace: Duration = Field(
        default=1.0, description="A device that does not answer us is waited for so long before another takes over."
    )
    active: Name | None = Field(
        default=None,
        description="Device that is to answer whenever it can; by default whoever does goes on, and nothing moves back.",
    )


class ClusterLinkSpec(Part):
    """Which cluster meets which devices, and how."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "self.path != 'overlay' || has(self.overlay)",
            "path overlay needs the block overlay with its networks",
            (
                "!has(self.policyRoutes) || !has(self.policyRoutes.sources) || size(self.policyRoutes.sources) == 0 || "
                "!has(self.path) || self.path in ['auto', 'direct']",
                "sources of policy routes are for path direct; a tunnel has an address of its own",
            ),
        )
    )

    cluster: Name = Field(description="Name of the KubeCluster.")
    devices: tuple[Name, ...] = Field(
        min_length=1,
        max_length=100,
        description="Names of the EdgeDevices.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    path: PathChoice = Field(
        default="auto",
        description="How packets get from the devices to the pods; auto takes the first that works and keeps it.",
    )
    node_selector: LabelSelector = Field(
        default_factory=LabelSelector, description="Nodes that take part; all by default."
    )
    overlay: Overlay | None = Field(default=None, description="Our own overlay; without it, auto cannot choose it.")
    flannel: Flannel = Field(default_factory=Flannel, description="What the cluster's own flannel uses.")
    policy_routes: PolicyRoutes | None = Field(
        default=None,
        description="Route to pods by the sender's address, so that another cluster on the same device may have the same "
        "pod CIDRs; both links need it, and a device that has policy routes (a NetScaler).",
    )
    direct_return: tuple[Network, ...] = Field(
        default=(),
        max_length=50,
        description="Networks of VIPs whose packets a device hands to nodes as clients sent them, over the overlay; nodes "
        "answer them directly. What makes the device do so is not set up.",
    )
    pod_networks: tuple[Network, ...] = Field(
        default=(),
        max_length=100,
        description="Networks that pod CIDRs may come from; a node that claims others is refused. Any, by default.",
    )
    node_grace_period: Duration = Field(
        default=40.0, description="A node that is NotReady stays a member for so long: a blip removes nobody."
    )
    services: YesNo = Field(
        default=True, description="Whether Services of type LoadBalancer are programmed on these devices."
    )
    standby: Standby = Field(default_factory=Standby, description="How the devices share VIPs on a common segment.")

    @field_validator("devices")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        seen: set[str] = set()
        for index, name in enumerate(value):
            if name in seen:
                raise Wrong(f'names "{name}" twice', "name each device once", at=(index,))
            seen.add(name)
        return value

    @model_validator(mode="after")
    def _one_name_one_device(self) -> Self:
        if self.flannel.node_name is not None and len(self.devices) > 1:
            raise Wrong(
                f"is one name for {len(self.devices)} devices",
                "leave it out: each device gets a name of its own",
                at=("flannel", "nodeName"),
            )
        return self

    @model_validator(mode="after")
    def _active_is_one_of_them(self) -> Self:
        if self.standby.active is not None and self.standby.active not in self.devices:
            raise Wrong(
                f'"{self.standby.active}" is none of the link\'s devices',
                f"write one of {', '.join(self.devices)}",
                at=("standby", "active"),
            )
        return self

    @model_validator(mode="after")
    def _overlay_said(self) -> Self:
        if self.path == "overlay" and self.overlay is None:
            raise Wrong(
                "path overlay needs a network", 'write overlay: {networks: ["10.200.0.0/24"]}', at=("overlay",)
            )
        return self

    @model_validator(mode="after")
    def _direct_return_over_the_overlay(self) -> Self:
        if self.direct_return and (self.overlay is None or self.path not in ("auto", "overlay")):
            raise Wrong(
                "is about packets that come over the overlay, and the link has none",
                "use path overlay",
                at=("directReturn",),
            )
        for index, network in enumerate(self.direct_return):
            for own in self.overlay.networks if self.overlay is not None else ():
                if own.version == network.version and own.overlaps(network):
                    raise Wrong(
                        f"{network} overlaps the overlay's own {own}",
                        "VIPs lie outside of the overlay",
                        at=("directReturn", index),
                    )
        return self

    @model_validator(mode="after")
    def _sources_where_needed(self) -> Self:
        if self.policy_routes is None:
            return self
        place = ("policyRoutes", "sources")
        if self.path == "direct" and not self.policy_routes.sources:
            raise Wrong(
                "path direct needs an address that the policy routes lead from",
                "write an address of the device on the nodes' segment, of no other link",
                at=place,
            )
        if self.path in ("flannel", "overlay") and self.policy_routes.sources:
            raise Wrong(f"path {self.path} has an address of its own to send from", "leave them out", at=place)
        return self


class Tried(Part):
    """A path that was considered and not taken."""

    path: str = Field(description="The path.")
    why_not: str = Field(description="Why it was not taken, so that a person can change that.")


class Probe(Part):
    """The last proof that the path carries packets."""

    ok: YesNo = Field(description="Whether packets got through.")
    at: Timestamp | None = Field(default=None, description="When this was seen.")
    message: str = Field(default="", description="What was sent where, and what came back.")


class ClusterLinkStatus(Status):
    """Which path was chosen, why, and how far it has got."""

    path: str | None = Field(default=None, description="The path in use.")
    why: str | None = Field(default=None, description="Why this path.")
    tried: tuple[Tried, ...] = Field(default=(), description="Paths that were not taken, and why not.")
    nodes_joined: Whole | None = Field(default=None, description="Nodes that take part.")
    nodes_waiting: Whole | None = Field(default=None, description="Nodes that should take part and do not yet.")
    answering: tuple[str, ...] = Field(
        default=(), description="What each of several devices does about VIPs on segments that they share."
    )
    probe: Probe | None = Field(default=None, description="The last proof that the path carries packets.")


class ClusterLink(Kind):
    """Joins one cluster to one or more devices."""

    PLURAL: ClassVar[str] = "clusterlinks"
    SINGULAR: ClassVar[str] = "clusterlink"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("link",)
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("Cluster", ".spec.cluster"),
        Column("Devices", ".spec.devices"),
        Column("Path", ".status.path"),
        Column("Joined", ".status.nodesJoined", "integer"),
        Column("Waiting", ".status.nodesWaiting", "integer"),
        Column("Why", ".status.why", wide=True),
    )

    kind: Literal["ClusterLink"] = Field(default="ClusterLink", description="The kind of this object.")
    spec: ClusterLinkSpec = Field(description="Which cluster meets which devices, and how.")
    status: ClusterLinkStatus = Field(
        default_factory=ClusterLinkStatus, description="The path chosen, and its health."
    )

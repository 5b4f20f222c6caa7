"""What was seen on a device: ours as resources, others' as sentences, and the objects behind what is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface

from isthmus.drivers.netscaler.objects import Obj
from isthmus.model.resources import AnyResource, IPAddress, IPInterface, Partial

__all__ = ["Place", "Places", "Sight"]


@dataclass(frozen=True, slots=True)
class Place:
    """One subnet of the device: an address of its own, and the link it is on; ``ours`` if we put it there."""

    own: IPInterface
    link: str
    ours: bool = False


@dataclass(slots=True)
class Places:
    """All subnets of the device; where an address is reached is the longest prefix that holds it."""

    all: list[Place] = field(default_factory=list)

    def of(self, address: IPAddress) -> Place | None:
        """Return the subnet that ``address`` is in."""
        found = [
            place
            for place in self.all
            if place.own.version == address.version
            and place.own.network.prefixlen < place.own.max_prefixlen
            and address in place.own.network
        ]
        return max(found, key=lambda place: place.own.network.prefixlen, default=None)


@dataclass(slots=True)
class Sight:
    """What a look has found.

    ``odd`` holds the objects that stand for an identity whose resource does not say so: parts of something not whole,
    several where one should be. What is written then starts from these. ``theirs`` are the objects of foreign things that
    can be taken over.
    """

    identities: frozenset[str] | None = None
    resources: dict[str, AnyResource] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    odd: dict[str, tuple[Obj, ...]] = field(default_factory=dict)
    theirs: dict[str, tuple[Obj, ...]] = field(default_factory=dict)

    def asks(self, *kinds: str) -> bool:
        """Say whether anything of these kinds of identities was asked for."""
        if self.identities is None:
            return True
        return any(identity.partition(" ")[0] in kinds for identity in self.identities)

    def asked(self, kind: str) -> list[str] | None:
        """Return what follows the kind in the identities asked for, none where everything is."""
        if self.identities is None:
            return None
        return sorted(what for of, _, what in (one.partition(" ") for one in self.identities) if of == kind)

    def wants(self, identity: str) -> bool:
        return self.identities is None or identity in self.identities

    def add(self, resource: AnyResource, odd: tuple[Obj, ...] = ()) -> None:
        """Note what is ours; ``odd`` are its objects where they are not exactly those of ``resource``."""
        identity = resource.identity
        if not self.wants(identity):
            return
        self.resources[identity] = resource
        if odd:
            self.odd[identity] = odd

    def add_partial(self, identity: str, rank: int, missing: str, standing: tuple[Obj, ...]) -> None:
        """Note something of ours that is not whole."""
        if self.wants(identity):
            self.resources[identity] = Partial(identity, rank, missing)
            self.odd[identity] = standing

    def add_foreign(self, identity: str, sentence: str, *objects: Obj) -> None:
        """Note what is not ours, unless something of ours stands there; ``objects`` are what it is made of."""
        if self.wants(identity):
            self.foreign.setdefault(identity, sentence)
            self.theirs[identity] = (*self.theirs.get(identity, ()), *objects)

    def told_foreign(self) -> Mapping[str, str]:
        """Return the sentences about what stands where nothing of ours does."""
        return {identity: text for identity, text in self.foreign.items() if identity not in self.resources}


def interface(address: IPAddress, length: int) -> IPInterface:
    """Return an address with its prefix length."""
    kind = IPv4Interface if address.version == 4 else IPv6Interface
    return kind((int(address), length))

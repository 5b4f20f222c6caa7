"""Who gets which address: one Service at a time, lowest free address first, never twice, never moved unasked.

The claims (VirtualIP objects, named by their address) are the memory; an allocation is only ever *proposed* here, and stands
once the store has taken the claim. So two proposals of one address cannot both win, whoever makes them.

In this order: what the Service holds stays; what it asks for by name is honoured or refused with the reason; what its
status shows from before is taken again if it is free and allowed (a lost store must not move an address); else the lowest
free address of the fitting pool with the highest priority.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from isthmus.core.services import is_ours
from isthmus.core.world import Holder, World
from isthmus.model.facts import ServiceFacts
from isthmus.model.kinds import AddressPool, vip_name
from isthmus.model.kinds.addresses import Family, address_of
from isthmus.model.resources import IPAddress


class Claim(msgspec.Struct, frozen=True):
    """A proposal: this address, out of this pool, for this Service."""

    address: IPAddress
    pool: str
    holder: Holder


class Refused(msgspec.Struct, frozen=True):
    """Why a Service gets no address of a family; ``waiting`` says that it gets one as soon as one is free."""

    reason: str
    message: str
    waiting: bool = False


class Decision(msgspec.Struct, frozen=True):
    """What becomes of one Service: claims to make, claims to give back, and what it must do without and why."""

    claims: tuple[Claim, ...] = ()
    release: tuple[str, ...] = ()
    refused: tuple[Refused, ...] = ()


class Allocator:
    """Decides over the addresses of a world.

    It remembers per pool below which address nothing is free, so that giving the ten-thousandth Service its address does
    not look at the nine thousand before; that is a shortcut only, and holds while no address comes back and the pool
    is the one it was.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._floor: dict[tuple[str, Family], tuple[AddressPool, int]] = {}
        self._releases = world.releases
        self._under_way: set[str] = set()

    def forget(self) -> None:
        """Drop the shortcut; a claim that the world saw go and a pool that was replaced drop it by themselves."""
        self._floor.clear()

    @contextmanager
    def proposing(self, claims: Iterable[Claim]) -> Iterator[None]:
        """Propose the addresses of ``claims`` to nobody else meanwhile: the store is asked, and that takes time.

        Without this all Services that are decided side by side would be proposed the same lowest free address.
        """
        names = {vip_name(claim.address) for claim in claims}
        self._under_way |= names
        try:
            yield
        finally:
            self._under_way -= names
            if not names <= self._world.vips.keys():
                self.forget()  # the shortcut may have gone past what was not taken after all

    def doubt(self, cluster: str) -> str | None:
        """Return why nothing may be allocated or released for ``cluster`` now, or none."""
        return self._world.config_doubt or self._world.view(cluster).doubt("services", "namespaces")

    def decide(self, holder: Holder) -> Decision:
        """Return what becomes of the Service ``holder``; the caller has seen that :meth:`doubt` is none."""
        cluster, namespace, name = holder
        service = self._world.view(cluster).services.get((namespace, name))
        kind = self._world.cluster_kinds.get(cluster)
        held = self._world.addresses_of(holder)
        if kind is None:
            return Decision()  # its cluster is not configured any more; that alone gives nothing back
        if service is None or not is_ours(service, kind):
            return Decision(release=tuple(vip_name(address) for address in held))
        claims: list[Claim] = []
        release: list[str] = []
        refused: list[Refused] = []
        for family in service.families if not service.deleting else ():
            mine = [address for address in held if address.version == family]
            asked = [address for address in service.requested if address.version == family]
            if not asked and service.unreadable_request is not None:
                # What is asked for is never replaced by something else, nor what it holds meanwhile.
                refused.append(Refused("AddressUnreadable", service.unreadable_request))
                continue
            if not asked and mine:
                continue
            outcome = self._requested(holder, service, asked, mine) if asked else self._any(holder, service, family)
            if isinstance(outcome, Refused):
                refused.append(outcome)
                continue
            claims += outcome
            if asked:
                release += [vip_name(address) for address in mine if address not in asked]
        # A Service on its way out keeps what it has until it is gone, and gets nothing new.
        if not service.deleting:
            release += [vip_name(address) for address in held if address.version not in service.families]
        return Decision(tuple(claims), tuple(release), tuple(dict.fromkeys(refused)))

    def _requested(
        self, holder: Holder, service: ServiceFacts, asked: list[IPAddress], mine: list[IPAddress]
    ) -> list[Claim] | Refused:
        claims = []
        for address in asked:
            if address in mine:
                continue
            taken = self._world.vips.get(vip_name(address))
            if taken is not None:
                whose = f"held by {taken.whose}" if taken.holder else "reserved"
                return Refused("AddressTaken", f"{address} was asked for and is {whose}", waiting=True)
            pools = [pool for pool in self._pools(holder, service, asked=True) if pool.spec.contains(address)]
            if not pools:
                return Refused("AddressNotAllowed", f"{address} was asked for and is in no pool this Service may use")
            claims.append(Claim(address, pools[0].name, holder))
        return claims

    def _any(self, holder: Holder, service: ServiceFacts, family: int) -> list[Claim] | Refused:
        pools = self._pools(holder, service, asked=False)
        if not pools:
            wanted = f"pool {service.pool}" if service.pool else "pool"
            return Refused("NoPool", f"there is no {wanted} that this Service may use", waiting=True)
        for address in service.ingress:
            if address.version == family and self._is_free(address):
                pool = next((pool for pool in pools if pool.spec.contains(address)), None)
                if pool is not None:
                    return [Claim(address, pool.name, holder)]
        for pool in pools:
            free = self._lowest_free(pool, 4 if family == 4 else 6)
            if free is not None:
                return [Claim(free, pool.name, holder)]
        names = ", ".join(pool.name for pool in pools)
        return Refused("NoFreeAddress", f"no IPv{family} address is free in {names}", waiting=True)

    def _pools(self, holder: Holder, service: ServiceFacts, *, asked: bool) -> list[AddressPool]:
        namespace = self._world.view(holder[0]).namespaces.get(holder[1])
        labels: Mapping[str, str] = namespace.labels if namespace is not None else {}
        fitting = [
            pool
            for pool in self._world.pools.values()
            if (service.pool is None or pool.name == service.pool)
            and (asked or pool.spec.auto_assign or service.pool == pool.name)
            and pool.metadata.deletion_timestamp is None
            and pool.spec.admits(
                cluster=holder[0], namespace=holder[1], namespace_labels=labels, service_labels=service.labels
            )
        ]
        return sorted(fitting, key=lambda pool: (-pool.spec.priority, pool.name))

    def _lowest_free(self, pool: AddressPool, family: Family) -> IPAddress | None:
        if self._releases != self._world.releases:
            self._releases = self._world.releases
            self.forget()
        known, floor = self._floor.get((pool.name, family), (pool, 0))
        if known is not pool:
            floor = 0
        for first, last in pool.spec.addresses(family):
            for number in range(max(first, floor), last + 1):
                address = address_of(number, family)
                if self._is_free(address):
                    self._floor[pool.name, family] = (pool, number)
                    return address
                floor = number + 1
        self._floor[pool.name, family] = (pool, floor)  # a full pool is not searched again for everybody who waits
        return None

    def _is_free(self, address: IPAddress) -> bool:
        name = vip_name(address)
        return name not in self._world.vips and name not in self._under_way


def holders(world: World, cluster: str) -> Iterable[Holder]:
    """Return every Service of ``cluster`` that is ours or holds an address, the oldest first: the order of a fresh start."""
    view, kind = world.view(cluster), world.cluster_kinds.get(cluster)
    wanting = {
        (cluster, *key): (facts.created, key)
        for key, facts in view.services.items()
        if kind is not None and is_ours(facts, kind)
    }
    for vip in world.vips.values():
        if vip.holder is not None and vip.holder[0] == cluster:
            wanting.setdefault(vip.holder, ("", vip.holder[1:]))
    return sorted(wanting, key=lambda holder: wanting[holder])

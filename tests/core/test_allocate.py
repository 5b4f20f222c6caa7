"""A VIP never has two owners and never moves unasked, through any history of Services, pools, claims and restarts (law 6).

The machine allocates as the cluster's worker does: it asks for a decision, creates the claims in a store that refuses a name
that exists, and gives back what the decision says. The world hears of the store's claims late; the store is the truth.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus.core.allocate import Allocator, Refused, holders
from isthmus.core.world import Holder
from isthmus.model.claims import vip_facts
from isthmus.model.facts import NamespaceFacts, ServiceFacts
from isthmus.model.kinds import VirtualIP, vip_name
from isthmus.model.resources import IPAddress

from .rig import Rig, document, put_kind, service, vip

KEYS = ("shop/a", "shop/b", "bank/a", "bank/b", "bank/c")
POOLS: dict[str, tuple[dict[str, Any], ...]] = {
    "small": (
        {"ranges": ["192.0.2.100 - 192.0.2.102"]},
        {"ranges": ["192.0.2.100 - 192.0.2.102"], "exclude": ["192.0.2.100"]},
        {"ranges": ["192.0.2.101"], "namespaces": ["shop"]},
        {"ranges": ["192.0.2.100/30", "2001:db8::100 - 2001:db8::101"], "avoidNetworkAndBroadcast": True},
    ),
    "large": (
        {"ranges": ["198.51.100.0/29", "2001:db8:1::/64"], "priority": 5},
        {"ranges": ["198.51.100.0/29"], "autoAssign": False},
        {"ranges": ["198.51.100.0/29"], "namespaceSelector": {"matchLabels": {"tier": "gold"}}},
    ),
}
REQUESTS = ("192.0.2.101", "192.0.2.102", "198.51.100.3", "203.0.113.1")


def key_of(text: str) -> tuple[str, str]:
    namespace, _, name = text.partition("/")
    return namespace, name


class Allocation(RuleBasedStateMachine):
    """One cluster's allocation over two pools."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.store: dict[str, VirtualIP] = {}
        self.allocator = Allocator(self.rig.world)
        self.settled: dict[tuple[Holder, int], set[IPAddress]] = {}
        for name in ("shop", "bank"):
            labels = {"tier": "gold"} if name == "bank" else {}
            self.rig.world.put_namespace("east", name, NamespaceFacts(name, labels=labels))
        put_kind(self.rig.world, document("AddressPool", "small", POOLS["small"][0]))

    # --- what users do ----------------------------------------------------------------------------------------------

    @rule(
        key=st.sampled_from(KEYS),
        families=st.sampled_from(((4,), (4,), (4, 6), (6,))),
        request=st.sampled_from((None,) * 6 + REQUESTS),
        pool=st.sampled_from((None, None, None, "small", "large", "nowhere")),
        ingress=st.sampled_from(((), (), (), ("192.0.2.102",), ("203.0.113.1",))),
        kind=st.sampled_from(("LoadBalancer",) * 5 + ("ClusterIP",)),
        deleting=st.sampled_from((False, False, False, True)),
    )
    def service_is(
        self,
        key: str,
        families: tuple[int, ...],
        request: str | None,
        pool: str | None,
        ingress: tuple[str, ...],
        kind: str,
        deleting: bool,
    ) -> None:
        old = self.rig.world.view("east").services.get(key_of(key))
        facts = service(
            key,
            80,
            type=kind,
            families=families,
            requested=(ip_address(request),) if request else (),
            pool=pool,
            ingress=tuple(ip_address(text) for text in ingress),
            deleting=deleting,
        )
        if old is not None and _wishes(old) != _wishes(facts):
            self.asked_to_move(key)
        self.rig.put(facts)

    @rule(key=st.sampled_from(KEYS))
    def service_goes(self, key: str) -> None:
        self.rig.world.put_service("east", key_of(key), None)
        self.asked_to_move(key)

    def asked_to_move(self, key: str) -> None:
        for family in (4, 6):
            self.settled.pop((("east", *key_of(key)), family), None)

    @rule(pool=st.sampled_from(sorted(POOLS)), number=st.integers(0, 3))
    def pool_is(self, pool: str, number: int) -> None:
        """Edit or remove a pool: what was given out of it stays given."""
        if number < len(POOLS[pool]):
            put_kind(self.rig.world, document("AddressPool", pool, POOLS[pool][number]))
        else:
            self.rig.world.pools.pop(pool, None)

    @rule(address=st.sampled_from(REQUESTS))
    def reserve(self, address: str) -> None:
        self.create(vip(address))

    @rule(key=st.sampled_from(KEYS), address=st.sampled_from(("192.0.2.100", "198.51.100.0")))
    def somebody_else_claims(self, key: str, address: str) -> None:
        """Another writer puts a claim into the store; we hear of it when we hit it, or when we read again."""
        self.store.setdefault(vip_name(ip_address(address)), vip(address, "other/one", cluster="west"))

    @rule()
    def hear(self) -> None:
        """The world catches up with the store."""
        world = self.rig.world
        for name in world.vips.keys() | self.store.keys():
            stored = self.store.get(name)
            if world.vips.get(name) != (None if stored is None else vip_facts(stored)):
                world.put_vip(name, stored)

    @rule()
    def restart(self) -> None:
        self.hear()
        self.allocator = Allocator(self.rig.world)

    @rule(pending=st.booleans())
    def read(self, pending: bool) -> None:
        view = self.rig.world.view("east")
        view.pending = {"services"} if pending else set()

    # --- what the worker does ---------------------------------------------------------------------------------------

    def create(self, claim: VirtualIP) -> bool:
        if claim.name in self.store:
            self.rig.world.put_vip(claim.name, self.store[claim.name])
            return False
        self.store[claim.name] = claim
        self.rig.world.put_vip(claim.name, claim)
        return True

    @rule(crash=st.sampled_from((None, None, None, 0, 1)))
    def look_at_all(self, crash: int | None) -> None:
        """Decide for every Service, the oldest first; now and then the process dies after some writes."""
        if self.allocator.doubt("east") is not None:
            return
        writes = 0
        for holder in holders(self.rig.world, "east"):
            decision = self.allocator.decide(holder)
            for claim in decision.claims:
                if crash is not None and writes >= crash:
                    self.allocator = Allocator(self.rig.world)
                    return
                made = self.create(vip(str(claim.address), "/".join(claim.holder[1:]), pool=claim.pool))
                writes += 1
                if not made:
                    break
            else:
                for name in decision.release:
                    if self.store[name].spec.holder is not None:
                        del self.store[name]
                        self.rig.world.put_vip(name, None)
        self.remember()

    # --- laws -------------------------------------------------------------------------------------------------------

    @invariant()
    def nobody_shares(self) -> None:
        held: dict[IPAddress, Holder] = {}
        world = self.rig.world
        for holder in set(world._held):
            for address in world.addresses_of(holder):
                assert held.setdefault(address, holder) == holder, "one address, one owner"

    @invariant()
    def nobody_moves(self) -> None:
        """A Service that was given an address and is asked nothing else keeps it, whatever happens around it."""
        for (holder, family), had in self.settled.items():
            has = {a for a in self.rig.world.addresses_of(holder) if a.version == family}
            assert had <= has, f"{holder} had {had} and has {has}"

    def remember(self) -> None:
        """Remember what each Service has whose wishes are met."""
        for key in KEYS:
            holder: Holder = ("east", *key_of(key))
            decision = self.allocator.decide(holder)
            if decision.claims or decision.release:
                continue
            for address in self.rig.world.addresses_of(holder):
                self.settled.setdefault((holder, address.version), set()).add(address)

    @precondition(lambda self: self.allocator.doubt("east") is None)
    @rule()
    def settles(self) -> None:
        """Looking again and again comes to rest, and then only those go without who are told why."""
        self.hear()
        for _ in range(4):
            before = dict(self.store)
            self.look_at_all(None)
        assert self.store == before, "looking again changes nothing"
        fresh = Allocator(self.rig.world)
        for holder in holders(self.rig.world, "east"):
            decision, again = self.allocator.decide(holder), fresh.decide(holder)
            assert decision == again, "the shortcut decides nothing"
            assert not decision.claims
            facts = self.rig.world.view("east").services.get((holder[1], holder[2]))
            if facts is None or facts.type != "LoadBalancer" or facts.deleting:
                continue
            for family in facts.families:
                served = any(a.version == family for a in self.rig.world.addresses_of(holder))
                assert served or decision.refused, "who has nothing is told why"
            self.free_addresses_are_used(decision.refused, facts)

    def free_addresses_are_used(self, refused: tuple[Refused, ...], facts: ServiceFacts) -> None:
        """Nobody waits for an address while one is free in a pool it may use."""
        for one in refused:
            if one.reason != "NoFreeAddress":
                continue
            family: Any = 4 if "IPv4" in one.message else 6
            for name in one.message.rpartition(" in ")[2].split(", "):
                pool = self.rig.world.pools[name]
                for first, last in pool.spec.addresses(family):
                    assert last - first < 1000, "a large pool is never full here"
                    for number in range(first, last + 1):
                        address = type(ip_address("::" if family == 6 else "0.0.0.0"))(number)
                        assert vip_name(address) in self.store


TestAllocation = Allocation.TestCase


def _wishes(facts: ServiceFacts) -> tuple[object, ...]:
    return (facts.families, facts.requested, facts.type)


# --- single decisions -------------------------------------------------------------------------------------------------


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.world.put_namespace("east", "shop", NamespaceFacts("shop"))
    put_kind(rig.world, document("AddressPool", "p", {"ranges": ["192.0.2.100 - 192.0.2.102"]}))
    return rig


def given(rig: Rig, key: str = "shop/a") -> list[str]:
    decision = Allocator(rig.world).decide(("east", *key_of(key)))
    return [str(claim.address) for claim in decision.claims]


def why(rig: Rig, key: str = "shop/a") -> list[tuple[str, bool]]:
    decision = Allocator(rig.world).decide(("east", *key_of(key)))
    return [(refused.reason, refused.waiting) for refused in decision.refused]


def test_nothing_is_allocated_or_released_in_doubt(rig: Rig) -> None:
    """While Services or Namespaces are unread or in doubt the allocator says why it must not be asked."""
    allocator = Allocator(rig.world)
    assert allocator.doubt("east") is None
    rig.world.view("east").suspect["namespaces"] = "an empty list after a full one"
    assert allocator.doubt("east") == "cluster east: an empty list after a full one"
    rig.world.config_doubt = "half a file"
    assert allocator.doubt("east") == "half a file"


def test_a_lost_store_moves_no_address(rig: Rig) -> None:
    """What a Service's status shows is taken again if it is free and allowed, and never if it is not (CVE-2020-8554)."""
    rig.put(service("shop/a", 80, ingress=(ip_address("192.0.2.102"),)))
    assert given(rig) == ["192.0.2.102"]
    rig.put(service("shop/a", 80, ingress=(ip_address("203.0.113.9"),)))
    assert given(rig) == ["192.0.2.100"]
    rig.put(service("shop/a", 80, ingress=(ip_address("192.0.2.102"),)), vip("192.0.2.102", "shop/b"))
    assert given(rig) == ["192.0.2.100"]


def test_a_requested_address_needs_a_pool_that_allows_it(rig: Rig) -> None:
    """An address asked for is given from a pool of the Service's namespace, or refused with the reason."""
    rig.put(service("shop/a", 80, requested=(ip_address("203.0.113.1"),)))
    assert (given(rig), why(rig)) == ([], [("AddressNotAllowed", False)])
    rig.put(service("shop/a", 80, requested=(ip_address("192.0.2.101"),)))
    assert given(rig) == ["192.0.2.101"]
    rig.put(vip("192.0.2.101", "shop/b"))
    assert (given(rig), why(rig)) == ([], [("AddressTaken", True)])


def test_a_refused_request_keeps_the_address_there_is(rig: Rig) -> None:
    """Asking for an address that cannot be had gives up nothing."""
    rig.put(service("shop/a", 80, requested=(ip_address("203.0.113.1"),)), vip("192.0.2.100", "shop/a"))
    decision = Allocator(rig.world).decide(("east", "shop", "a"))
    assert (decision.claims, decision.release) == ((), ())


def test_a_freed_address_goes_to_who_waits(rig: Rig) -> None:
    """With a full pool a Service waits, and is given the first address that comes back, without being told to forget."""
    allocator = Allocator(rig.world)
    rig.put(service("shop/a", 80), *(vip(f"192.0.2.{n}", f"bank/{n}") for n in (100, 101, 102)))
    assert [r.reason for r in allocator.decide(("east", "shop", "a")).refused] == ["NoFreeAddress"]
    rig.world.put_vip("192.0.2.101", None)
    assert [str(c.address) for c in allocator.decide(("east", "shop", "a")).claims] == ["192.0.2.101"]


def test_a_larger_pool_is_seen_at_once(rig: Rig) -> None:
    """A pool that was edited is searched from its beginning."""
    allocator = Allocator(rig.world)
    rig.put(service("shop/a", 80), *(vip(f"192.0.2.{n}", f"bank/{n}") for n in (100, 101, 102)))
    assert not allocator.decide(("east", "shop", "a")).claims
    put_kind(rig.world, document("AddressPool", "p", {"ranges": ["192.0.2.50 - 192.0.2.102"]}))
    assert [str(c.address) for c in allocator.decide(("east", "shop", "a")).claims] == ["192.0.2.50"]


def test_an_unconfigured_cluster_gives_nothing_back(rig: Rig) -> None:
    """A KubeCluster that is not in the configuration any more keeps the addresses of its Services."""
    rig.put(service("shop/a", 80), vip("192.0.2.100", "shop/a"))
    rig.world.cluster_kinds.clear()
    assert Allocator(rig.world).decide(("east", "shop", "a")).release == ()


def test_a_service_on_its_way_out_keeps_and_gets_nothing(rig: Rig) -> None:
    """A Service that is being deleted holds its address until it is gone, and is given no new one."""
    rig.put(service("shop/a", 80, deleting=True))
    assert (given(rig), why(rig)) == ([], [])
    rig.put(vip("192.0.2.100", "shop/a"), service("shop/a", 80, deleting=True, families=(6,)))
    assert Allocator(rig.world).decide(("east", "shop", "a")).release == ()


def test_a_full_large_pool_is_searched_once(rig: Rig) -> None:
    """Thousands who wait for a full pool do not each search it."""
    put_kind(rig.world, document("AddressPool", "p", {"ranges": ["10.0.0.0/20"]}))
    for number in range(4096):
        address = ip_address(int(ip_address("10.0.0.0")) + number)
        rig.world.vips[vip_name(address)] = vip_facts(vip("10.0.0.1", "bank/x"))
    allocator = Allocator(rig.world)
    looked = 0

    class Counting(dict[str, VirtualIP]):
        def __contains__(self, name: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(name)

    rig.world.vips = Counting(rig.world.vips)
    rig.put(service("shop/a", 80))
    for _ in range(100):
        assert not allocator.decide(("east", "shop", "a")).claims
    assert looked < 5000


def test_nobody_is_proposed_what_is_under_way() -> None:
    """While the store is asked for an address others are proposed the next; one that it refused is free again."""
    rig = Rig()
    put_kind(rig.world, document("AddressPool", "small", POOLS["small"][0]))
    rig.put(service("shop/a", 80), service("shop/b", 80))
    rig.world.put_namespace("east", "shop", NamespaceFacts("shop"))
    allocator = Allocator(rig.world)
    first = allocator.decide(("east", "shop", "a")).claims
    with allocator.proposing(first):
        second = allocator.decide(("east", "shop", "b")).claims
    again = allocator.decide(("east", "shop", "b")).claims
    assert [str(claim.address) for claim in (*first, *second, *again)] == [
        "192.0.2.100",
        "192.0.2.101",
        "192.0.2.100",
    ]


def test_an_address_that_nobody_can_read_is_replaced_by_none(rig: Rig) -> None:
    """A request that is no address is refused with the reason, once, and what the Service holds stays."""
    problem = "annotation isthmus.dev/addresses: 'bogus' is not an IP address"
    rig.put(service("shop/a", 80, families=(4, 6), unreadable_request=problem))
    assert (given(rig), why(rig)) == ([], [("AddressUnreadable", False)])
    rig.put(vip("192.0.2.100", "shop/a"))
    decision = Allocator(rig.world).decide(("east", "shop", "a"))
    assert (decision.claims, decision.release, decision.refused) == ((), (), (Refused("AddressUnreadable", problem),))

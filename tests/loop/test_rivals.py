"""Two installations that serve one class of Services: each says so once and stops, instead of taking turns for ever."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, cast

import msgspec

from core.rig import NOW, Rig, drive, service
from isthmus.core.allocate import Allocator
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import KindRef
from isthmus.loop.cluster import Context, Devices
from isthmus.loop.duties.rivals import Rivals
from isthmus.loop.duties.service import Claims, Service
from isthmus.model.facts import NamespaceFacts, ServiceFacts
from isthmus.model.kinds import VirtualIP
from isthmus.model.plan import Scope

OURS, THEIRS, NOTHING = "ours", "theirs", "nothing"


def test_words_that_are_taken_back_again_and_again_have_a_rival() -> None:
    """The third time within a minute is enough; after five minutes it is tried again."""
    rivals = Rivals()
    now = 1000.0
    for _ in range(2):
        assert rivals.pause("a", THEIRS, now) == 0.0
        rivals.wrote("a", OURS, THEIRS)
        rivals.stands("a")
        now += 1
    assert rivals.pause("a", THEIRS, now) == 0.0
    rivals.wrote("a", OURS, THEIRS)
    rivals.stands("a")
    assert rivals.pause("a", THEIRS, now + 1) == 300.0
    assert (rivals.is_news("a"), rivals.is_news("a")) == (True, False)
    assert rivals.pause("a", THEIRS, now + 200) == 101.0
    assert rivals.pause("a", THEIRS, now + 301) == 0.0
    assert rivals.pause("b", THEIRS, now) == 0.0


def test_old_news_of_what_stood_before_is_no_rival() -> None:
    """A watch that has not shown our words yet shows what they were written over, as often as one looks."""
    rivals = Rivals()
    for second in range(10):
        assert rivals.pause("a", NOTHING, 1000.0 + second) == 0.0
        rivals.wrote("a", OURS, NOTHING)


def test_a_person_who_takes_them_back_now_and_then_is_no_rival() -> None:
    """Once every half a minute is put right each time."""
    rivals = Rivals()
    for turn in range(10):
        assert rivals.pause("a", NOTHING, 1000.0 + 30 * turn) == 0.0
        rivals.wrote("a", OURS, NOTHING)
        rivals.stands("a")


class Installation:
    """One of several that serve Services of the same class in one cluster, each with a pool of its own."""

    def __init__(self, cluster: Cluster, pool: str) -> None:
        self.rig = Rig()
        self.rig.world.put_namespace("east", "shop", NamespaceFacts("shop"))
        self.rig.kind("AddressPool", "pool", {"ranges": [pool]})
        self.told: list[str] = []
        client, devices, claims = cast(KubeClient, cluster), cast(Devices, self), cast(Claims, self)
        context = Context("east", self.rig.world, client, devices, lambda scopes: None, lambda: NOW)
        self.duty = Service(context, Allocator(self.rig.world), claims, self.tell, lambda: None)

    async def create(self, vip: VirtualIP) -> None:
        """Take a claim."""

    def tell(self, about: ServiceFacts, reason: str, message: str, *, warning: bool) -> None:
        """Take an Event."""
        self.told.append(reason)

    def serves(self, scope: Scope) -> bool:
        """Say that all is well."""
        return True

    has_members = serves

    def complaint(self, scope: Scope) -> None:
        """Complain of nothing."""

    def look(self, facts: ServiceFacts) -> None:
        """See the Service as it stands, and look at it."""
        self.rig.put(facts)
        drive(self.duty.look("shop/a"))


class Cluster:
    """What stands in the one Service."""

    def __init__(self) -> None:
        self.facts = service("shop/a", 80)
        self.writes = 0

    async def apply_status(self, kind: KindRef, obj: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        """Take what is written, whoever writes."""
        self.writes += 1
        condition = obj["status"]["conditions"][0]
        self.facts = msgspec.structs.replace(
            self.facts,
            served=(condition["status"], condition["reason"], condition["message"]),
            served_since=condition["lastTransitionTime"],
            ingress=tuple(ip_address(one["ip"]) for one in obj["status"]["loadBalancer"].get("ingress", ())),
        )
        return {}


def test_two_installations_say_so_once_and_stop() -> None:
    """They take turns a few times; then one of them has said so in one Event, and what stands then stays."""
    cluster = Cluster()
    both = [Installation(cluster, pool) for pool in ("198.51.100.7", "203.0.113.9")]
    for _ in range(20):
        for one in both:
            one.look(cluster.facts)
            one.look(cluster.facts)
    assert cluster.writes < 12
    told = [one.told.count("StatusContested") for one in both]
    assert sum(told) >= 1
    assert max(told) == 1

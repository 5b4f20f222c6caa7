"""A Service's duty: what it says, how often, and what it remembers of Services that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from core.rig import NOW, Rig, drive, service
from isthmus.core.allocate import Allocator
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import KindRef
from isthmus.loop.cluster import Context, Devices
from isthmus.loop.duties.service import Service
from isthmus.model.facts import NamespaceFacts, ServiceFacts
from isthmus.model.kinds import VirtualIP
from isthmus.model.plan import Scope

POOL = {"ranges": ["198.51.100.7"]}


class Story:
    """One cluster with a namespace; what is written into a Service is what the world hears next."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.rig.world.put_namespace("east", "shop", NamespaceFacts("shop"))
        self.serving = True
        self.claimed: list[str] = []
        self.told: list[str] = []
        self.writes = 0
        self.freed = 0
        self.meant: list[tuple[str, str]] = []
        self.now = NOW
        self.hears = True
        client, devices = cast(KubeClient, self), cast(Devices, self)
        context = Context("east", self.rig.world, client, devices, lambda scopes: None, lambda: self.now)
        self.duty = Service(context, Allocator(self.rig.world), self, self.tell, self.free)

    # what the duty needs

    async def create(self, vip: VirtualIP) -> None:
        """Take a claim."""
        self.claimed.append(vip.name)

    async def delete(self, vip: VirtualIP) -> None:
        """Take a claim back."""
        self.claimed.remove(vip.name)

    def free(self) -> None:
        """Take the news that whoever waits should be looked at again."""
        self.freed += 1

    def tell(self, about: ServiceFacts, reason: str, message: str, *, warning: bool) -> None:
        """Take an Event."""
        self.told.append(f"{about.uid} {reason}")

    def serves(self, scope: Scope) -> bool:
        """Say what the devices say."""
        return self.serving

    def has_members(self, scopes: Iterable[Scope]) -> bool:
        """Say what the devices say."""
        return True

    def complaint(self, scope: Scope) -> str | None:
        """Say what the devices say."""
        return None if self.serving else "gw: the cable is out"

    async def apply_status(self, kind: KindRef, obj: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
        """Take what is written."""
        self.writes += 1
        version = obj["metadata"].get("resourceVersion", "")
        self.meant.append((obj["metadata"]["uid"], version))
        if not self.hears:
            return {"metadata": {"resourceVersion": f"after {version}"}}
        condition = obj["status"]["conditions"][0]
        served = (condition["status"], condition["reason"], condition["message"])
        facts = self.rig.world.view("east").services["shop", "a"]
        shown = self.rig.world.addresses_of(("east", "shop", "a"))
        ingress = tuple(shown) if obj["status"]["loadBalancer"] else ()
        since = condition["lastTransitionTime"]
        self.rig.put(msgspec.structs.replace(facts, served=served, served_since=since, ingress=ingress))
        return {}

    # what happens

    def appears(self, uid: str) -> None:
        """Create the Service and look at it, as often as the watch would tell."""
        self.rig.put(service("shop/a", 80, uid=uid))
        self.look()

    def goes(self) -> None:
        """Delete the Service."""
        self.rig.world.put_service("east", ("shop", "a"), None)
        self.look()

    def look(self) -> None:
        """Look until nothing is written any more."""
        for _ in range(3):
            drive(self.duty.look("shop/a"))


def test_trouble_is_told_once_for_as_long_as_it_lasts() -> None:
    """One Event when it begins, none while it stays, and one when it comes back."""
    story = Story()
    story.rig.kind("AddressPool", "tiny", POOL)
    story.appears("u1")
    for _ in range(2):
        story.serving = False
        story.look()
        story.serving = True
        story.look()
    assert story.told == ["u1 AddressAssigned", "u1 NotServed", "u1 NotServed"]
    writes = story.writes
    story.look()
    assert story.writes == writes, "what stands is not written again"


def test_words_are_meant_for_what_they_were_decided_on() -> None:
    """A status names the Service's uid and version; one over our own words that the watch has not shown yet, theirs."""
    story = Story()
    story.rig.kind("AddressPool", "tiny", POOL)
    story.hears = False
    story.rig.put(service("shop/a", 80, uid="u1", version="5"))
    drive(story.duty.look("shop/a"))
    story.serving = False
    drive(story.duty.look("shop/a"))
    story.serving = True
    story.rig.put(service("shop/a", 80, uid="u1", version="8"))
    drive(story.duty.look("shop/a"))
    story.rig.put(service("shop/a", 80, uid="u2", version="9"))
    drive(story.duty.look("shop/a"))
    assert story.meant == [("u1", "5"), ("u1", "after 5"), ("u1", "8"), ("u2", "9")]


def test_a_service_made_anew_again_and_again_is_no_rival() -> None:
    """That its words are gone each time is because it is another Service; it is told each time."""
    story = Story()
    story.rig.kind("AddressPool", "tiny", POOL)
    for turn in range(6):
        story.rig.put(service("shop/a", 80, uid=f"u{turn}"))
        story.look()
        facts = story.rig.world.view("east").services["shop", "a"]
        assert [str(address) for address in facts.ingress] == POOL["ranges"]
    assert "StatusContested" not in " ".join(story.told)


def test_a_service_made_anew_is_told_anew() -> None:
    """A Service of the same name is another one; of those that are gone nothing is remembered."""
    story = Story()
    story.appears("u1")
    story.goes()
    assert not story.duty._said
    assert not story.duty.waiting
    story.appears("u2")
    assert story.told == ["u1 NoPool", "u2 NoPool"]


def test_what_was_written_is_not_written_again_before_it_is_heard_of() -> None:
    """A look between a write and its echo writes nothing, for two seconds; then the words are taken for lost."""
    story = Story()
    story.rig.kind("AddressPool", "tiny", POOL)
    story.hears = False
    story.appears("u1")
    assert story.writes == 1, "three looks, one write"
    story.now += 1.9
    story.look()
    assert story.writes == 1
    story.now += 0.2
    story.look()
    assert story.writes == 2
    story.now -= 3600
    story.look()
    assert story.writes == 3, "a clock that is set back holds nothing up"
    story.serving = False
    story.look()
    assert story.writes == 4, "other words are no echo"


def test_an_address_goes_back_with_its_service() -> None:
    """The claim is given up once the Service is gone, and not before."""
    story = Story()
    story.rig.kind("AddressPool", "tiny", POOL)
    story.appears("u1")
    assert story.claimed == ["198.51.100.7"]
    facts = story.rig.world.view("east").services["shop", "a"]
    story.rig.put(msgspec.structs.replace(facts, deleting=True))
    story.look()
    assert story.claimed == ["198.51.100.7"]
    assert story.freed == 0
    story.goes()
    assert story.claimed == []
    assert story.freed == 1, "whoever waits for an address hears of it"
    assert not story.rig.world.vips

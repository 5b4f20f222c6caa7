"""Claims are VirtualIP objects: one name, one owner, and no address moves unasked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from isthmus.app.home.claims import HomeClaims
from isthmus.app.home.registry import HomeRegistry
from isthmus.errors import KubeError
from isthmus.kube.client import KubeClient
from isthmus.kube.kubeconfig import load
from isthmus.loop.duties.service import Taken
from isthmus.model.kinds import VirtualIP, parse

from .rig import Place, holds, service, thing, until

A, B, C = "198.51.100.0", "198.51.100.1", "198.51.100.2"


def held(name: str) -> dict[str, Any]:
    """Return the spec of a claim of ``name``'s address by the Service ``web``."""
    holder = {"cluster": "prod", "namespace": "default", "service": "web"}
    return {"address": name, "pool": "pool", "holder": holder}


def shown(home: Place, name: str) -> list[str]:
    """Return the addresses that a Service's status shows."""
    status = home.api.get("Service", name)["status"]
    return [one["ip"] for one in status.get("loadBalancer", {}).get("ingress") or []]


def holder(home: Place, name: str) -> str | None:
    """Return the Service that a claim is for; none if there is no such claim, or it is a reservation."""
    found = home.find("VirtualIP", name)
    return found["spec"].get("holder", {}).get("service") if found else None


def prepared(home: Place) -> None:
    """Write a configuration with a pool."""
    home.join()
    home.put("AddressPool", "pool", {"ranges": ["198.51.100.0/28"]})


async def test_a_service_gets_a_claim_and_its_end_gives_it_back(home: Place) -> None:
    """The claim is named by its address and names its Service; when the Service goes, so does the claim."""
    prepared(home)
    async with home.controller():
        home.api.put(service("web"))
        await until(lambda: shown(home, "web") == [A])
        assert holder(home, A) == "web"
        await until(lambda: bool(home.status("VirtualIP", A).get("since")))
        home.api.delete("Service", "web")
        await until(lambda: home.find("VirtualIP", A) is None)
        await until(lambda: not [one for one in home.device("gw1").resources if A in one])


async def test_reservations_are_respected(home: Place) -> None:
    """An address that a user keeps back goes to no Service, whether it was there before or comes later."""
    prepared(home)
    home.put("VirtualIP", A, {"address": A, "reservation": True})
    async with home.controller():
        home.api.put(service("web"))
        await until(lambda: shown(home, "web") == [B])
        home.put("VirtualIP", C, {"address": C, "reservation": True})
        home.api.put(service("shop"))
        await until(lambda: shown(home, "shop") == ["198.51.100.3"])
        await until(lambda: home.is_so("VirtualIP", A, "Ready", "True", "Reserved"))
        home.api.put(service("late", loadBalancerIP=A))
        await until(
            lambda: (
                home.api.get("Service", "late")["status"].get("conditions", [{}])[0].get("reason") == "AddressTaken"
            )
        )
        home.api.delete("VirtualIP", A)
        await until(lambda: shown(home, "late") == [A])


async def test_who_comes_second_takes_another(home: Place) -> None:
    """A claim that somebody made while we could not see it is a conflict; the Service gets the next address."""
    prepared(home)
    async with home.controller() as running:
        await until(lambda: running.world.config_doubt is None)
        await until(lambda: home.is_so("AddressPool", "pool", "Ready"))
        home.api.freeze_watches("VirtualIP", new=True)
        home.put("VirtualIP", A, {"address": A, "reservation": True})
        home.api.put(service("web"))
        await until(lambda: shown(home, "web") == [B])
        assert holder(home, A) is None
        home.api.thaw_watches()


async def test_a_deleted_claim_is_put_back(home: Place) -> None:
    """Somebody deletes the claim of a living Service: it stands again, for the same Service, and no packet noticed."""
    prepared(home)
    async with home.controller():
        home.api.put(service("web"))
        await until(lambda: shown(home, "web") == [A])
        writes = home.device("gw1").writes
        uid = home.api.get("VirtualIP", A)["metadata"]["uid"]
        home.api.delete("VirtualIP", A)
        home.api.put(service("shop"))
        await until(lambda: holder(home, A) == "web")
        await until(lambda: shown(home, "shop") == [B])
        assert shown(home, "web") == [A]
        assert home.api.get("VirtualIP", A)["metadata"]["uid"] != uid
        changes = [change.describe() for change in home.device("gw1").log[writes:]]
        assert not [text for text in changes if A in text]
        await until(lambda: "ClaimPutBack" in [reason for reason, _ in home.events(A)])


async def test_a_service_that_asks_for_another_address_gives_the_old_one_up(
    home: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What we give back ourselves is not put back, although its Service lives and the news comes before the answer."""
    prepared(home)
    async with home.controller() as running:
        assert running.home is not None
        delete = running.home.client.delete

        async def answered_late(*args: Any, **more: Any) -> None:
            await delete(*args, **more)
            await asyncio.sleep(0.3)

        monkeypatch.setattr(running.home.client, "delete", answered_late)
        home.api.put(service("web"))
        await until(lambda: shown(home, "web") == [A])
        found = home.api.get("Service", "web")
        home.api.put({**found, "spec": {**found["spec"], "loadBalancerIP": C}})
        await until(lambda: shown(home, "web") == [C] and home.find("VirtualIP", A) is None)
        creates = home.api.faults.requests["create", "virtualips"]
        await holds(lambda: home.api.faults.requests["create", "virtualips"] == creates, 0.7)
        assert home.find("VirtualIP", A) is None


async def test_a_claim_deleted_during_a_restart_is_made_again(home: Place) -> None:
    """The Service's own status tells a new controller which address it had (the claim was deleted while nobody watched)."""
    prepared(home)
    home.put("VirtualIP", A, {"address": A, "reservation": True})
    home.api.put(service("web"))
    async with home.controller():
        await until(lambda: shown(home, "web") == [B])
    home.api.delete("VirtualIP", B)
    home.api.delete("VirtualIP", A)
    async with home.controller():
        await until(lambda: holder(home, B) == "web")
        await holds(lambda: shown(home, "web") == [B])
    assert home.find("VirtualIP", A) is None


async def test_a_claim_of_a_service_that_went_meanwhile_is_given_back(home: Place) -> None:
    """A Service that was deleted while no controller ran keeps no address."""
    prepared(home)
    home.put("VirtualIP", B, held(B))
    async with home.controller():
        await until(lambda: home.find("VirtualIP", B) is None)


async def test_an_address_waits_for_the_home_cluster(home: Place) -> None:
    """While claims cannot be made, no Service gets an address, nothing else stops, and it comes as soon as it can be made."""
    prepared(home)
    async with home.controller():
        await until(lambda: home.is_so("ClusterLink", "main", "Joined"))
        home.api.faults.fail_next(10_000, status=503, verb="create", resource="virtualips")
        home.api.put(service("web"))
        await holds(lambda: shown(home, "web") == [] and home.find("VirtualIP", A) is None)
        home.api.faults.clear()
        await until(lambda: shown(home, "web") == [A])


async def test_the_claims_door(home: Place) -> None:
    """Creating twice is Taken with the one that stands; deleting another's is Taken; deleting what is gone is no error."""
    web, shop = (
        parse(
            thing("VirtualIP", A, {**held(A), "holder": {"cluster": "prod", "namespace": "default", "service": name}})
        ).object
        for name in ("web", "shop")
    )
    assert isinstance(web, VirtualIP)
    assert isinstance(shop, VirtualIP)
    async with KubeClient(load(home.endpoint.kubeconfig_path)) as client:
        claims = HomeClaims(client, HomeRegistry(client, {"memory"}))
        await claims.create(web)
        for again in (web, shop):
            with pytest.raises(Taken) as taken:
                await claims.create(again)
            assert taken.value.vip.spec == web.spec
        with pytest.raises(Taken):
            await claims.delete(shop)
        assert holder(home, A) == "web"
        await claims.delete(web)
        assert home.find("VirtualIP", A) is None
        await claims.delete(web)


async def test_only_the_very_claim_is_deleted(home: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that was replaced between the look and the deletion survives it: the uid is another."""
    claim = parse(thing("VirtualIP", A, held(A))).object
    assert isinstance(claim, VirtualIP)
    async with KubeClient(load(home.endpoint.kubeconfig_path)) as client:
        claims = HomeClaims(client, HomeRegistry(client, {"memory"}))
        await claims.create(claim)
        look = client.get

        async def look_then_replace(*args: Any, **more: Any) -> Any:
            found = await look(*args, **more)
            home.api.delete("VirtualIP", A)
            home.put("VirtualIP", A, {"address": A, "reservation": True})
            return found

        monkeypatch.setattr(client, "get", look_then_replace)
        with pytest.raises(KubeError):
            await claims.delete(claim)
    assert home.api.get("VirtualIP", A)["spec"]["reservation"] is True

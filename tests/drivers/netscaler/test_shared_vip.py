"""A VIP that a person comes to use beside us: ours goes, theirs stays as it is."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.model.resources import VirtualAddress, VirtualServer

from ..bench import by_identity, changes_between, converge, outcomes, settle
from .test_ownership import opened
from .yard import AdcHand, Yard

A = ip_address("203.0.113.77")
VIP, SERVER, OTHER = VirtualAddress(A, "*"), VirtualServer(A, "tcp", 80), VirtualServer(A, "tcp", 81)


def answers(yard: Yard) -> list[str]:
    return [str(row["arp"]) for row in yard.rows("nsip") if row["ipaddress"] == str(A)]


def person(yard: Yard) -> None:
    AdcHand(yard.device).add("lbvserver", name="web", servicetype="HTTP", ipv46=str(A), port=8080)


@pytest.mark.parametrize("stays", [True, False], ids=["another of ours stays", "nothing of ours stays"])
@pytest.mark.parametrize("looked", [True, False], ids=["seen", "not yet seen"])
async def test_a_vip_that_a_person_has_come_to_use_goes_on_answering(yard: Yard, looked: bool, stays: bool) -> None:
    """Its removal is asked for when a person's server stands on it since: it neither goes nor falls silent."""
    driver = await opened(yard)
    wanted = by_identity(SERVER, OTHER, VIP)
    await settle(driver, wanted)
    person(yard)
    if looked:
        await driver.observe()
    left = by_identity(OTHER) if stays else {}
    results = await outcomes(driver, changes_between(wanted, left))
    assert [one.result for one in results] == ["done"] * len(results), results
    assert answers(yard) == ["ENABLED"]
    assert await converge(driver, left) == []
    assert answers(yard) == ["ENABLED"]
    assert sorted(row["name"] for row in yard.rows("lbvserver")) == [
        *(["isth_main_203.0.113.77_81_tcp"] if stays else []),
        "web",
    ]
    await driver.close()


async def test_our_last_server_goes_from_a_persons_vip(yard: Yard) -> None:
    """Once its VIP is a person's, removing our server is done when our server is gone: nothing more is asked for."""
    driver = await opened(yard)
    await settle(driver, by_identity(SERVER, VIP))
    person(yard)
    await driver.observe()
    [result] = await outcomes(driver, changes_between(by_identity(SERVER), {}))
    assert (result.result, result.reason) == ("done", "")
    assert not yard.rows("servicegroup")
    assert answers(yard) == ["ENABLED"]
    await driver.close()


async def test_a_vip_of_ours_alone_falls_silent(yard: Yard) -> None:
    """Where servers of ours keep it, and nobody else's, it answers nobody any more."""
    driver = await opened(yard)
    await settle(driver, by_identity(SERVER, OTHER, VIP))
    await settle(driver, by_identity(OTHER))
    assert answers(yard) == ["DISABLED"]
    await driver.close()

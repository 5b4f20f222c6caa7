"""What is said of objects, clusters, certificates and the state directory."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from core.rig import Rig, node, vip
from isthmus.app.doctor.clusters import ClusterFacts, judge_cluster
from isthmus.app.doctor.objects import (
    StateFacts,
    judge_agent,
    judge_certificates,
    judge_configuration,
    judge_device,
    judge_link,
    judge_pools,
    judge_state,
)
from isthmus.app.doctor.segment import judge_vips
from isthmus.core.explain import Hop
from isthmus.errors import InputError

DAY = 86400.0


@pytest.mark.parametrize(
    ("facts", "levels", "text"),
    [
        (ClusterFacts("v1.32.3", 0.4), ["ok", "ok", "ok"], "clock and ours agree"),
        (ClusterFacts("v1.21.0"), ["warn", "ok"], "older than any"),
        (ClusterFacts("v1.32.3", -20.0), ["ok", "ok", "warn"], "20 s behind ours"),
        (ClusterFacts("v1.32.3", 3600.0), ["ok", "ok", "fail"], "3600 s ahead of ours"),
        (ClusterFacts("v1.32.3", None, ("patch services/status",)), ["ok", "fail"], "patch services/status"),
    ],
)
def test_clusters(facts: ClusterFacts, levels: list[str], text: str) -> None:
    """Version, rights and clocks are judged each by itself."""
    found = list(judge_cluster("prod", facts))
    assert [one.level for one in found] == levels
    assert any(text in one.text for one in found)


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        (StateFacts("/s", begun=False), "warn", "no state is kept"),
        (StateFacts("/s", damage="page 3", holder=1), "fail", "page 3"),
        (StateFacts("/s", mode=0o755, holder=1), "fail", "mode 755"),
        (StateFacts("/s", free=1, holder=1), "fail", "0 MiB left"),
        (StateFacts("/s", running=True), "fail", "ended without a word"),
        (StateFacts("/s"), "warn", "no controller is running"),
    ],
)
def test_the_state_directory(facts: StateFacts, level: str, text: str) -> None:
    """Each trouble of the state directory is one answer."""
    [bad] = [one for one in judge_state(facts) if one.level != "ok"]
    assert (bad.level, text in bad.text) == (level, True)


def test_a_good_state_directory() -> None:
    """One that is whole, private and in use is well."""
    assert {one.level for one in judge_state(StateFacts("/s", holder=7))} == {"ok"}


@pytest.mark.parametrize(("end", "level"), [(-DAY, "fail"), (3 * DAY, "warn"), (90 * DAY, "ok")])
def test_certificates_end(end: float, level: str) -> None:
    """What has ended fails, what ends within two weeks warns."""
    [one] = judge_certificates({"cluster prod, token": end}, 0.0)
    assert one.level == level


def test_the_configuration() -> None:
    """Problems fail with place, reason and way out; remarks warn; a long list is cut, and says so."""
    problems = [InputError(f"a.yaml:{n}", "is wrong", "mend it") for n in range(12)]
    found = list(judge_configuration(problems, ["configuration: overlaps", "device gw1 cannot be read"]))
    assert [one.level for one in found] == ["fail"] * 11 + ["warn"]
    assert found[0].text == "a.yaml:0: is wrong"
    assert found[10].text == "and 2 more problems"
    assert [one.level for one in judge_configuration([], [])] == ["ok"]


def test_a_device_with_every_trouble() -> None:
    """Pending changes, a conflict, drift and a refusal are told apart, each with a way out."""
    rig = Rig(device={"drift": "alert"})
    rig.put(*(node(f"n{n}", f"192.0.2.1{n}", f"10.244.{n}.0/24") for n in (1, 2)))
    rig.settle()
    rig.driver.lose("route 10.244.1.0/24")
    rig.driver.plant("route 10.244.3.0/24", "theirs")
    rig.put(node("n3", "192.0.2.13", "10.244.3.0/24"), node("n4", "192.0.2.14", "10.244.4.0/24"))
    rig.put(node("n5", "198.51.100.9", "10.244.5.0/24"))
    plan = rig.full()
    found = list(judge_device("gw", plan, rig.planner, "sync"))
    told = {one.level: [two.text for two in found if two.level == one.level] for one in found}
    assert any("not in sync: 1 to create" in text for text in told["warn"])
    assert any("drift: was route 10.244.1.0/24" in text for text in told["warn"])
    assert any("taken by theirs" in text for text in told["fail"])
    assert any("node/lab/n5" in text for text in told["fail"])
    assert not any(text.startswith("held") for text in told["warn"])


def test_a_link_with_a_node_that_does_not_answer() -> None:
    """Nodes that are not joined and nodes that are silent are named."""
    rig = Rig()
    rig.put(node("n1", "192.0.2.11", "10.244.1.0/24"), node("n2", "198.51.100.9", "10.244.2.0/24"))
    rig.settle()
    link = rig.world.links["lab"]
    found = list(judge_link(rig.world, link, {"gw": rig.planner}, [Hop("probe", "gw does not reach n1", False)]))
    assert [one.level for one in found] == ["ok", "fail", "fail"]
    assert "1 of 2 nodes: n2" in found[1].text
    assert found[1].remedy == "`isthmus explain n2` says why"


@pytest.mark.parametrize(("used", "level"), [(0, "ok"), (4, "fail")])
def test_pools(used: int, level: str) -> None:
    """A pool with nothing free fails; who waits is told."""
    rig = Rig()
    rig.kind("AddressPool", "small", {"ranges": ["203.0.113.0/30"]})
    rig.put(*(vip(f"203.0.113.{n}") for n in range(used)))
    found = list(judge_pools(rig.world, ["Service shop/web: no address is free"]))
    assert [one.level for one in found] == [level, "warn"]


def test_a_vip_with_two_owners() -> None:
    """Somebody else who answers for a VIP is named by MAC."""
    [bad] = judge_vips("gw1", 2, {ip_address("203.0.113.5"): "02:00:00:00:00:99"})
    assert bad.level == "fail"
    assert "02:00:00:00:00:99" in bad.text
    assert [one.level for one in judge_vips("gw1", 2, {})] == ["ok"]


@pytest.mark.parametrize(("agent", "levels"), [("", []), ("0.1.0", ["ok"]), ("0.0.9", ["warn"])])
def test_agents_of_another_release(agent: str, levels: list[str]) -> None:
    """A remote gateway whose agent is of another release is told; a device without an agent is not."""
    assert [one.level for one in judge_agent("gw1", agent, "0.1.0")] == levels

"""How full pools are, kept claim by claim, is what counting them all would say."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from isthmus.core.world import World
from isthmus.model.kinds import AddressPool, VirtualIP, parse, vip_name

ADDRESSES = [f"192.0.2.{number}" for number in range(8)]
POOLS = {
    "whole": ["192.0.2.0/29", "192.0.2.0/30"],
    "part": ["192.0.2.4/30", "192.0.2.2 - 192.0.2.5"],
}
STEPS = st.one_of(
    st.tuples(st.just("claim"), st.sampled_from(ADDRESSES), st.sampled_from([None, *POOLS])),
    st.tuples(st.just("give back"), st.sampled_from(ADDRESSES), st.none()),
    st.tuples(st.just("pool"), st.sampled_from(sorted(POOLS)), st.sampled_from([0, 1, None])),
    st.tuples(st.just("ask"), st.none(), st.none()),
)


def _document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "isthmus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _counted(world: World) -> Counter[str]:
    found: Counter[str] = Counter()
    for claim in world.vips.values():
        having = [name for name, pool in world.pools.items() if pool.spec.contains(claim.address)]
        found.update([claim.pool] if claim.pool in having else having)
    return found


@given(st.lists(STEPS, max_size=40))
def test_what_is_kept_is_what_counting_says(steps: list[tuple[str, str | None, object]]) -> None:
    world = World()
    for what, name, value in steps:
        match what:
            case "claim":
                address = ip_address(str(name))
                spec = {"address": name, "reservation": True} | ({"pool": value} if value else {})
                vip = parse(_document("VirtualIP", vip_name(address), spec)).object
                assert isinstance(vip, VirtualIP)
                world.put_vip(vip.name, vip)
            case "give back":
                world.put_vip(str(name), None)
            case "pool" if isinstance(value, int):
                pool = parse(_document("AddressPool", str(name), {"ranges": [POOLS[str(name)][value]]})).object
                assert isinstance(pool, AddressPool)
                world.pools = {**world.pools, pool.name: pool}
            case "pool":
                world.pools.pop(str(name), None)
            case _:
                pass
        if what == "ask":
            used = world.pool_use.used(world.pools, world.vips.values())
            assert {pool: count for pool, count in used.items() if count} == _counted(world)
    used = world.pool_use.used(world.pools, world.vips.values())
    assert {pool: count for pool, count in used.items() if count} == _counted(world)

"""Orders lie beside the state, are followed by a running controller, and go when they are done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.app.adopting import Orders
from isthmus.core.adopt import Adoptions
from isthmus.core.world import World
from isthmus.errors import StateError
from isthmus.registry.orders import place_orders, read_orders, spend_order

ROUTE, VIP = "route 10.244.1.0/24", "vip 203.0.113.10"


def test_orders_are_kept_until_they_are_spent(tmp_path: Path) -> None:
    """What is placed is read, twice is once, and what is spent is gone; private to their owner."""
    state = tmp_path / "state"
    assert read_orders(state) == {}
    place_orders(state, "gw1", [ROUTE, VIP])
    place_orders(state, "gw1", [ROUTE])
    place_orders(state, "gw2", [ROUTE])
    assert read_orders(state) == {"gw1": {ROUTE, VIP}, "gw2": {ROUTE}}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (state, *state.rglob("*")))
    spend_order(state, "gw1", ROUTE)
    spend_order(state, "gw1", ROUTE)
    assert read_orders(state) == {"gw1": {VIP}, "gw2": {ROUTE}}


@pytest.mark.parametrize(
    "text",
    ["", "[", "7", '{"device": 7, "identity": []}', json.dumps({"device": "gw1", "identity": ROUTE}), "[" * 100_000],
)
def test_what_is_no_order_of_ours_is_passed_over(tmp_path: Path, text: str) -> None:
    """A damaged file, or one under another order's name, orders nothing."""
    place_orders(tmp_path, "gw1", [VIP])
    (tmp_path / "orders" / "0.json").write_text(text)
    assert read_orders(tmp_path) == {"gw1": {VIP}}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file where the directory should be is told, not raised as the system's error."""
    (tmp_path / "orders").write_text("")
    with pytest.raises(StateError, match="orders"):
        place_orders(tmp_path, "gw1", [ROUTE])


@pytest.fixture
def followed(tmp_path: Path) -> tuple[World, Orders, list[str], Path]:
    world, looked = World(), []
    world.adoptions["gw1"] = Adoptions()
    return world, Orders(world, tmp_path, looked.extend), looked, tmp_path


async def test_a_running_controller_follows_orders(followed: tuple[World, Orders, list[str], Path]) -> None:
    """A placed order has the device looked at, once; a done one is taken away; a new one at its place counts again."""
    world, orders, looked, state = followed
    await orders.once()
    assert looked == []
    place_orders(state, "gw1", [ROUTE])
    await orders.once()
    await orders.once()
    assert looked == ["gw1"]
    assert world.adoptions["gw1"].standing(None) == {ROUTE}
    world.adoptions["gw1"].carried_out(ROUTE)
    await orders.once()
    assert read_orders(state) == {}
    assert world.adoptions["gw1"].standing(None) == frozenset()
    place_orders(state, "gw1", [ROUTE])
    await orders.once()
    assert world.adoptions["gw1"].standing(None) == {ROUTE}

"""Fixtures for tests that send real packets. They run inside the lab's sandbox:

python -m isthmus.lab.net.sandbox -- pytest -m packets

Run bare, they are skipped with the reason; with ``REQUIRE=netns`` in the environment they fail instead.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path

import pytest

from isthmus.lab.net.build import Network
from isthmus.lab.net.lab import Lab
from isthmus.lab.net.sandbox import in_sandbox, probe
from isthmus.lab.net.topology import Topology

HERE = Path(__file__).parent
MakeLab = Callable[..., Awaitable[Lab]]
MakeNetwork = Callable[..., Awaitable[Network]]


@cache
def why_not() -> str:
    """Return why packets cannot be sent here, empty if they can."""
    if in_sandbox():
        return ""
    found = probe()
    if found:
        return "outside the sandbox: run python -m isthmus.lab.net.sandbox -- pytest -m packets"
    return " ".join(found.reasons)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this directory."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.packets)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where namespaces are required."""
    reason = why_not()
    if reason and "netns" in os.environ.get("REQUIRE", ""):
        pytest.fail(reason, pytrace=False)
    elif reason:
        pytest.skip(reason)


@pytest.fixture
async def make_lab() -> AsyncIterator[MakeLab]:
    """Return a function that builds a lab from a topology's numbers; all of them go down after the test."""
    async with AsyncExitStack() as stack:

        async def make(**numbers: object) -> Lab:
            return await stack.enter_async_context(Lab(Topology(**numbers)))  # type: ignore[arg-type]

        yield make


@pytest.fixture
async def lab(make_lab: MakeLab) -> Lab:
    """Return a lab of three nodes, one gateway, flannel, both families."""
    return await make_lab()


@pytest.fixture
async def make_network() -> AsyncIterator[MakeNetwork]:
    """Return a function that builds a network alone: no pods' servers, no Kubernetes."""
    async with AsyncExitStack() as stack:

        async def make(**numbers: object) -> Network:
            return await stack.enter_async_context(Network(Topology(**numbers)))  # type: ignore[arg-type]

        yield make

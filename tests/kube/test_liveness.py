"""A watch that died without a word is noticed, however alive its TCP connection looks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import pytest

from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.pace import Timing
from isthmus.kube.transport import Patience

from .conftest import Watched
from .stub import StallingProxy, StubApi, eventually, status

Start = Callable[..., Watched]


@pytest.fixture
async def proxy(api: StubApi) -> AsyncIterator[StallingProxy]:
    async with StallingProxy(int(api.url.rpartition(":")[2])).serving() as made:
        yield made


@pytest.fixture
async def through(proxy: StallingProxy) -> AsyncIterator[KubeClient]:
    connection = Connection(server=f"http://127.0.0.1:{proxy.port}", name="behind a proxy")
    async with KubeClient(connection, patience=Patience(connect=0.2, request=0.3, headers=0.1)) as client:
        yield client


def test_the_default_arithmetic() -> None:
    """By default a silently dead watch is believed for at most 20 s, and the next bookmark is waited for."""
    timing = Timing()
    assert timing.worst_blindness <= 20
    assert timing.read > 60
    assert timing.watch_least > timing.read
    assert timing.listen < timing.probe


async def test_a_half_open_watch_behind_a_proxy(
    api: StubApi, proxy: StallingProxy, through: KubeClient, watching: Start
) -> None:
    """A proxy that keeps TCP and swallows all is noticed; freshness stops; after it heals nothing was lost."""
    api.put("nodes", "old")
    watched = watching(via=through)
    await eventually(lambda: api.watchers)
    proxy.stalled = True
    api.put("nodes", "unseen")
    started = time.monotonic()
    await eventually(lambda: watched.informer.failing)
    assert time.monotonic() - started < 3, "three times what the arithmetic says, for a busy machine"
    assert watched.informer.freshness <= started + 0.05
    assert watched.names == {"old"}
    proxy.stalled = False
    await eventually(lambda: "unseen" in watched.names)
    await eventually(lambda: watched.informer.failing is None)


async def test_one_dead_stream_beside_a_living_api(api: StubApi, watching: Start) -> None:
    """A watch that is silent while another connection shows newer events is dropped, and resumed without a list."""
    api.put("nodes", "old")
    watched = watching()
    await eventually(lambda: api.watchers)
    api.frozen = True
    api.put("nodes", "unseen")
    await eventually(lambda: "unseen" in watched.names)
    assert len([seen for seen in api.requests("list") if seen.query["limit"] == "500"]) == 1


async def test_a_quiet_cluster_is_not_dropped(api: StubApi, watching: Start) -> None:
    """A watch that has nothing to say is proven alive again and again, on the same connection."""
    api.put("nodes", "only")
    watched = watching()
    await eventually(lambda: api.watchers)
    first = watched.informer.freshness
    for _ in range(3):
        asked = len(api.requests("list"))
        api.version += 1  # other kinds change all the time
        await eventually(lambda asked=asked: len(api.requests("list")) > asked)
    await eventually(lambda: watched.informer.freshness > first)
    streams = [seen for seen in api.requests("watch") if int(seen.query["timeoutSeconds"]) >= 240]
    assert len(streams) == 2, "the refused streamed list, and one watch"
    assert watched.informer.failing is None


async def test_an_equal_version_is_proof_enough(api: StubApi, watching: Start) -> None:
    """Where the collection stands at our own position, one small request proves that nothing was missed."""
    api.put("nodes", "only")
    watched = watching()
    await eventually(lambda: api.watchers)
    watches = len(api.requests("watch"))
    asked = len(api.requests("list"))
    first = watched.informer.freshness
    await eventually(lambda: len(api.requests("list")) >= asked + 2)
    assert watched.informer.freshness > first
    assert len(api.requests("watch")) == watches
    assert "resourceVersion" not in api.requests("list")[-1].query, "a cache's answer would prove nothing"
    assert api.requests("list")[-1].query["limit"] == "1"


async def test_a_busy_api_keeps_the_watch(api: StubApi, watching: Start) -> None:
    """A 429 to the question beside a silent watch neither drops the watch nor counts as proof."""
    api.put("nodes", "only")
    watched = watching()
    await eventually(lambda: api.watchers)
    api.faults.append(
        lambda seen: status(429, "TooManyRequests", headers={"Retry-After": "1"}) if seen.verb == "list" else None
    )
    asked, first = len(api.requests("list")), watched.informer.freshness
    await eventually(lambda: len(api.requests("list")) >= asked + 2)
    assert watched.informer.freshness == first
    assert watched.informer.failing is None
    api.put("nodes", "later")
    await eventually(lambda: "later" in watched.names)


async def test_an_api_that_dies_beside_a_watch(api: StubApi, watching: Start) -> None:
    """An API that no longer answers beside a silent watch is failing, with the reason, and its facts stay."""
    api.put("nodes", "only")
    watched = watching()
    await eventually(lambda: api.watchers)
    api.faults.append(lambda seen: status(401, "Unauthorized", "the token has expired"))
    await eventually(lambda: watched.informer.failing)
    assert "Unauthorized" in (watched.informer.failing or "")
    assert watched.names == {"only"}


async def test_a_position_that_the_api_cannot_serve_is_given_up(api: StubApi, watching: Start) -> None:
    """An API that answers a watch from our position with errors is listed again after the second one."""
    api.put("nodes", "only")
    watched = watching()
    await eventually(lambda: api.watchers)
    position = watched.informer.resource_version
    api.faults.append(
        lambda seen: (
            status(500, "InternalError", "etcdserver: mvcc: required revision is a future revision")
            if seen.verb == "watch" and seen.query.get("resourceVersion") == position
            else None
        )
    )
    api.version += 1
    api.close_watches()
    await eventually(lambda: watched.informer.resource_version != position)
    await eventually(lambda: watched.informer.failing is None)
    assert watched.names == {"only"}

"""What the informer knows, and what it tells, while all goes well and while watches end in every way they can."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import pytest
from aiohttp import web

from isthmus.kube import wire
from isthmus.kube.kinds import CONFIGMAPS
from isthmus.kube.pace import Backoff, Timing
from isthmus.kube.parse import SLICE, Projection

from .conftest import FAST, Watched
from .stub import Seen, StubApi, eventually, status

Start = Callable[..., Watched]


def fill(api: StubApi, count: int) -> None:
    for number in range(count):
        api.put("nodes", f"n{number:04}", spec={"podCIDR": f"10.{number // 256}.{number % 256}.0/24"})


async def test_lists_in_pages_of_500_and_follows(api: StubApi, watching: Start) -> None:
    """1,200 nodes arrive in three pages, are told in one set, and later changes by their keys alone."""
    fill(api, 1200)
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    assert len(watched.informer) == 1200
    assert [seen.query.get("limit") for seen in api.requests("list")] == ["500"] * 3
    assert [len(keys) for keys in watched.changes] == [1200]
    api.put("nodes", "n0007", spec={"podCIDR": "10.99.0.0/24"})
    api.delete("nodes", "n0008")
    await eventually(lambda: len(watched.informer) == 1199)
    assert set().union(*watched.changes[1:]) == {("", "n0007"), ("", "n0008")}
    assert str(watched.informer.get(("", "n0007")).pod_cidrs[0]) == "10.99.0.0/24"
    assert watched.informer.resource_version == str(api.version)


async def test_an_unchanged_object_is_not_told(api: StubApi, watching: Start) -> None:
    """A heartbeat that touches no field we read tells nobody anything, yet moves our position."""
    fill(api, 2)
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    told = len(watched.changes)
    api.put("nodes", "n0000", spec={"podCIDR": "10.0.0.0/24"}, status={"images": [{"sizeBytes": 5}]})
    await eventually(lambda: watched.informer.resource_version == str(api.version))
    assert len(watched.changes) == told


async def test_asks_for_bookmarks_and_resumes_from_them(api: StubApi, watching: Start) -> None:
    """A bookmark moves the position, is no object, and the next watch starts from it."""
    fill(api, 1)
    watched = watching()
    await eventually(lambda: api.watchers)
    assert all(seen.query["allowWatchBookmarks"] == "true" for seen in api.requests("watch"))
    api.version += 50
    api.bookmark("nodes")
    await eventually(lambda: watched.informer.resource_version == str(api.version))
    before = len(api.requests("watch"))
    api.close_watches()
    await eventually(lambda: len(api.requests("watch")) > before)
    assert api.requests("watch")[before].query["resourceVersion"] == str(api.version)
    assert watched.names == {"n0000"}


@pytest.mark.parametrize("form", ["status", "event"])
async def test_an_expired_position_lists_again_and_notices_what_went(
    api: StubApi, watching: Start, form: str
) -> None:
    """After a 410 in either form the store equals the API, a deletion in the gap included, and only that is told."""
    fill(api, 50)
    watched = watching()
    await eventually(lambda: api.watchers)
    told = len(watched.changes)
    api.expired_as = form
    api.faults.append(lambda seen: status(503, "ServiceUnavailable") if seen.verb == "watch" else None)
    api.close_watches()
    await eventually(lambda: not api.watchers)
    api.delete("nodes", "n0003")
    api.put("nodes", "new")
    api.compact()
    api.version += 1
    api.faults.clear()
    await eventually(lambda: "new" in watched.names)
    assert set().union(*watched.changes[told:]) == {("", "n0003"), ("", "new")}
    assert len(watched.informer) == 50
    assert watched.informer.suspect is None


async def test_a_list_that_expires_half_way_is_not_a_list(api: StubApi, watching: Start) -> None:
    """A 410 between two pages throws the half list away; the next attempt is complete."""
    fill(api, 700)

    def expire(seen: Seen) -> web.StreamResponse | None:
        if seen.verb == "list" and "continue" in seen.query:
            api.faults.remove(expire)
            return status(410, "Expired")
        return None

    api.faults.append(expire)
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    assert len(watched.informer) == 700
    assert [len(keys) for keys in watched.changes] == [700]


async def test_clean_closes_are_answered_by_patience(api: StubApi, watching: Start) -> None:
    """A server that closes every watch at once is asked a few times a second, not hundreds of times."""
    fill(api, 1)
    api.close_at_once = True
    started = time.monotonic()
    watched = watching(timing=Timing(idle_check=5, backoff_first=0.05, backoff_most=10))
    await eventually(lambda: len(api.requests("watch")) >= 6)
    # The first watch is the streamed list that was refused; then pauses of at least 25, 50, 100 and 200 ms.
    assert time.monotonic() - started > 0.375
    assert len(api.requests("list")) == 1
    assert watched.informer.failing is None, "a clean close is no failure"


def test_back_off_grows_spreads_and_is_bounded() -> None:
    """Pauses double up to the limit, lie in their upper half, and begin anew after a healthy time."""
    backoff = Backoff(0.5, 30, random.Random(7))
    pauses = [backoff.pause() for _ in range(12)]
    for pause, whole in zip(pauses, [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30], strict=True):
        assert whole / 2 <= pause <= whole
    backoff.reset()
    assert backoff.pause() <= 0.5


async def test_a_healthy_watch_resets_the_back_off(api: StubApi, watching: Start) -> None:
    """A watch that lived long enough is followed by the first pause again, not by the last one."""
    watched = watching(timing=Timing(idle_check=5, healthy=0.0, backoff_first=0.01, backoff_most=60))
    api.close_at_once = True
    await eventually(lambda: len(api.requests("watch")) >= 20)
    assert watched.informer.failing is None


async def test_a_watch_that_never_stood_is_no_sign_of_health(api: StubApi, watching: Start) -> None:
    """An API that lists and refuses every watch is asked less and less often, however long its lists take."""
    fill(api, 1)
    api.faults.append(lambda seen: status(500, "InternalError") if seen.verb == "watch" else None)
    started = time.monotonic()
    watching(timing=Timing(idle_check=5, healthy=0.0, backoff_first=0.05, backoff_most=10))
    await eventually(lambda: len(api.requests("watch")) >= 5)
    assert time.monotonic() - started > 0.375


async def test_a_reset_in_mid_stream_resumes(api: StubApi, watching: Start) -> None:
    """A cut connection costs a reconnect from the last position, no list, no loss."""
    fill(api, 3)
    watched = watching()
    await eventually(lambda: api.watchers)
    api.send(b'{"type":"ADDED","object":{"metadata":{"name":"half')
    api.reset_watches()
    api.put("nodes", "later")
    await eventually(lambda: "later" in watched.names)
    assert len(api.requests("list")) - len([s for s in api.requests("list") if s.query["limit"] == "1"]) == 1


async def test_retry_after_is_honoured(api: StubApi, watching: Start) -> None:
    """A 429 with Retry-After: 1 is not followed by another watch within that second."""
    fill(api, 1)
    api.faults.append(
        lambda seen: status(429, "TooManyRequests", headers={"Retry-After": "1"}) if seen.verb == "watch" else None
    )
    watched = watching()
    await eventually(lambda: watched.informer.failing)
    refused = len(api.requests("watch"))
    api.faults.clear()
    started = time.monotonic()
    await eventually(lambda: len(api.requests("watch")) > refused)
    assert time.monotonic() - started > 0.8
    await eventually(lambda: watched.informer.failing is None)


async def test_server_errors_are_retried(api: StubApi, watching: Start) -> None:
    """A 500 on lists and watches delays, and loses nothing."""
    fill(api, 2)
    left = [5]

    def sick(seen: Seen) -> web.StreamResponse | None:
        left[0] -= 1
        return status(500, "InternalError", "etcdserver: leader changed") if left[0] >= 0 else None

    api.faults.append(sick)
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    await eventually(lambda: watched.informer.failing is None)
    assert watched.names == {"n0000", "n0001"}


async def test_a_streamed_list_needs_no_pages(api: StubApi, watching: Start) -> None:
    """Where the API streams lists, one connection carries the list and the watch."""
    api.streaming = "serve"
    fill(api, 600)
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    assert not api.requests("list")
    assert [len(keys) for keys in watched.changes] == [600]
    api.put("nodes", "later")
    await eventually(lambda: "later" in watched.names)
    assert len(api.requests("watch")) == 1


@pytest.mark.parametrize("manner", ["refuse", "ignore"])
async def test_falls_back_to_pages(api: StubApi, watching: Start, manner: str) -> None:
    """An API that refuses streamed lists, or ignores the wish and never ends one, is listed in pages."""
    api.streaming = manner
    fill(api, 10)
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    assert len(watched.informer) == 10
    assert any(seen.query["limit"] == "500" for seen in api.requests("list"))


async def test_a_streamed_list_that_breaks_is_not_a_list(api: StubApi, watching: Start) -> None:
    """A stream that is closed before its end mark changes nothing in the store."""
    api.streaming = "ignore"
    fill(api, 10)
    watched = watching(timing=Timing(idle_check=5, backoff_first=0.01, backoff_most=0.02))
    await eventually(lambda: api.watchers)
    api.close_watches()
    await eventually(lambda: watched.informer.failing)
    assert not watched.informer.synced.is_set()
    assert len(watched.informer) == 0
    api.streaming = "serve"
    api.close_watches()
    await eventually(watched.informer.synced.is_set)
    assert len(watched.informer) == 10


async def test_one_large_event(api: StubApi, watching: Start) -> None:
    """An object of 1.4 MB arrives in one event."""
    watched = watching()
    await eventually(lambda: api.watchers)
    api.put("nodes", "large", metadata={"annotations": {"flannel.alpha.coreos.com/x": "y" * 1_400_000}})
    await eventually(lambda: "large" in watched.names)


async def test_one_bad_object_hurts_only_itself(api: StubApi, watching: Start) -> None:
    """An object that cannot be decoded is skipped and named, in a list and in a watch; its good neighbours are there."""
    fill(api, 2)
    api.put("nodes", "odd", metadata={"labels": ["not", "a", "map"]})
    watched = watching()
    await eventually(watched.informer.synced.is_set)
    assert watched.names == {"n0000", "n0001"}
    assert "labels" in watched.informer.broken["", "odd"]
    api.put("nodes", "n0001", spec={"podCIDRs": "10.0.0.0/24"})
    await eventually(lambda: ("", "n0001") in watched.informer.broken)
    assert watched.names == {"n0000", "n0001"}, "what was known of it stays"
    api.put("nodes", "odd")
    await eventually(lambda: "odd" in watched.names)
    assert ("", "odd") not in watched.informer.broken


@pytest.mark.parametrize(
    "line",
    [
        b"<html>gateway time-out</html>",
        b'{"type": "BOOKMARK", "object": {"metadata": null}}',
        b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": 7}}}',
        b'{"type": "BOOKMARK"}, ',
        b'{"type": "ADDED", "object": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type": "ERROR", "object": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type": "ERROR", "object": {"kind": "Status", "code": -1, "message": 7}}',
    ],
)
async def test_garbage_in_the_stream_reconnects(api: StubApi, watching: Start, line: bytes) -> None:
    """A line that is no event ends that watch at most, never the informer."""
    fill(api, 1)
    watched = watching()
    await eventually(lambda: api.watchers)
    api.send(line + b"\n")
    api.put("nodes", "later")
    await eventually(lambda: "later" in watched.names)


async def test_indexes_follow(api: StubApi, watching: Start) -> None:
    """Slices are found by their Service, and no longer by one that they left."""

    def add(name: str, service: str) -> None:
        api.put(
            "endpointslices",
            name,
            "shop",
            addressType="IPv4",
            metadata={"labels": {"kubernetes.io/service-name": service}},
            endpoints=[{"addresses": ["10.244.1.5"]}],
        )

    add("web-1", "web")
    add("web-2", "web")
    watched = watching(SLICE, indexes={"by_service": lambda found: [(found.namespace, found.service)]})
    await eventually(watched.informer.synced.is_set)
    assert [found.name for found in watched.informer.by("by_service", ("shop", "web"))] == ["web-1", "web-2"]
    add("web-1", "api")
    await eventually(lambda: watched.informer.by("by_service", ("shop", "api")))
    assert [found.name for found in watched.informer.by("by_service", ("shop", "web"))] == ["web-2"]


async def test_any_kind_can_be_followed(api: StubApi, watching: Start) -> None:
    """A projection of somebody else's kind sees it whole; one that raises costs that object alone."""
    api.put("configmaps", "good", "kube-system", data={"number": "7"})
    api.put("configmaps", "bad", "kube-system", data={"number": "seven"})
    numbers = Projection(CONFIGMAPS, wire.Whole, lambda found: int(found.data["number"]))
    watched = watching(numbers, namespace="kube-system")
    await eventually(watched.informer.synced.is_set)
    assert dict(watched.informer.items()) == {("kube-system", "good"): 7}
    assert "seven" in watched.informer.broken["kube-system", "bad"]
    assert api.requests("list", "configmaps")[0].path.endswith("/namespaces/kube-system/configmaps")


async def test_selectors_are_sent_everywhere(api: StubApi, watching: Start) -> None:
    """Lists, watches and the questions beside a silent watch ask for the same part of the collection."""
    fill(api, 1)
    watching(label_selector="role in (edge)", field_selector="metadata.name=n0000")
    await eventually(lambda: any(seen.query.get("limit") == "1" for seen in api.seen))
    await eventually(lambda: api.counts()["watch"] >= 1)
    for seen in api.seen:
        assert seen.query["labelSelector"] == "role in (edge)", json.dumps(seen.query)
        assert seen.query["fieldSelector"] == "metadata.name=n0000"


async def test_watch_lifetimes_are_spread(api: StubApi, watching: Start) -> None:
    """The life we ask a watch to have is drawn at random, so that a fleet does not reconnect in step."""
    api.close_at_once = True
    watching(timing=FAST)
    await eventually(lambda: len(api.requests("watch")) >= 6)
    lives = {seen.query["timeoutSeconds"] for seen in api.requests("watch")}
    assert len(lives) > 2
    assert all(240 <= int(life) <= 480 for life in lives)

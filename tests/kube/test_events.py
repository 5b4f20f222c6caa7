"""Events reach users' objects once, counted, within limits, and trouble with them is nobody's trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from isthmus.kube.client import KubeClient
from isthmus.kube.events import EventWriter, Regarding
from isthmus.telemetry import reconciling

from .stub import StubApi, status

WEB = Regarding("v1", "Service", "web", "shop", "uid-1")


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def writer(client: KubeClient, clock: Clock) -> AsyncIterator[EventWriter]:
    made = EventWriter(client, instance="test", clock=clock, burst=3, refill=1 / 60)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_event_is_on_its_object(api: StubApi, writer: EventWriter) -> None:
    """The Event names the object, the reason and the note, in the object's namespace."""
    writer.tell(WEB, "NoAddress", "pool edge is used up", warning=True)
    await writer.drained()
    (event,) = api.objects["events"].values()
    assert event["regarding"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "name": "web",
        "namespace": "shop",
        "uid": "uid-1",
    }
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "NoAddress", "pool edge is used up")
    assert event["metadata"]["namespace"] == "shop"
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert (event["reportingInstance"], event["action"]) == ("test", "Reconcile")
    assert "series" not in event


async def test_an_event_names_the_pass_that_it_came_from(api: StubApi, writer: EventWriter) -> None:
    """The same id is in the log, so that both can be read together; what no pass said has none."""
    with reconciling() as number:
        writer.tell(WEB, "NoAddress", "pool edge is used up")
    writer.tell(WEB, "Started", "by nobody")
    await writer.drained()
    found = {event["reason"]: event["metadata"].get("annotations") for event in api.objects["events"].values()}
    assert found == {"NoAddress": {"isthmus.dev/reconcile": number}, "Started": None}


async def test_cluster_scoped_objects_have_their_events_in_default(api: StubApi, writer: EventWriter) -> None:
    """An Event about a Node is written to the namespace ``default``."""
    writer.tell(Regarding("v1", "Node", "n1"), "Joined", "joined link edge")
    await writer.drained()
    ((namespace, _),) = api.objects["events"]
    assert namespace == "default"


async def test_the_same_news_becomes_a_count(api: StubApi, writer: EventWriter, clock: Clock) -> None:
    """Repeated news is one Event with a series; after a long silence it is a new one."""
    for _ in range(3):
        writer.tell(WEB, "Flap", "device lb-1 does not answer")
        await writer.drained()
        clock.now += 60
    (event,) = api.objects["events"].values()
    assert event["series"]["count"] == 3
    clock.now += 3600
    writer.tell(WEB, "Flap", "device lb-1 does not answer")
    await writer.drained()
    assert len(api.objects["events"]) == 2


async def test_an_event_that_has_expired_is_written_anew(api: StubApi, writer: EventWriter) -> None:
    """Where the counted Event is gone, a new one is made."""
    writer.tell(WEB, "Flap", "again")
    await writer.drained()
    api.objects["events"].clear()
    api.faults.append(lambda seen: status(404, "NotFound") if seen.verb == "PATCH" else None)
    writer.tell(WEB, "Flap", "again")
    await writer.drained()
    assert len(api.objects["events"]) == 1


async def test_one_object_has_an_allowance(api: StubApi, writer: EventWriter, clock: Clock) -> None:
    """A noisy object gets its burst and a trickle; another object is not hurt by it."""
    for number in range(50):
        writer.tell(WEB, "Noise", f"note {number}")
    writer.tell(Regarding("v1", "Service", "api", "shop"), "Quiet", "one note")
    await writer.drained()
    assert len(api.objects["events"]) == 4
    assert writer.dropped == 47
    clock.now += 60
    writer.tell(WEB, "Noise", "a minute later")
    await writer.drained()
    assert len(api.objects["events"]) == 5


async def test_counts_go_on_beyond_the_allowance(api: StubApi, writer: EventWriter, clock: Clock) -> None:
    """Repeats that were not written are in the count of the next one that is."""
    for _ in range(10):
        writer.tell(WEB, "Flap", "again")
        await writer.drained()
    clock.now += 60
    writer.tell(WEB, "Flap", "again")
    await writer.drained()
    (event,) = api.objects["events"].values()
    assert event["series"]["count"] == 11


@pytest.mark.parametrize(("code", "reason"), [(403, "Forbidden"), (500, "InternalError"), (404, "NotFound")])
async def test_trouble_is_nobodys_trouble(api: StubApi, writer: EventWriter, code: int, reason: str) -> None:
    """An API that refuses Events costs the Event; the next one is tried."""
    api.faults.append(lambda seen: status(code, reason))
    writer.tell(WEB, "Lost", "nobody reads this")
    await writer.drained()
    assert writer.dropped == 1
    api.faults.clear()
    writer.tell(WEB, "Heard", "somebody reads this")
    await writer.drained()
    assert [event["reason"] for event in api.objects["events"].values()] == ["Heard"]


async def test_long_words_are_cut(api: StubApi, writer: EventWriter) -> None:
    """Notes and reasons stay within the API's limits, names within a DNS name's."""
    writer.tell(Regarding("v1", "Service", "x" * 253, "shop"), "R" * 200, "n" * 5000)
    await writer.drained()
    (event,) = api.objects["events"].values()
    assert len(event["note"]) == 1024
    assert len(event["reason"]) == 128
    assert len(event["metadata"]["name"]) <= 253
    assert json.dumps(event)


async def test_waiting_news_are_bounded(client: KubeClient) -> None:
    """An API that takes nothing does not fill our memory."""
    writer = EventWriter(client, burst=1e9)
    for number in range(5000):
        writer.tell(Regarding("v1", "Node", f"n{number}"), "Noise", "note")
    assert len(writer._waiting) == 1000
    assert writer.dropped == 4000

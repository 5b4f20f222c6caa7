"""The health server: it says what its owner says, truly fails, and shows figures without a secret or a broken line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from isthmus import metrics
from isthmus.errors import InputError
from isthmus.web import health as health_module
from isthmus.web.address import Address
from isthmus.web.health import serving


class Owner:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.sick: list[str] = []
        self.blind: list[str] = []

    def ailments(self) -> list[str]:
        return self.sick

    def unseen(self) -> list[str]:
        return self.blind


@asynccontextmanager
async def asked(owner: Owner) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    async with serving(Address("127.0.0.1", 0), owner) as at, aiohttp.ClientSession() as session:
        assert at is not None
        yield session, f"http://{at}"


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as answer:
        return answer.status, await answer.text()


async def test_health_and_readiness_are_two_questions() -> None:
    """Each says ok or every reason, with 503; one does not make the other fail."""
    owner = Owner()
    async with asked(owner) as (session, url):
        assert await get(session, f"{url}/healthz") == (200, "ok\n")
        assert await get(session, f"{url}/readyz") == (200, "ok\n")
        owner.blind = ["cluster prod: its nodes have not been read yet", "another"]
        assert await get(session, f"{url}/readyz") == (503, "".join(f"{text}\n" for text in owner.blind))
        assert (await get(session, f"{url}/healthz"))[0] == 200
        owner.sick, owner.blind = ["the worker of device gw1 has ended"], []
        assert await get(session, f"{url}/healthz") == (503, "the worker of device gw1 has ended\n")
        assert (await get(session, f"{url}/readyz"))[0] == 200


async def test_who_holds_on_to_connections_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that ask nothing end after a while and are so many at most, or nobody could scrape any more."""
    monkeypatch.setattr(health_module, "_IDLE", 0.5)
    monkeypatch.setattr(health_module, "_MOST_CONNECTIONS", 4)
    async with serving(Address("127.0.0.1", 0), Owner()) as at:
        assert at is not None
        held = [await asyncio.open_connection(*at) for _ in range(6)]
        held[0][1].write(b"GET /metrics HTTP/1.1\r\nHo")
        async with asyncio.timeout(0.4):
            assert await held[5][0].read() == b"", "there is no room for it"
        async with asyncio.timeout(5):
            for reader, writer in held:
                assert await reader.read() == b""
                writer.close()
        async with aiohttp.ClientSession() as session:
            assert await get(session, f"http://{at}/healthz") == (200, "ok\n")


async def test_a_stuck_loop_is_told_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is stuck nothing answers, which a kubelet takes for a failure; for a while after, the answer says so."""
    monkeypatch.setattr(health_module, "_TICK", 0.05)
    monkeypatch.setattr(health_module, "_LATE", 0.2)
    async with asked(Owner()) as (session, url):
        assert (await get(session, f"{url}/healthz"))[0] == 200
        time.sleep(0.5)
        await get(session, f"{url}/healthz")
        status, text = await get(session, f"{url}/healthz")
        assert status == 503
        assert "the event loop was stuck" in text


async def test_many_reasons_are_cut_short() -> None:
    """A thousand clusters that cannot be reached are no page of a thousand lines."""
    owner = Owner()
    owner.blind = [f"cluster c{number}: away" for number in range(1000)]
    async with asked(owner) as (session, url):
        _, text = await get(session, f"{url}/readyz")
    assert len(text.splitlines()) == 51
    assert text.endswith("... and 950 more\n")


async def test_figures_are_in_prometheus_format() -> None:
    """What happened and what is are both there; a label from a user cannot break out of its line."""
    evil = 'gw"} 1\nisthmus_evil{x="\\'
    with metrics.shown(lambda: [(metrics.DEVICE_REACHABLE, (evil,), 1.0), (metrics.READY, (), 0.0)]):
        with metrics.device_request(evil, "observe"):
            pass
        async with asked(Owner()) as (session, url):
            status, text = await get(session, f"{url}/metrics")
    assert status == 200
    lines = text.splitlines()
    assert "isthmus_ready 0.0" in lines
    assert 'isthmus_device_reachable{device="gw\\"} 1\\nisthmus_evil{x=\\"\\\\"} 1.0' in lines
    assert not [line for line in lines if line.startswith("isthmus_evil")]
    assert any(line.startswith("process_cpu_seconds_total") for line in lines)
    metrics.forget("device", evil)
    assert "isthmus_evil" not in metrics.exposition().decode(), "who is gone leaves no series"


async def test_an_address_that_is_taken_is_said() -> None:
    """The way out is in the sentence; nothing is served half."""
    async with serving(Address("127.0.0.1", 0), Owner()) as at:
        assert at is not None
        with pytest.raises(InputError, match=r"--listen 127\.0\.0\.1:\d+: cannot be had: .*choose another"):
            async with serving(at, Owner()):
                pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [("127.0.0.1:9441", "127.0.0.1:9441"), ("[::1]:9441", "[::1]:9441"), ("fd00::7:9442", "[fd00::7]:9442")],
)
def test_addresses_as_people_and_kubelets_write_them(text: str, shown: str) -> None:
    """A pod's own IPv6 address comes without brackets."""
    assert str(Address.parse(text)) == shown


@pytest.mark.parametrize("text", ["9441", ":9441", "host:", "host:port", "host:99999", "host:-1", "host:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """The sentence names the option and shows one that is right."""
    with pytest.raises(InputError, match="--listen"):
        Address.parse(text)

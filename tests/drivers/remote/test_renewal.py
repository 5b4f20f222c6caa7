"""Certificates grow old: who renews them, what is said where that cannot be, and that nobody notices when it goes well."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from isthmus.agents.gateway.authority import Authority
from isthmus.agents.gateway.enrolled import serial_text
from isthmus.app.gateway_agent import clients
from isthmus.drivers.linux.remote.credentials import Requested
from isthmus.drivers.linux.remote.messages import AskRenew, encode
from isthmus.errors import DeviceUnreachable

from .rig import opened, running


async def test_a_client_renews_its_certificate_by_itself(tmp_path: Path) -> None:
    """After two thirds of its life it has another one, with another key, without a gap; the old one still holds."""
    async with running(tmp_path, lifetime=timedelta(hours=2)) as rig:
        driver = await rig.client()
        before = driver.credentials.certificate()
        driver._clock = lambda: datetime.now(UTC) + timedelta(hours=1.5)
        async with opened(driver):
            drifting = asyncio.create_task(driver.drift())
            for _ in range(50):
                if driver.credentials.certificate() != before:
                    break
                await asyncio.sleep(0.1)
            after = driver.credentials.certificate()
            assert after.public_key() != before.public_key()
            assert (await driver.observe()).resources == {}
            # The old one goes, as it does when it expires: who listens does not notice.
            path = rig.state / "tls" / "clients.json"
            await asyncio.sleep(0.3)
            kept = path.read_text()
            path.write_text(kept.replace(serial_text(before), "0" * 40))
            await asyncio.sleep(1.2)
            assert not drifting.done()
            assert (await driver.observe()).resources == {}
            path.write_text(kept)
            await rig.stop()
            with pytest.raises(DeviceUnreachable):
                await asyncio.wait_for(drifting, 3)
        await rig.start()
        listed = [issued.serial for issued in clients(rig.state)["controller"]]
        assert listed == [serial_text(before), serial_text(after)]
        driver._clock = lambda: datetime.now(UTC)
        async with opened(driver):
            assert (await driver.observe()).resources == {}


async def test_a_certificate_that_cannot_be_kept_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a read-only volume it is said until when the old one holds, and that one goes on."""
    async with running(tmp_path, lifetime=timedelta(hours=2)) as rig:
        driver = await rig.client()
        driver._clock = lambda: datetime.now(UTC) + timedelta(hours=1.5)
        monkeypatch.setattr("os.access", lambda path, mode: False)
        async with opened(driver):
            await asyncio.sleep(0.2)
            assert (await driver.observe()).resources == {}
        assert len(clients(rig.state)["controller"]) == 1
    assert "cannot be written, so the certificate there ends on" in capfd.readouterr().out


async def test_many_renewals_never_lock_out_who_renews(tmp_path: Path) -> None:
    """A client that asks again and again, and keeps none of what it gets, still comes in with what it has."""
    async with running(tmp_path) as rig:
        await rig.enrol()
        body = encode(AskRenew(Requested.new("c").csr))
        for _ in range(12):
            assert (await rig.ask("POST", "/v1/renew", body))[0] == 200
        assert (await rig.ask("GET", "/v1/hello"))[0] == 200
        assert len(clients(rig.state)["controller"]) == 8


def test_the_servers_certificate_follows_the_host(tmp_path: Path) -> None:
    """A new address gets a new certificate under the same CA, used by connections from then on; nothing else does."""
    authority = Authority(tmp_path)
    context = authority.server_context(["192.0.2.1"])
    first = (tmp_path / "server.pem").read_bytes()
    assert not authority.renew_server(["192.0.2.1"], context)
    assert authority.renew_server(["192.0.2.1", "gw1.example.org"], context)
    assert (tmp_path / "server.pem").read_bytes() != first
    assert Authority(tmp_path).fingerprint == authority.fingerprint

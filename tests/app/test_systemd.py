"""systemd is told what it asked for, and nobody else is told anything."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from isthmus.app import systemd


def test_without_a_socket_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Outside systemd, and where its socket is gone, telling is no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    systemd.tell("READY=1")


async def test_signs_of_life_come_twice_as_often_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ready once, then alive again and again; abstract sockets (with an @) are meant, too."""
    for address in (str(tmp_path / "notify"), f"@isthmus-test-{tmp_path.name}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(address.replace("@", "\0"))
            listener.setblocking(False)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            monkeypatch.setenv("WATCHDOG_USEC", "100000")
            systemd.tell("READY=1")
            living = asyncio.create_task(systemd.tell_that_we_live())
            await asyncio.sleep(0.25)
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            assert listener.recv(100) == b"READY=1"
            assert [listener.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3

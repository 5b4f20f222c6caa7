"""Tells systemd that we are ready and alive, where it has asked (sd_notify(3)): datagrams to a socket, nothing more."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

__all__ = ["tell", "tell_that_we_live"]


def tell(state: str) -> None:
    """Send ``state``, like ``READY=1``; nothing happens where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)


async def tell_that_we_live() -> None:
    """Send signs of life as often as systemd wants them, for ever; a loop that stands still sends none."""
    asked = os.environ.get("WATCHDOG_USEC", "")
    pause = int(asked) / 2_000_000 if asked.isdecimal() and int(asked) else 3600.0
    while True:
        tell("WATCHDOG=1")
        await asyncio.sleep(pause)

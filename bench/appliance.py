"""The lab's NetScaler in a process of its own, as slow as a real one, and what stands on it and was asked of it.

Each HTTP request takes 20 ms and each item in it 1 ms more. The one confusing thing: its counters are read, and other
people's things are made, over its administration, which is neither counted nor slowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from bench.world import GATEWAY

LATENCY, PER_ITEM = 0.02, 0.001
USER = PASSWORD = "nsroot"
_AT_ONCE = 200
_READING = ("get", "login", "logout", "unread")


class Count(NamedTuple):
    """How often something was asked for, and how many items that was about."""

    requests: int = 0
    items: int = 0


class Device:
    """A device that runs, by its URL and that of its administration."""

    def __init__(self, url: str, admin: str) -> None:
        self.url = url
        self._admin = admin
        self._session = aiohttp.ClientSession(auth=aiohttp.BasicAuth(USER, PASSWORD))

    async def close(self) -> None:
        """Let go of the administration."""
        await self._session.close()

    async def order(self, command: str, **arguments: Any) -> None:
        """Order something of the administration."""
        async with self._session.post(f"{self._admin}/{command}", json=arguments) as response:
            if response.status != 200:
                raise RuntimeError(f"{command}: {await response.text()}")

    async def shown(self) -> dict[str, Any]:
        """Return what the administration tells."""
        async with self._session.get(f"{self._admin}/") as response:
            found: dict[str, Any] = await response.json()
            return found

    async def counted(self) -> dict[str, Count]:
        """Return what was asked since the counters were reset, reading and sessions apart."""
        return {
            f"{row['verb']} {row['resource']}": Count(row["count"], row["items"])
            for row in (await self.shown())["requests"]
            if row["verb"] not in _READING
        }

    async def read(self) -> int:
        """Return how many requests there were that only look, logins among them."""
        return sum(row["count"] for row in (await self.shown())["requests"] if row["verb"] in _READING)

    async def empty(self) -> None:
        """Have it hold nothing but its own addresses, and count from zero."""
        await self._write("POST", "nsconfig", {"nsconfig": {"level": "full"}}, "action=clear")
        own = {"ipaddress": str(GATEWAY.ip), "netmask": str(GATEWAY.netmask), "type": "SNIP"}
        await self._write("POST", "nsip", {"nsip": own})
        await self._write("POST", "nsfeature", {"nsfeature": {"feature": ["LB"]}}, "action=enable")
        await self.order("reset-counters")

    async def _write(self, method: str, path: str, body: dict[str, Any], query: str = "") -> None:
        await self.order("write", method=method, path=path, body=body, query=query)


@contextlib.asynccontextmanager
async def device(latency: float = LATENCY, per_item: float = PER_ITEM) -> AsyncIterator[Device]:
    """Run a device while the block runs."""
    options = ["--listen", "127.0.0.1:0", "--admin", "0", "--latency", str(latency), "--per-item", str(per_item)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "isthmus", "lab", "nitro", *options, "--json", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None, "it was asked for"
    found = None
    try:
        async with asyncio.timeout(30):
            [said] = json.loads(await process.stdout.readline())
        found = Device(said["url"], said["admin"])
        await found.empty()
        yield found
    finally:
        if found is not None:
            await found.close()
        process.terminate()
        await process.wait()


def options(url: str, folder: Path) -> dict[str, Any]:
    """Return the part of an EdgeDevice that says where the device at ``url`` is; credentials come to lie in ``folder``."""
    for name, text in (("username", USER), ("password", PASSWORD)):
        (folder / name).write_text(text)
    return {"urls": [url], "plainHttp": True, "credentials": {"directory": str(folder)}, "saveAfter": "1s"}


Step = tuple[str, str, str, Sequence[dict[str, Any]]]
"""Method, kind, query, rows."""


async def by_hand(url: str, steps: Iterable[Step], *, at_once: int = 4) -> None:
    """Send ``steps`` one after another, each in as few requests as can be; raise for any answer but success.

    It is a client without anything: one login, arrays of rows, nothing read, nothing compared.
    """
    base = f"{url}/nitro/v1/config"
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=connector) as session:
        login = {"login": {"username": USER, "password": PASSWORD}}
        async with session.post(f"{base}/login", json=login) as response:
            token = (await response.json())["sessionid"]
        headers = {"Cookie": f"NITRO_AUTH_TOKEN={token.replace('#', '%23')}"}

        async def send(method: str, kind: str, query: str, rows: Sequence[dict[str, Any]]) -> None:
            content: Any = rows[0] if len(rows) == 1 else list(rows)
            async with session.request(
                method, f"{base}/{kind}{query}", json={kind: content}, headers=headers
            ) as said:
                if said.status not in (200, 201):
                    raise RuntimeError(f"{kind}: {await said.text()}")

        for method, kind, query, rows in steps:
            parts = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
            await asyncio.gather(*(send(method, kind, query, part) for part in parts))
        async with session.post(f"{base}/logout", json={"logout": {}}, headers=headers):
            pass

"""A client that knows no more of NITRO than HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

Json = dict[str, Any]

DONE = '{ "errorcode": 0, "message": "Done", "severity": "NONE" }'
LOGIN = {"X-NITRO-USER": "nsroot", "X-NITRO-PASS": "nsroot"}


@dataclass(frozen=True)
class Reply:
    """One answer, as it came."""

    status: int
    reason: str
    text: str
    headers: Mapping[str, str]
    cookies: list[str]

    @property
    def line(self) -> str:
        return f"{self.status} {self.reason}"

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.text)
        return found

    @property
    def code(self) -> int:
        return int(self.json["errorcode"])


class Nitro:
    """One client; every path is relative to ``config/`` and goes out as it is written."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        data = None if body is None else body if isinstance(body, str) else json.dumps(body) + "\n"
        sent = {"Content-Type": "application/json", **(LOGIN if headers is None else headers)}
        url = URL(f"{self.url}/nitro/v1/config/{path}", encoded=True)
        async with self.session.request(method, url, data=data, headers=sent) as response:
            cookies = response.headers.getall("Set-Cookie", [])
            return Reply(response.status, response.reason or "", await response.text(), response.headers, cookies)

    async def get(self, path: str) -> Any:
        """Return the rows (or the object) that a successful GET shows."""
        reply = await self.call("GET", path)
        assert reply.status == 200, reply.text
        rest = {key: value for key, value in reply.json.items() if key not in ("errorcode", "message", "severity")}
        return next(iter(rest.values()), [])

    async def add(self, kind: str, **fields: Any) -> Reply:
        return await self.call("POST", kind, {kind: fields})

    async def made(self, kind: str, **fields: Any) -> None:
        """Add what must succeed."""
        reply = await self.add(kind, **fields)
        assert (reply.line, reply.text) == ("201 Created", DONE), reply.text

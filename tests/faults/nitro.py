"""From the product's NITRO client to the simulated NetScaler: the class in the place of HTTP, and all that can go wrong.

It has the two methods of :class:`isthmus.drivers.netscaler.nitro.wire.Wire`, so that sessions, pace, pair, bulk and all above
them run as they are; behind it the lab's appliance answers as it does over a socket.

A reply may be lost after the request took effect, or be cut off, or be something else; the request may never arrive, hang,
stop half-way, meet a device that says 503, ended the session, starts anew, has lost its role, or somebody else's hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from faults.netscaler import NetScaler
from faults.seam import Process, Seam
from isthmus.drivers.netscaler.nitro.bodies import Answer
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request
from isthmus.errors import DeviceUnreachable
from isthmus.lab.nitro import Appliance
from isthmus.lab.nitro.http import Front

_BUSY = b'{ "errorcode": 293, "message": "Operation in progress", "severity": "ERROR" }'
_FULL_FOR = 60.0
"""Seconds until somebody makes room on the device's disk."""


class SimWire:
    """HTTP without sockets, of one process to all nodes."""

    def __init__(self, device: NetScaler, seam: Seam, process: Process) -> None:
        self.device = device
        self.seam = seam
        self._process = process

    async def close(self) -> None:
        return None

    async def send(self, root: str, request: Request) -> Answer:
        """Return the answer of the node at ``root``; raise ``DeviceUnreachable``."""
        node = self.device.node(root)
        assert node is not None, f"nobody lives at {root}"
        late: list[float] = []

        def effect(request: Request = request) -> Answer:
            return self._exchange(node, request)

        def lost(word: str = "the connection broke", seconds: float = 0.0) -> Any:
            late.append(seconds)
            raise DeviceUnreachable(f"{request.what}: {word}")

        def reply_lost() -> Answer:
            effect()
            return lost()

        def reply_never() -> Answer:
            effect()
            return lost("no answer in time", request.limit)

        def unsent() -> Answer:
            raise NotSent(f"{request.what}: cannot connect")

        def busy(after: str = "") -> Answer:
            return Answer(503, b"<html><body>Service Unavailable</body></html>", retry_after=after)

        def killed() -> Answer:
            node.sessions.kill_all(keep=self.device.people[node.address])
            return effect()

        def cut() -> Answer:
            found = effect()
            return Answer(found.status, found.body[: len(found.body) // 2])

        def other() -> Answer:
            found = effect()
            return Answer(200, b"<html><body>Please log in</body></html>", retry_after=found.retry_after)

        def reboot() -> Answer:
            node.reboot(node.faults.boot_takes)
            return lost()

        def meddled() -> Answer:
            self.device.meddle()
            return effect()

        trouble: dict[str, Callable[[], Answer]] = {
            "reply-lost": reply_lost,
            "unsent": unsent,
            "hung": lambda: lost("no answer in time", request.limit),
            "hung-done": reply_never,
            "503": busy,
            "503-later": lambda: busy("20"),
            "killed": killed,
            "cut": cut,
            "other": other,
            "reboot": reboot,
            "meddled": meddled,
        }
        if node.pair is not None:

            def fail_over() -> Answer:
                assert node.pair is not None, "there is a peer"
                node.pair.fail_over()
                return effect()

            trouble["fail-over"] = fail_over
        if request.method != "GET" and not request.what.endswith(("login", "logout")):
            trouble |= self._of_writes(node, request, effect, lost)
        name = f"nitro.{_name(request)}"
        known = len(self.device.logins)
        try:
            found: Answer = await self.seam.call(name, effect, trouble)
        except BaseException:  # whoever asked may have given up, too
            self.device.lost_logins += len(self.device.logins) - known
            if late:
                await self.seam.late(late[0])
            raise
        if not found.body.rstrip().endswith(b"}"):
            self.device.lost_logins += len(self.device.logins) - known
        return found

    def _of_writes(
        self, node: Appliance, request: Request, effect: Callable[..., Answer], lost: Callable[..., Any]
    ) -> dict[str, Callable[[], Answer]]:
        """Return what befalls only what writes."""
        body = json.loads(request.body) if request.body else {}
        kind, rows = next(((kind, rows) for kind, rows in body.items() if isinstance(rows, list)), ("", []))

        def half() -> Answer:
            part = json.dumps({kind: rows[: len(rows) // 2]}).encode()
            effect(_with(request, part))
            return lost()

        def item() -> Answer:
            node.faults.refuse_item(len(rows) // 2)
            return effect()

        trouble: dict[str, Callable[[], Answer]] = {"in-progress": lambda: Answer(599, _BUSY)}
        if rows:
            trouble |= {"half-applied": half, "item-refused": item}
        if "action=save" in request.target:

            def full() -> Answer:
                node.faults.disk_full = True
                self.seam.later(_FULL_FOR, lambda: setattr(node.faults, "disk_full", False))
                return effect()

            trouble = {"in-progress": lambda: Answer(599, _BUSY), "disk-full": full}
        return trouble

    def _exchange(self, node: Appliance, request: Request) -> Answer:
        """Have ``node`` answer, and note whose session came to be."""
        if not node.up:
            raise NotSent(f"{request.what}: cannot connect")
        asked = _Asked(request)
        before = {session.sid for session in node.sessions.live()}
        response = _run(Front(node).handle(asked))  # type: ignore[arg-type]
        if asked.transport.aborted:
            raise DeviceUnreachable(f"{request.what}: the connection broke")
        for session in node.sessions.live():
            if session.sid not in before:
                self.device.logged_in(node, session.sid, self._process)
        headers = response.headers
        return Answer(
            response.status,
            bytes(response.body or b""),
            headers.get("X-NITRO-WARNING", ""),
            headers.get("Retry-After", ""),
            tuple(headers.getall("Set-Cookie", ())),
        )


def _name(request: Request) -> str:
    """Return what a plan calls a request: its method or action, and its kind."""
    method, _, kind = request.what.partition(" ")
    return f"{method.lower()} {kind}"


def _with(request: Request, body: bytes) -> Request:
    from dataclasses import replace

    return replace(request, body=body)


@dataclass
class _Transport:
    aborted: bool = False

    def abort(self) -> None:
        self.aborted = True


class _Asked:
    """As much of an HTTP request as the appliance's front looks at."""

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.rel_url = URL(request.target, encoded=True)
        self.headers: CIMultiDict[str] = CIMultiDict()
        if request.token:
            self.headers["Cookie"] = f"NITRO_AUTH_TOKEN={request.token}"
        if request.continues:
            self.headers["X-NITRO-ONERROR"] = "continue"
        self.transport = _Transport()
        self._body = request.body or b""

    async def read(self) -> bytes:
        return self._body


def _run(work: Any) -> web.Response:
    """Drive what waits for nothing but its turn to its end."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            found: web.Response = end.value
            return found

"""The faults over HTTP, for whoever runs the device as a process of its own: ``POST /<command>`` with a JSON object.

It listens on loopback, on a port of its own, and wants name and password of a user of the device (HTTP Basic).
``GET /`` shows the counters. The commands are the methods of the faults, and: ``reboot``, ``fail-over``, ``kill-sessions``
and ``write``, which is somebody else changing something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.appliance import Appliance


class Admin:
    """The administration of one device."""

    def __init__(self, device: Appliance) -> None:
        """Administer ``device``."""
        faults = device.faults
        self._device = device
        self._commands: dict[str, Callable[..., Any]] = {
            "clear": faults.clear,
            "delay": faults.delay,
            "drop-replies": faults.drop_replies,
            "fail-next": faults.fail_next,
            "fail-over": self._fail_over,
            "kill-sessions": device.sessions.kill_all,
            "reboot": device.reboot,
            "refuse-item": faults.refuse_item,
            "reset-counters": faults.reset_counters,
            "set": faults.set,
            "write": device.write,
        }

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_get("/", self._show)
        app.router.add_post("/{command}", self._command)
        return app

    def _fail_over(self) -> None:
        if self._device.pair is None:
            raise ValueError("this device has no peer")
        self._device.pair.fail_over()

    def _authorize(self, request: web.Request) -> None:
        # As the device knows its users; a session of the device opens nothing here.
        try:
            with self._device.sessions.use({"Authorization": request.headers.get("Authorization", "")}):
                pass
        except Refusal as refusal:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Basic"}) from refusal

    async def _show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        device = self._device
        counted = sorted(device.faults.requests.items())
        shown = {
            "state": "Primary" if device.primary else "Secondary",
            "up": device.up,
            "sessions": len(device.sessions.live()),
            "unsaved": device.config.changed,
            "objects": {name: len(rows) for name, rows in sorted(device.running.tables.items()) if rows},
            "writes": device.faults.writes,
            "requests": [
                {"verb": verb, "resource": resource, "count": n, "items": device.faults.items[(verb, resource)]}
                for (verb, resource), n in counted
            ],
        }
        return web.json_response(shown)

    async def _command(self, request: web.Request) -> web.Response:
        self._authorize(request)
        command = self._commands.get(request.match_info["command"])
        if command is None:
            raise web.HTTPNotFound(text=f"known commands: {', '.join(sorted(self._commands))}\n")
        try:
            data = await request.read()
            arguments = msgspec.json.decode(data or b"{}", type=dict[str, Any])
            result = command(**{name.replace("-", "_"): value for name, value in arguments.items()})
        except (Refusal, TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return web.json_response({"result": result if isinstance(result, int) else None})

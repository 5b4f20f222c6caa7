"""The faults over HTTP, for whoever runs the server as a process of its own: ``POST /<command>`` with a JSON object.

It listens on loopback, on a port of its own, and wants the token of the server's first user. The commands are the methods
of the same name; ``GET /`` shows the counters.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from isthmus.lab.kube.server import KubeApi


class Admin:
    """The administration of one server."""

    def __init__(self, server: KubeApi) -> None:
        faults = server.faults
        self._server = server
        self._commands: dict[str, Callable[..., Any]] = {
            "allow": faults.allow,
            "clear": faults.clear,
            "close-watches": server.close_watches,
            "compact": server.compact,
            "delay": faults.delay,
            "deny": faults.deny,
            "empty-lists": faults.empty_lists,
            "fail-next": faults.fail_next,
            "freeze-watches": server.freeze_watches,
            "thaw-watches": server.thaw_watches,
        }

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_get("/", self._show)
        app.router.add_post("/{command}", self._command)
        return app

    def _authorize(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        token = next(iter(self._server.access.tokens), "")
        if not token or not hmac.compare_digest(given.encode(), token.encode()):
            raise web.HTTPUnauthorized

    async def _show(self, request: web.Request) -> web.Response:
        self._authorize(request)
        counted = sorted(self._server.faults.requests.items())
        shown = {
            "resourceVersion": str(self._server.store.rv),
            "watches": self._server.watches(),
            "writes": self._server.faults.writes,
            "requests": [{"verb": verb, "resource": resource, "count": count} for (verb, resource), count in counted],
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
        except (TypeError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        return web.json_response({"result": result if isinstance(result, int) else None})

"""From an HTTP request to the device and back: status lines, headers, the spacing of the bodies.

A request is looked at in this order: is the device up -> read the URL -> count it, and let the faults have it -> read the
body -> who is it -> do it. Everything that is refused on the way is a ``Refusal`` and becomes an answer here only.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import quote

from aiohttp import web

from isthmus.lab.nitro import bulk, queries
from isthmus.lab.nitro.answers import DONE, REASONS, Answer, Refusal
from isthmus.lab.nitro.appliance import Appliance
from isthmus.lab.nitro.queries import Request
from isthmus.lab.nitro.sessions import token_of
from isthmus.lab.nitro.writing import compact, spaced

Json = dict[str, Any]

BODY_MAX = 32 * 1024 * 1024
_log = logging.getLogger(__name__)
_HEADERS = (
    ("Server", "Apache"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Expires", "Thu, 19 Nov 1981 08:52:00 GMT"),
    ("Cache-Control", "no-store, no-cache, must-revalidate, post-check=0, pre-check=0"),
    ("Pragma", "no-cache"),
    ("Feature-Policy", "camera 'none'; microphone 'none'; geolocation 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-XSS-Protection", "1; mode=block"),
    ("X-Content-Type-Options", "nosniff"),
)
_OLD_COOKIE = "SESSID=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0; path=/"
_VERBS = {"GET": "get", "POST": "add", "PUT": "update", "DELETE": "delete"}


def _written(status: int, text: str, *, kind: str = "application/json") -> web.Response:
    response = web.Response(status=status, reason=REASONS.get(status), body=text.encode())
    for name, value in _HEADERS:
        response.headers[name] = value
    response.headers["Content-Type"] = f"{kind}; charset=utf-8"
    return response


def _refused(refusal: Refusal) -> web.Response:
    write = compact if refusal.compact else spaced
    return _written(refusal.status, write(refusal.body()))


class Front:
    """The HTTP face of one device."""

    def __init__(self, device: Appliance) -> None:
        """Stand in front of ``device``."""
        self._device = device

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        if not self._device.up:
            return _hang_up(request)
        try:
            return await self._answer(request)
        except Refusal as refusal:
            return _refused(refusal)
        except Exception:
            # A bug of ours must look like a broken device, not like a closed connection, and must be found in the log.
            _log.exception("request failed")
            return _written(500, "<html><body>Internal Server Error</body></html>", kind="text/html")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        faults = self._device.faults
        url = request.rel_url
        try:
            asked = queries.read(url.raw_path, url.raw_query_string)
            if request.method not in _VERBS:
                raise Refusal(1240, request.method, status=405)
            verb = _verb(request.method, asked)
            body = await _body(request)
        except Refusal:
            faults.count("unread", request.method.lower())
            raise
        items = _items(body)
        faults.count(verb, asked.resource, items)
        if late := faults.latency(verb, asked.resource, items):
            await asyncio.sleep(late)
        if failure := faults.failure(verb, asked.resource):
            response = _written(failure[0], "<html><body>Service Unavailable</body></html>", kind="text/html")
            if failure[1] is not None:
                response.headers["Retry-After"] = str(failure[1])
            return response
        response = await self._do(request, asked, body)
        return _hang_up(request) if faults.dropped(verb, asked.resource) else response

    async def _do(self, request: web.Request, asked: Request, body: Json) -> web.Response:
        device = self._device
        if asked.resource == "login" and request.method == "POST":
            return self._login(request, body)
        if asked.resource == "logout" and request.method == "POST":
            device.sessions.logout(token_of(request.headers))
            return _written(200, spaced(DONE))
        on_error = request.headers.get("X-NITRO-ONERROR", "exit").lower()
        if on_error not in bulk.MODES:
            on_error = "exit"
        with device.sessions.use(request.headers) as token:
            if asked.resource == "nsconfig" and asked.action == "save":
                return await self._save()
            answer = device.perform(request.method, asked, body, token=token, on_error=on_error)
            if request.method != "GET":
                await device.settle()
        return _respond(answer, asked)

    def _login(self, request: web.Request, body: Json) -> web.Response:
        given = body.get("login")
        if not isinstance(given, dict):
            raise Refusal(1232, "login")
        timeout = given.get("timeout")
        if timeout is not None and not str(timeout).isdecimal():
            raise Refusal(1097, "timeout")
        session = self._device.sessions.login(
            str(given.get("username", "")),
            str(given.get("password", "")),
            None if timeout is None else float(timeout),
        )
        if "vnd.com.citrix.netscaler" in request.headers.get("Content-Type", ""):
            # The older form: the token is in the cookie only, and the body is empty (seen).
            response = _written(201, "", kind="text/html")
            response.headers.add("Set-Cookie", f"NITRO_AUTH_TOKEN={quote(session.token)}; path=/nitro/v1")
            return response
        response = _written(201, spaced({**DONE, "sessionid": session.token}))
        response.headers.add("Set-Cookie", _OLD_COOKIE)
        response.headers.add("Set-Cookie", f"sessionid={quote(session.token)}; path=/nitro/v1")
        return response

    async def _save(self) -> web.Response:
        device = self._device
        if not device.primary:
            raise Refusal(device.faults.secondary_code)
        stored = device.config
        stored.begin_save(disk_full=device.faults.disk_full)
        try:
            await asyncio.sleep(device.faults.save_takes)
        finally:
            if stored.saving:  # a device that has started anew in between has forgotten about it
                stored.end_save()
        return _written(200, spaced(DONE))


def _verb(method: str, asked: Request) -> str:
    if asked.resource in ("login", "logout"):
        return asked.resource
    if asked.action:
        return asked.action
    if method == "PUT" and asked.resource.endswith("_binding"):
        return "add"
    return _VERBS[method]


async def _body(request: web.Request) -> Json:
    data = await request.read()
    if not data.strip() or request.method in ("GET", "DELETE"):
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise Refusal(1233) from None
    if not isinstance(body, dict):
        raise Refusal(1233)
    return body


def _items(body: Json) -> int:
    return sum(len(value) if isinstance(value, list) else 1 for value in body.values()) or 1


def _respond(answer: Answer, asked: Request) -> web.Response:
    if answer.warnings and asked.warning and answer.status in (200, 201):
        code, _, text = answer.warnings[0].partition(" - ")
        body = {**answer.body, "errorcode": int(code), "message": text, "severity": "WARNING"}
        response = _written(209, spaced(body))
        response.headers["X-NITRO-WARNING"] = answer.warnings[0]
        return response
    return _written(answer.status, spaced(answer.body))


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)

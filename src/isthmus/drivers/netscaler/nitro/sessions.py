"""Our session on one node: at most one, opened by exactly one login however many requests need it, and ended when we go.

A device takes about twenty administrative connections in all, people's included, and locks a user out after a few wrong
passwords. So a session that could not be ended is kept in mind and used again, a wrong password is tried once and then after
pauses that grow to minutes, and a new one in the same place at once.

The one confusing thing: ``renew`` takes the token that no longer works. If somebody has already replaced it, the new one is
used and nobody logs in twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote

from isthmus.drivers.netscaler.nitro.bodies import Answer, read_body, scrubbed
from isthmus.drivers.netscaler.nitro.credentials import Credential, Credentials
from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.queries import path
from isthmus.drivers.netscaler.nitro.wire import NotSent, Request
from isthmus.errors import DeviceError, DeviceUnreachable
from isthmus.metrics import NITRO_LOGINS

__all__ = ["RESTRICTED_TIMEOUT", "SESSION_TIMEOUT", "Session", "token_of"]

SESSION_TIMEOUT = 60
"""Seconds of silence after which the device ends a session by itself. A process that is killed every few seconds leaves so
few behind; one that lives is never silent for so long, since it looks every few seconds whether something has moved."""
RESTRICTED_TIMEOUT = 900
"""What a device takes that does not let sessions end so soon (``restrictedtimeout``: 300 s at least, 900 by default)."""
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 480.0
_LOOK_AGAIN = 5.0
"""Seconds after which asking again makes sense while a password is wrong: a look at its file, no login."""
_FULL_PAUSE = 30.0
_BAD_VALUE = frozenset({278, 1097, 1108, 1109})
_COOKIES = ("NITRO_AUTH_TOKEN", "sessionid")


class Session:
    """The session on one node.

    ``send`` carries a request there, ``place`` names the node in errors, ``pause`` says for how long a node that does not
    serve is left alone, and ``limit`` is the seconds that an answer may take.
    """

    def __init__(
        self,
        device: str,
        place: str,
        credentials: Credentials,
        send: Callable[[Request], Awaitable[Answer]],
        clock: Callable[[], float],
        *,
        limit: float,
        pause: Callable[[], float],
    ) -> None:
        self._pause_there = pause
        self._device = device
        self._place = place
        self._credentials = credentials
        self._send = send
        self._clock = clock
        self._limit = limit
        self._lock = asyncio.Lock()
        self._timeout = SESSION_TIMEOUT
        self._token = ""
        self._known: frozenset[str] = frozenset()
        self._salt = secrets.token_bytes(16)
        self._refused = b""  # the credential that was wrong, as a salted hash
        self._pause = _FIRST_PAUSE
        self._not_before = float("-inf")
        self.logins = 0
        """Sessions opened so far; a number that has grown means another session."""

    @property
    def open(self) -> bool:
        """Return whether there is a session, as far as we know."""
        return bool(self._token)

    @property
    def secrets(self) -> frozenset[str]:
        """Return what must not be seen in anything that is quoted from the device."""
        return self._known

    async def token(self) -> str:
        """Return the token to show; logs in if there is none. Raises ``NitroError`` or ``DeviceUnreachable``."""
        async with self._lock:
            return self._token or await self._login()

    async def renew(self, dead: str) -> str:
        """Return a token other than ``dead``, which the device no longer takes."""
        async with self._lock:
            if self._token == dead:
                self._token = ""
            return self._token or await self._login()

    async def end(self) -> None:
        """Log out; a session that cannot be ended now is kept, to be used or ended later."""
        async with self._lock:
            if not self._token:
                return
            answer = await self._send(
                Request("POST", path("logout"), "POST logout", min(self._limit, 3.0), b'{"logout":{}}', self._token)
            )
            error = read_body(answer, self._place).error
            if error is None or error.meaning is not Meaning.UNAVAILABLE:
                self._token = ""

    async def _login(self) -> str:
        credential = await self._believed()
        try:
            return await self._login_as(credential)
        except NitroError as error:
            if error.meaning is not Meaning.CREDENTIALS:
                raise
            # Where it lies, another one may have been put since we looked: that one is tried at once.
            other = await self._credentials.renewed(credential)
            if self._hash(other) == self._hash(credential):
                raise
        return await self._login_as(other)

    async def _login_as(self, credential: Credential) -> str:
        self._known = frozenset({credential.password})
        try:
            answer = await self._ask(credential)
            body = read_body(answer, f"{self._place}: login", self._known)
            if body.error is not None and body.error.code in _BAD_VALUE and self._timeout != RESTRICTED_TIMEOUT:
                self._timeout = RESTRICTED_TIMEOUT
                answer = await self._ask(credential)
                body = read_body(answer, f"{self._place}: login", self._known)
            if body.error is not None:
                raise self._explained(body.error, answer.status)
            token = token_of(body.content.get("sessionid"), answer.cookies)
            if not token:
                raise NitroError(
                    "a login without a session", http=answer.status, meaning=Meaning.UNREADABLE, place=self._place
                )
        except NitroError as error:
            NITRO_LOGINS.labels(self._device, error.meaning.value).inc()
            if error.meaning is Meaning.CREDENTIALS:
                self._refused = self._hash(credential)
                self._not_before = self._clock() + self._pause
                self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            raise
        except DeviceError as error:
            NITRO_LOGINS.labels(self._device, "unreachable").inc()
            if isinstance(error, DeviceUnreachable):
                raise NotSent(str(error)) from None  # what the session was for has not been asked
            raise
        NITRO_LOGINS.labels(self._device, "ok").inc()
        self._refused, self._pause = b"", _FIRST_PAUSE
        self._token = quote(token, safe="")
        self._known = frozenset({credential.password, token, self._token})
        self.logins += 1
        return self._token

    async def _believed(self) -> Credential:
        """Return the credential to try; raise where the one that lies there has been refused and its pause is not over."""
        credential = await self._credentials.current()
        if self._hash(credential) != self._refused:
            return credential
        credential = await self._credentials.renewed(credential)
        left = self._not_before - self._clock()
        if self._hash(credential) == self._refused and left > 0:
            raise NitroError(
                "name or password are wrong; tried again after a pause, at once when they change",
                code=354,
                http=401,
                place=self._place,
                retry_after=min(left, _LOOK_AGAIN),
            )
        return credential

    async def _ask(self, credential: Credential) -> Answer:
        words = {"username": credential.username, "password": credential.password, "timeout": self._timeout}
        body = json.dumps({"login": words}).encode()
        return await self._send(Request("POST", path("login"), "POST login", self._limit, body))

    def _explained(self, error: NitroError, status: int) -> NitroError:
        """Return what a refused login means: any 401 is a wrong credential here, whatever the code."""
        if error.meaning is Meaning.UNAVAILABLE:
            error.retry_after = self._pause_there()
            return error
        if error.meaning in (Meaning.CREDENTIALS, Meaning.SESSION) or status == 401:
            text = scrubbed(error.message, self._known)
            return NitroError(
                f"name or password are wrong: {text}",
                code=error.code,
                http=status,
                meaning=Meaning.CREDENTIALS,
                retry_after=_LOOK_AGAIN,
                place=self._place,
            )
        if error.meaning is Meaning.FULL:
            error.retry_after = _FULL_PAUSE
        return error

    def _hash(self, credential: Credential) -> bytes:
        text = f"{credential.username}\0{credential.password}".encode()
        return hashlib.blake2b(text, key=self._salt).digest()


def token_of(said: object, cookies: tuple[str, ...]) -> str:
    """Return the session that a login gave: in the body, or, by older releases, in a cookie alone."""
    if isinstance(said, str) and said:
        return said
    for cookie in cookies:
        name, _, value = cookie.partition(";")[0].strip().partition("=")
        if name in _COOKIES and value and value != "deleted":
            return unquote(value.strip('"'))
    return ""

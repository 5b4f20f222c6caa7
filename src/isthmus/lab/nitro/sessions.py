"""Who is logged in: tokens, time-outs, the limit of twenty, and the end of a session by force.

A client has a session, whose token it sends as a cookie, or gives name and password with every request; then it takes one
place among the connections as long as that request lasts.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from isthmus.lab.nitro.answers import Refusal

Json = dict[str, Any]

LIMIT = 20
TIMEOUT = 1800.0
_TOKEN_BYTES = 126  # "##" and 252 digits: the length that devices print
_COOKIES = ("NITRO_AUTH_TOKEN", "sessionid")


@dataclass(slots=True)
class Session:
    """One login."""

    sid: int
    token: str
    user: str
    made: float
    last: float
    timeout: float
    login_time: str = ""


class Sessions:
    """All sessions of one device."""

    def __init__(self, users: Mapping[str, str], clock: Callable[[], float], *, limit: int = LIMIT) -> None:
        """Start without a session; ``users`` maps names to passwords, ``clock`` tells seconds."""
        self.users = dict(users)
        self.limit = limit
        self._clock = clock
        self._by_token: dict[str, Session] = {}
        self._next = 1
        self._passing = 0  # requests that bring name and password, under way

    def login(self, user: str, password: str, timeout: float | None) -> Session:
        """Return a new session; raise Refusal."""
        self.verify(user, password)
        self._room()
        now = self._clock()
        session = Session(
            sid=self._next,
            token="##" + secrets.token_hex(_TOKEN_BYTES).upper(),
            user=user,
            made=now,
            last=now,
            timeout=TIMEOUT if timeout is None else timeout,
            login_time=datetime.now(UTC).strftime("%a %b %e %H:%M:%S %Y"),
        )
        self._next += 1
        self._by_token[session.token] = session
        return session

    def verify(self, user: str, password: str) -> None:
        """Refuse a wrong name or password."""
        known = self.users.get(user)
        if known is None or not hmac.compare_digest(known.encode(), password.encode()):
            raise Refusal(354)

    def logout(self, token: str) -> None:
        """End the session of ``token``."""
        self._by_token.pop(token, None)

    def live(self) -> list[Session]:
        """Return the sessions that have not timed out."""
        now = self._clock()
        for token, session in list(self._by_token.items()):
            if now - session.last > session.timeout:
                del self._by_token[token]
        return list(self._by_token.values())

    def kill(self, sid: int) -> None:
        """End one session; raise Refusal when there is none."""
        for session in self.live():
            if session.sid == sid:
                del self._by_token[session.token]
                return
        raise Refusal(258, "sid", sid)

    def kill_all(self, keep: str = "") -> int:
        """End all sessions but the one of token ``keep``; return how many."""
        ended = [session for session in self.live() if session.token != keep]
        for session in ended:
            del self._by_token[session.token]
        return len(ended)

    @contextlib.contextmanager
    def use(self, headers: Mapping[str, str]) -> Iterator[str]:
        """Let one request in; yields the token of its session, or nothing. Raises Refusal."""
        token = token_of(headers)
        if token:
            session = next((session for session in self.live() if hmac.compare_digest(session.token, token)), None)
            if session is None:
                raise Refusal(444)
            session.last = self._clock()
            yield token
            return
        given = _credentials(headers)
        if given is None:
            raise Refusal(1027)
        self.verify(*given)
        self._room()
        self._passing += 1
        try:
            yield ""
        finally:
            self._passing -= 1

    def show(self, current: str) -> list[Json]:
        """Return the sessions as they are read back."""
        now = self._clock()
        return [
            {
                "sid": str(session.sid),
                "username": session.user,
                "logintime": session.login_time,
                "expirytime": max(0, int(session.timeout - (now - session.last))),
                "numofconnections": "1",
                "currentconn": session.token == current,
                "clienttype": "api-httpd",
                "partitionname": "default",
            }
            for session in self.live()
        ]

    def _room(self) -> None:
        if len(self.live()) + self._passing >= self.limit:
            raise Refusal(446)


def token_of(headers: Mapping[str, str]) -> str:
    """Return the token a request brings: in a cookie, or in a request header that should have been a response's."""
    for header in ("Cookie", "Set-Cookie"):
        for part in headers.get(header, "").split(";"):
            name, _, value = part.strip().partition("=")
            if name in _COOKIES and value:
                return unquote(value.strip('"'))
    return ""


def _credentials(headers: Mapping[str, str]) -> tuple[str, str] | None:
    if "X-NITRO-USER" in headers:
        return headers["X-NITRO-USER"], headers.get("X-NITRO-PASS", "")
    kind, _, text = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal(354) from None
    return user, password

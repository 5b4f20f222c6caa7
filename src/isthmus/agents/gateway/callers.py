"""Who asks, and how much they may: every request passes here before anything of it is looked at.

There is one listener. TLS checks a certificate if one is shown; that there *is* one, that it is on the list and still
holds, is checked here for every path but the two in :data:`OPEN`, and again for each request on a connection: a client that
was revoked or has expired ends at its next request. One door with one lock was preferred to a second port, which would
have to be opened in every firewall for the few minutes of an enrolment.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from aiohttp import web

from isthmus.agents.gateway.enrolled import Clients
from isthmus.agents.gateway.limits import Concurrency, Rate, network_of
from isthmus.agents.gateway.problems import Denied

__all__ = ["OPEN", "Callers"]

OPEN = frozenset({"/healthz", "/v1/enrol"})
"""The paths that need no certificate."""


class Callers:
    """The clients' list, and what each may ask."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self._rate = Rate(per_second=100, burst=200)
        self._strangers = Rate(per_second=0.5, burst=10)
        self._enrolments = Rate(per_second=0.1, burst=6)
        self._together = Concurrency(each=16, together=64)
        # A count of their own: strangers who send their bodies slowly must not use up the room of controllers.
        self._strangers_together = Concurrency(each=4, together=16)

    def identify(self, request: web.Request) -> str:
        """Return the client's name, empty where a path needs none; raise ``Denied``."""
        if request.path in OPEN:
            # Health is asked often and by machines; an enrolment is rare, and a token is tried a few times at most.
            if request.method != "GET":
                _check(self._enrolments, network_of(request.remote or ""), "enrolments from this address")
            elif request.path != "/healthz":
                _check(self._strangers, network_of(request.remote or ""), "requests from this address")
            return ""
        name = self.name_of(request)
        if name is None:
            _check(self._strangers, network_of(request.remote or ""), "requests without an enrolled certificate")
            shown = self.serial_of(request) is not None
            raise Denied(
                "not-enrolled",
                403 if shown else 401,
                "this certificate is not on the list" if shown else "a client certificate is needed here",
                remedy="run `isthmus gateway enrol` with a token of this gateway",
            )
        _check(self._rate, name, f"requests of client {name}")
        return name

    def name_of(self, request: web.Request) -> str | None:
        """Return whose certificate the connection came with, none if it does not count (any more)."""
        serial = self.serial_of(request)
        return None if serial is None else self.clients.name_of(serial, datetime.now(UTC))

    @staticmethod
    def serial_of(request: web.Request) -> str | None:
        """Return the serial number of the certificate that TLS has checked against our CA, none if there is none."""
        transport = request.transport
        connection = transport.get_extra_info("ssl_object") if transport is not None else None
        if not isinstance(connection, ssl.SSLObject):
            return None
        shown = connection.getpeercert()
        return str(shown["serialNumber"]).lower().rjust(40, "0") if shown else None

    @contextmanager
    def one_more(self, request: web.Request, name: str) -> Iterator[None]:
        """Count a request for as long as the ``with`` lasts; raise ``Denied`` where there are too many."""
        count = self._together if name else self._strangers_together
        with count.one(name or network_of(request.remote or "")) as room:
            if not room:
                raise Denied("too-many-requests", 429, "too many requests at a time", retry_after=1)
            yield


def _check(rate: Rate, key: str, what: str) -> None:
    wait = rate.wait(key)
    if wait:
        raise Denied("too-many-requests", 429, f"too many {what}", remedy="wait and try again", retry_after=wait)

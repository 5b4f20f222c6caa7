"""All virtual servers of one device: which of them listen, and where a new client goes.

A server listens while a member of it takes connections and answers its monitors; else it is DOWN, and a client is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from isthmus.lab.adc.choosing import Chooser
from isthmus.lab.adc.plans import Member, Name, Service
from isthmus.lab.adc.sockets import listening
from isthmus.lab.adc.tcp import Proxy
from isthmus.lab.adc.udp import Datagrams
from isthmus.lab.adc.wiring import Address

_log = logging.getLogger(__name__)
Up = Callable[[Name], bool]


class _Served:
    """One virtual server."""

    def __init__(self, namespace: str, service: Service, up: Up, now: Callable[[], float]) -> None:
        self.service = service
        self._namespace = namespace
        self._up = up
        self._now = now
        self._chooser = Chooser()
        self._listens = False
        self._told = ""
        ended = self._ended
        self._front: Proxy | Datagrams = (
            Datagrams(namespace, service.idle, self._choose, ended)
            if service.datagram
            else Proxy(namespace, self._choose, ended)
        )

    @property
    def place(self) -> tuple[Address, int, bool, float]:
        """Return what a server must be made anew for when it changes."""
        return self.service.address, self.service.port, self.service.datagram, self.service.idle

    async def become(self, service: Service) -> None:
        """Serve as told now."""
        self.service = service
        self._chooser.forget(service.members)
        known = {member.name: member for member in service.members}

        def gone(member: Member) -> bool:
            now = known.get(member.name)
            return (
                now is None
                or (now.address, now.port) != (member.address, member.port)
                or (now.takes and not self._up(now.name))
            )

        self._front.flush(gone)
        listens = bool(self._takers())
        if listens and not self._listens:
            try:
                sock = listening(self._namespace, service.address, service.port, datagram=service.datagram)
            except OSError as error:
                if self._told != str(error):
                    self._told = str(error)
                    _log.warning(
                        "%s cannot listen on %s port %s: %s", service.name, service.address, service.port, error
                    )
                return
            await self._front.listen(sock)
        elif self._listens and not listens:
            self._front.refuse()
        self._listens = listens

    async def close(self) -> None:
        await self._front.close()

    def _takers(self) -> list[Member]:
        return [
            member for member in self.service.members if member.takes and member.sources and self._up(member.name)
        ]

    def _choose(self, client: Address) -> Member | None:
        service = self.service
        chosen = self._chooser.choose(
            service.method, self._takers(), client, persistence=service.persistence, now=self._now()
        )
        if chosen is not None:
            self._chooser.active[chosen.name] += 1
        return chosen

    def _ended(self, name: Name) -> None:
        self._chooser.active[name] -= 1


class Serving:
    """All virtual servers of one device; ``up`` says who answers its monitors, ``now`` the time in seconds."""

    def __init__(self, namespace: str, up: Up, now: Callable[[], float]) -> None:
        """Serve nothing yet."""
        self._namespace = namespace
        self._up = up
        self._now = now
        self._served: dict[str, _Served] = {}

    async def become(self, wanted: Mapping[str, Service]) -> None:
        """Serve what is wanted and nothing else; connections to members that stay go on."""
        for name, served in list(self._served.items()):
            service = wanted.get(name)
            if service is None or (service.address, service.port, service.datagram, service.idle) != served.place:
                del self._served[name]
                await served.close()
        for name, service in wanted.items():
            served = self._served.get(name) or _Served(self._namespace, service, self._up, self._now)
            self._served[name] = served
            await served.become(service)

    async def close(self) -> None:
        """Serve nothing any more."""
        await self.become({})

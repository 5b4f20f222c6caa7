"""Which of the nodes behind our routes answer, judged from echo replies alone: pure, no socket and no clock.

A *hop* is the next hop of a route of ours, which is a node: all pods under its routes are behind it. One that has answered
and then misses several requests in a row is *silent*; one that never answered is not judged, because a firewall that drops
echo is no sign of death. The one confusing thing: when every hop falls silent, none counts as silent. Then it is the gateway
that was cut off, and taking all pods away would make a bad minute worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from isthmus.model.resources import IPAddress, Route

__all__ = ["NOBODY", "Hop", "Hops", "ProbeTiming", "Silence"]

Hop: TypeAlias = tuple[IPAddress, str]
"""A next hop: its address, and the link behind which it is."""

_Networks: TypeAlias = Mapping[tuple[int, int], Mapping[int, Hop]]


class ProbeTiming(NamedTuple):
    """How hops are asked (seconds), and how many misses or answers in a row turn the verdict."""

    interval: float = 0.1
    timeout: float = 0.1
    failures: int = 2
    rises: int = 2


class Silence:
    """A verdict on all hops at one moment: call it with a pod's address. It never changes, so any thread may ask."""

    def __init__(self, networks: _Networks, hops: frozenset[Hop]) -> None:
        self.hops = hops
        self._networks = sorted(networks.items(), key=lambda item: -item[0][1])

    def __call__(self, address: IPAddress) -> bool:
        """Say whether the most specific route of ours to ``address`` leads to a silent hop."""
        return bool(self.hops) and self.hop_of(address) in self.hops

    def hop_of(self, address: IPAddress) -> Hop | None:
        """Return the hop that the most specific route of ours to ``address`` leads to."""
        version, number = address.version, int(address)
        for (of, length), found in self._networks:
            if of == version and (hop := found.get(number >> address.max_prefixlen - length)) is not None:
                return hop
        return None

    @staticmethod
    def of(pods: Iterable[IPAddress]) -> Silence:
        """Return the verdict that just these pods are behind silent hops."""
        networks: dict[tuple[int, int], dict[int, Hop]] = {}
        for pod in pods:
            networks.setdefault((pod.version, pod.max_prefixlen), {})[int(pod)] = (pod, "")
        return Silence(networks, frozenset(hop for found in networks.values() for hop in found.values()))


NOBODY = Silence({}, frozenset())


class _Heard:
    """What is known of one hop."""

    __slots__ = ("answered", "asked", "ever", "hits", "misses", "silent")

    def __init__(self) -> None:
        self.asked = self.answered = self.ever = self.silent = False
        self.hits = self.misses = 0


class Hops:
    """The hops of the routes that stand, and what each has said lately."""

    def __init__(self, timing: ProbeTiming) -> None:
        self._timing = timing
        self._heard: dict[Hop, _Heard] = {}
        self._networks: dict[tuple[int, int], dict[int, Hop]] = {}

    def __iter__(self) -> Iterator[Hop]:
        return iter(list(self._heard))

    def __len__(self) -> int:
        return len(self._heard)

    def follow(self, routes: Iterable[Route]) -> None:
        """Take the routes as they stand; what is known of hops that stay is kept."""
        self._networks = {}
        before, self._heard = self._heard, {}
        for route in routes:
            hop = (route.via, route.link)
            self._heard[hop] = before.get(hop) or self._heard.get(hop) or _Heard()
            prefix = route.prefix
            found = self._networks.setdefault((prefix.version, prefix.prefixlen), {})
            found[int(prefix.network_address) >> prefix.max_prefixlen - prefix.prefixlen] = hop

    def recall(self, pods: Iterable[IPAddress]) -> None:
        """Take that ``pods`` were behind silent hops before we began: whoever judged so had heard them once."""
        behind = Silence(self._networks, frozenset(self._heard))
        for pod in pods:
            hop = behind.hop_of(pod)
            if hop is not None:
                heard = self._heard[hop]
                heard.ever = heard.silent = True

    def asked(self, hop: Hop) -> None:
        """Note that a request has left for ``hop``."""
        self._heard[hop].asked = True

    def answered(self, hop: Hop) -> None:
        """Note that ``hop`` has answered; one that is not followed any more does not matter."""
        if hop in self._heard:
            self._heard[hop].answered = True

    def judge(self) -> Silence:
        """End a round: count who was asked and answered or did not, and return the verdict."""
        for heard in self._heard.values():
            if heard.answered:
                heard.ever, heard.misses, heard.hits = True, 0, heard.hits + 1
                if heard.hits >= self._timing.rises:
                    heard.silent = False
            elif heard.asked:
                heard.hits, heard.misses = 0, heard.misses + 1
                if heard.ever and heard.misses >= self._timing.failures:
                    heard.silent = True
            heard.asked = heard.answered = False
        silent = frozenset(hop for hop, heard in self._heard.items() if heard.silent)
        return Silence(self._networks, silent if len(silent) < len(self._heard) else frozenset())

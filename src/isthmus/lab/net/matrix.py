"""Who reaches whom: every source against every pod, a VIP's spread over its pods, and whether big packets pass.

The results are values with the reasons in them; how they are shown is somebody else's choice (`Matrix.rows` gives cells
of text). The confusing thing is what counts as a *black hole*: a node that nothing outside reaches and from which nothing
comes back, while other pairs work. Each VIP loses exactly that node's share of its requests and nothing logs an error,
so this probe is the only way to name it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isthmus.lab.net.build import Network
from isthmus.lab.net.clients import Answer, Ping, Why, ask_udp, fetch, ping
from isthmus.lab.net.pods import HTTP_PORT
from isthmus.lab.net.topology import Address, Family, PodPlan

_AT_ONCE = 64
BIG_BODY = 32 * 1024


@dataclass(frozen=True, slots=True)
class Cell:
    """One pair: from the namespace ``source`` (which sits on the node ``place``, or is a place itself) to a pod."""

    source: str
    place: str
    pod: str
    node: str
    family: Family
    ok: bool
    ms: float
    why: Why
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Matrix:
    """All pairs that were tried."""

    cells: tuple[Cell, ...]

    @property
    def ok(self) -> bool:
        """Return whether every pair works (an empty matrix does not)."""
        return bool(self.cells) and not self.failed

    @property
    def failed(self) -> tuple[Cell, ...]:
        """Return the pairs that do not work."""
        return tuple(cell for cell in self.cells if not cell.ok)

    def black_holes(self) -> tuple[str, ...]:
        """Return the nodes that nothing crosses, in either direction, while some pair without them works."""
        crossing = [cell for cell in self.cells if cell.place != cell.node]
        found = []
        for node in sorted({cell.node for cell in crossing}):
            its = [cell for cell in crossing if node in {cell.place, cell.node}]
            others = [cell for cell in crossing if node not in {cell.place, cell.node}]
            if not any(cell.ok for cell in its) and any(cell.ok for cell in others):
                found.append(node)
        return tuple(found)

    def rows(self) -> list[list[str]]:
        """Return the matrix as text: a header row of pods, then a row per source."""
        targets = sorted({(cell.pod, cell.family) for cell in self.cells})
        known = {(cell.source, cell.pod, cell.family): cell for cell in self.cells}
        rows = [["from", *(f"{pod} {family}" for pod, family in targets)]]
        for source in sorted({cell.source for cell in self.cells}):
            line = [source]
            for pod, family in targets:
                cell = known.get((source, pod, family))
                line.append("" if cell is None else f"{cell.ms:.1f} ms" if cell.ok else str(cell.why))
            rows.append(line)
        return rows


@dataclass(frozen=True, slots=True)
class Spread:
    """Where requests to one VIP ended: answers by pod, failures by kind, the source addresses that the pods saw."""

    requests: int
    pods: Mapping[str, int]
    failures: Mapping[Why, int]
    sources: frozenset[str]

    @property
    def ok(self) -> bool:
        """Return whether every request was answered."""
        return self.requests > 0 and not self.failures

    def rows(self) -> list[list[str]]:
        """Return the counts as text, pods first."""
        lines = [[pod, str(count)] for pod, count in sorted(self.pods.items())]
        return lines + [[str(why), str(count)] for why, count in sorted(self.failures.items())]


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """Whether big things pass: a 32 KiB body, a packet of exactly the MTU, and not one byte more."""

    body: Answer
    fits: Ping
    exceeds: Ping

    @property
    def ok(self) -> bool:
        """Return whether the MTU is what it was said to be."""
        return self.body.ok and self.body.size > BIG_BODY and self.fits.ok and not self.exceeds.ok


async def reach(
    network: Network,
    *,
    sources: Sequence[str] | None = None,
    pods: Iterable[PodPlan] | None = None,
    families: Sequence[Family] | None = None,
    timeout: float = 1.5,
) -> Matrix:
    """Try every source against every pod; by default from the gateways and all pods, to all pods, in both families."""
    places = {pod.name: pod.node for pod in network.pods}
    chosen = list(sources) if sources is not None else [*(one.name for one in network.gateways), *places]
    targets = list(pods) if pods is not None else network.pods
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(source: str, pod: PodPlan, family: Family) -> Cell:
        async with gate:
            answer = await fetch(source, pod.address(family), HTTP_PORT, timeout=timeout)
        right = answer.ok and answer.pod == pod.name
        detail = answer.detail if not answer.ok else "" if right else f"{answer.pod} answered"
        why = answer.why if not answer.ok or right else Why.GARBLED
        place = places.get(source, source)
        return Cell(source, place, pod.name, pod.node, family, right, answer.total_ms, why, detail)

    wanted = families or network.topology.families
    work = [one(source, pod, family) for source in chosen for pod in targets for family in wanted]
    return Matrix(tuple(await asyncio.gather(*work)))


async def spread(
    namespace: str,
    vip: Address,
    port: int,
    *,
    requests: int = 60,
    at_once: int = 1,
    udp: bool = False,
    timeout: float = 2.0,
) -> Spread:
    """Send ``requests`` to a VIP over new connections and count who answers; in order unless ``at_once`` is above 1."""
    gate = asyncio.Semaphore(at_once)

    async def one() -> Answer:
        async with gate:
            if udp:
                return await ask_udp(namespace, vip, port, timeout=timeout)
            return await fetch(namespace, vip, port, timeout=timeout)

    answers = await asyncio.gather(*(one() for _ in range(requests)))
    return Spread(
        requests,
        dict(Counter(answer.pod for answer in answers if answer.ok)),
        dict(Counter(answer.why for answer in answers if not answer.ok)),
        frozenset(answer.source for answer in answers if answer.ok),
    )


async def sizes(
    namespace: str, address: Address, mtu: int, *, port: int = HTTP_PORT, timeout: float = 3.0
) -> SizeCheck:
    """Check that ``mtu`` bytes reach ``address`` unfragmented and one byte more does not, and that 32 KiB arrive."""
    body = await fetch(namespace, address, port, f"/bytes/{BIG_BODY}", timeout=timeout)
    fits = await ping(namespace, address, size=mtu)
    return SizeCheck(body, fits, await ping(namespace, address, size=mtu + 1))

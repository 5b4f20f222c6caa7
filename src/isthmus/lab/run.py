"""Builds a lab, has Isthmus join it, and finds out who reaches whom: the reachability matrix and what VIPs do."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from isthmus.errors import LabError
from isthmus.lab.joined import LINK, JoinedLab
from isthmus.lab.net.matrix import Matrix, Spread, reach, spread
from isthmus.lab.net.nodes import Workload
from isthmus.lab.net.topology import CLIENT_FAR, CLIENT_NEAR, Cni, Device, Family, Topology


@dataclass(frozen=True, slots=True)
class Result:
    """What was found: the gateway to every pod, every client through every VIP, and the path that was taken."""

    path: str
    why: str
    matrix: Matrix
    spreads: dict[tuple[str, str], Spread]
    pods: int
    trouble: str = ""
    made: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether every pair was reached and every pod served both clients of every VIP."""
        every = all(found.ok and len(found.pods) == self.pods for found in self.spreads.values())
        return not self.trouble and self.matrix.ok and bool(self.spreads) and every

    @property
    def matrix_rows(self) -> list[list[str]]:
        """Return the matrix as a table, a row per pod."""
        return [list(row) for row in zip(*self.matrix.rows(), strict=True)]

    @property
    def lines(self) -> list[str]:
        """Return the rest as sentences."""
        found = [*self.made, f"path {self.path}: {self.why}"]
        for (client, vip), one in sorted(self.spreads.items()):
            counts = ", ".join(f"{pod} {count}" for pod, count in sorted(one.pods.items()))
            failed = "".join(f", {why} {count}" for why, count in sorted(one.failures.items()))
            found.append(f"{client} -> {vip}: {counts or 'no answer'}{failed}")
        if self.trouble:
            found.append(f"trouble: {self.trouble}")
        good = len(self.matrix.cells) - len(self.matrix.failed)
        found.append(f"{good} of {len(self.matrix.cells)} pairs reached")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "ok": self.ok,
            "path": self.path,
            "why": self.why,
            "trouble": self.trouble,
            "made": list(self.made),
            "pairs": [
                {
                    "from": c.source,
                    "pod": c.pod,
                    "node": c.node,
                    "family": c.family,
                    "ok": c.ok,
                    "ms": c.ms,
                    "why": c.why,
                }
                for c in self.matrix.cells
            ],
            "vips": [
                {"client": client, "vip": vip, "pods": dict(one.pods), "failures": dict(one.failures)}
                for (client, vip), one in sorted(self.spreads.items())
            ],
        }


async def run(nodes: int, path: str, families: tuple[Family, ...], device: Device = "linux") -> Result:
    """Build, join, wait until everything is reached (or time is up), and measure."""
    cni: Cni = "none" if path in ("direct", "auto") else "flannel"
    topology = Topology(nodes=nodes, families=families, cni=cni, device=device)
    async with JoinedLab(topology, path) as joined:
        await joined.join()
        pods = joined.lab.network.pods
        await joined.lab.publish(
            Workload(name="web", pods=dict.fromkeys((p.name for p in pods), "ready"), families=families)
        )
        trouble = ""
        try:
            vips = await joined.vip_of("web", timeout=20 + nodes)
        except LabError as error:
            vips, trouble = [], f"the Service got no address: {error}"
        matrix = await _settled(joined, timeout=20 + nodes)
        spreads = {}
        for vip in vips:
            for client in (CLIENT_NEAR, CLIENT_FAR):
                spreads[client, vip] = await spread(client, ip_address(vip), 80, requests=10 * len(pods), at_once=1)
        # Packets may go before the status says which way: it is written when the controller has time for it.
        with contextlib.suppress(LabError):
            await joined.until_status(
                lambda found: bool(found.get("ClusterLink", {}).get(LINK, {}).get("path")), timeout=5
            )
        status = await joined.status()
        link = status.get("ClusterLink", {}).get(LINK, {})
        return Result(str(link.get("path")), str(link.get("why")), matrix, spreads, len(pods), trouble, joined.made())


async def _settled(joined: JoinedLab, timeout: float) -> Matrix:
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        found = await reach(joined.lab.network, sources=[joined.gateway])
        if found.ok or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.2)

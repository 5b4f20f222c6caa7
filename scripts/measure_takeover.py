"""Measure how long it takes until another controller leads: ``python scripts/measure_takeover.py``.

Real processes over the API of the lab: a leader and a warm standby. Each round kills the leader, creates a Service at the
same moment, and waits for two things: another name in the Lease, and the Service's address, which only a leader gives. Then
the next standby is started. With ``--stop`` the leader is asked to end (SIGTERM) instead.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.lab.kube import KubeApi
from isthmus.model.schema import crds

_LEASES = "leases.coordination.k8s.io"
_OURS = "isthmus.dev/v1alpha1"


def _put(api: KubeApi, kind: str, name: str, spec: dict[str, Any]) -> None:
    api.put({"apiVersion": _OURS, "kind": kind, "metadata": {"name": name}, "spec": spec})


def _configure(api: KubeApi, kubeconfig: Path) -> None:
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "isthmus-system"}})
    for definition in crds():
        api.put(definition)
    _put(api, "KubeCluster", "prod", {"kubeconfig": {"path": str(kubeconfig)}})
    _put(api, "EdgeDevice", "gw1", {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]})
    _put(api, "ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})
    _put(api, "AddressPool", "pool", {"ranges": ["198.51.100.0/24"]})


def _service(api: KubeApi, name: str) -> None:
    spec = {"type": "LoadBalancer", "loadBalancerClass": "isthmus.dev/load-balancer", "ports": [{"port": 80}]}
    api.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})


def _holder(api: KubeApi) -> str:
    return next((str(one["spec"].get("holderIdentity") or "") for one in api.list(_LEASES)), "")


def _addressed(api: KubeApi, name: str) -> bool:
    return any((one["spec"].get("holder") or {}).get("service") == name for one in api.list("VirtualIP"))


async def _until(true: Callable[[], bool]) -> float:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - a server in this very process is asked
            await asyncio.sleep(0.002)
    return time.monotonic()


async def _start(kubeconfig: Path, profile: str, log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as out:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "isthmus", "controller", "--home", str(kubeconfig), "--lease-profile", profile,
            stdout=out, stderr=out,
        )  # fmt: skip


async def _standing_by(log: Path) -> None:
    await _until(lambda: "stands by" in log.read_text() and log.read_text().count("endpointslices") >= 1)
    await asyncio.sleep(1.0)


async def measure(rounds: int, profile: str, number: signal.Signals) -> list[tuple[float, float]]:
    """Return per round how many seconds it took until the Lease was another's, and until an address was given."""
    found = []
    with tempfile.TemporaryDirectory() as directory:
        api = KubeApi(tls=False)
        async with api.serving() as endpoint:
            kubeconfig = Path(endpoint.kubeconfig_path)
            _configure(api, kubeconfig)
            leader = await _start(kubeconfig, profile, Path(directory) / "0")
            other = leader
            try:
                await _until(lambda: bool(_holder(api)))
                for turn in range(rounds):
                    log = Path(directory) / str(turn + 1)
                    other = await _start(kubeconfig, profile, log)
                    await _standing_by(log)
                    before = _holder(api)
                    began = time.monotonic()
                    leader.send_signal(number)
                    _service(api, f"s{turn}")
                    taken = await _until(lambda old=before: _holder(api) not in ("", old))  # type: ignore[misc]
                    given = await _until(lambda name=f"s{turn}": _addressed(api, name))  # type: ignore[misc]
                    found.append((taken - began, given - began))
                    await leader.wait()
                    leader = other
            finally:
                for process in {leader, other}:
                    if process.returncode is None:
                        process.kill()
                        await process.wait()
    return found


def main() -> None:
    """Measure, and print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", default="fast")
    parser.add_argument("--stop", action="store_true", help="stop the leader cleanly instead of killing it")
    options = parser.parse_args()
    number = signal.SIGTERM if options.stop else signal.SIGKILL
    found = asyncio.run(measure(options.rounds, options.profile, number))
    for title, values in zip(("lease taken", "address given"), zip(*found, strict=True), strict=True):
        ordered = sorted(values)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        print(
            f"{title}: median {statistics.median(ordered):.2f} s, p99 {p99:.2f} s, most {ordered[-1]:.2f} s, n={len(ordered)}"
        )


if __name__ == "__main__":
    main()

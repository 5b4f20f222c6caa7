"""A controller as a user runs it, against the lab's API with a cluster of any size in it.

The controller is a process of its own on a gateway of the lab; it hears of nodes and Services over TLS, writes nftables and
routes, keeps claims in SQLite. The one confusing thing: most nodes exist in the API alone. Nobody sends them packets, and to
the controller they are nodes like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bench.measure import progress
from bench.world import document
from isthmus.lab.joined import GATEWAY, LINK, JoinedLab
from isthmus.lab.kube import KubeApi
from isthmus.lab.net.topology import Topology
from isthmus.model.kinds import VirtualIP, parse, vip_name
from isthmus.registry import tables
from isthmus.registry.database import DATABASE

_PATIENCE = 100.0
_VIPS = "198.19.0.1-198.19.255.254"
_PLACE = f"isthmus.dev/overlay.{LINK}"


@asynccontextmanager
async def known_cluster(
    nodes: int,
    services: int,
    endpoints: int,
    *,
    real: int = 0,
    options: dict[str, Any] | None = None,
    **topology: Any,
) -> AsyncIterator[JoinedLab]:
    """Yield a lab whose cluster is as a controller left it: nodes have their places, Services their addresses.

    ``real`` nodes come on top, with namespaces and without a place. The controller is not running.
    """
    plan = Topology(nodes=real, families=("ipv4",), cni="none", **topology)
    async with JoinedLab(plan, "overlay", pools=False, options=options) as joined:
        api = joined.lab.api
        device = joined.documents()["device.yaml"]
        device["spec"]["deletes"] = {"floor": 1_000_000}  # what leaves here leaves on purpose
        joined.write("device.yaml", device)
        joined.write("pools.yaml", document("AddressPool", "vips", {"ranges": [_VIPS]}))
        api.put(node(0))
        await joined.start_controller()
        await until(lambda: _place(api.get("nodes", "paper0")) is not None, "a node's place on the overlay")
        await joined.stop_controller()
        template = json.loads(_place(api.get("nodes", "paper0")) or "")
        for number in range(1, nodes):
            progress(f"node {number}/{nodes}")
            api.put(node(number, template))
        # Past the state directory's own door, which makes each claim safe against a power cut: that is not measured here.
        with closing(sqlite3.connect(joined.state / DATABASE, isolation_level=None)) as claims:
            claims.execute("PRAGMA synchronous=OFF")
            for number in range(services):
                progress(f"Service {number}/{services}")
                put_service(api, number, endpoints, nodes, vip(number))
                tables.insert_claim(claims, claim(number), time.time())
        yield joined
        if os.environ.get("BENCH_PROFILE_TO") and joined.controller is not None:
            await joined.controller.stop(grace=20)  # its profile is written at the end


async def start_controller(joined: JoinedLab, watch: str = "time") -> None:
    """Start the controller; under the profiler ``watch`` (``time`` or ``memory``) where a profile is asked for."""
    path = os.environ.get("BENCH_PROFILE_TO")
    if not path:
        await joined.start_controller()
        return
    places = ("--config", str(joined.config), "--state", str(joined.state))
    argv = (sys.executable, "-m", "bench.watched", watch, path, "controller", *places)
    joined.controller = await joined.lab.start_process(GATEWAY, argv, name="controller")


def vip(number: int) -> IPv4Address:
    """Return the address of Service ``number``."""
    return IPv4Address(int(IPv4Address("198.19.0.1")) + number)


def claim(number: int) -> VirtualIP:
    """Return the claim of Service ``number`` to its address."""
    spec = {
        "address": str(vip(number)),
        "pool": "vips",
        "holder": {"cluster": "lab", "namespace": "default", "service": f"s{number}"},
    }
    found = parse(document("VirtualIP", vip_name(vip(number)), spec)).object
    assert isinstance(found, VirtualIP), "a claim parses"
    return found


def _place(found: dict[str, Any]) -> str | None:
    text: str | None = (found["metadata"].get("annotations") or {}).get(_PLACE)
    return text


def node(number: int, place: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a Node that is in the API alone; ``place`` is another node's on the overlay, for one of its own."""
    annotations = {}
    if place is not None:
        own = {
            "addresses": [f"172.31.{64 + (number >> 8)}.{number & 255}/16"],
            "mac": f"02:aa:00:00:{number >> 8:02x}:{number & 255:02x}",
        }
        annotations[_PLACE] = json.dumps({**place, **own}, separators=(",", ":"))
    name, cidr = f"paper{number}", f"10.{100 + (number >> 8)}.{number & 255}.0/24"
    address = IPv4Address(int(IPv4Address("100.65.0.1")) + number)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": name},
            "annotations": annotations,
        },
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": str(address)}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    }


def put_service(api: KubeApi, number: int, endpoints: int, nodes: int, address: IPv4Address | None = None) -> None:
    """Add a Service of type LoadBalancer and its endpoints, which come first: so it has all it needs when it is there.

    With ``address`` it is one that has been served before.
    """
    name = f"s{number}"
    found = []
    for step in range(endpoints):
        on = (number * 7 + step) % nodes
        pod = f"10.{100 + (on >> 8)}.{on & 255}.{10 + number % 240}"
        found.append({"addresses": [pod], "conditions": {"ready": True}, "nodeName": f"paper{on}"})
    api.put(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": found,
        }
    )
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }
    if address is not None:
        condition = {"type": "isthmus.dev/Served", "status": "True", "reason": "Served", "message": str(address)}
        service["status"] = {
            "loadBalancer": {"ingress": [{"ip": str(address)}]},
            "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }
    api.put(service)


async def until(true: Callable[[], bool], what: str, *, pause: float = 0.1) -> float:
    """Wait until something is true and return how long that took."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError(f"not within {_PATIENCE:.0f} s: {what}")
        await asyncio.sleep(pause)
    return time.monotonic() - began


async def until_live(joined: JoinedLab, services: int) -> float:
    """Wait until the gateway answers for all VIPs, which it does last; return the seconds."""
    began = time.monotonic()
    while time.monotonic() - began < _PATIENCE:
        text = await joined.ip("-4", "-o", "address", "show", "dev", "lo")
        count = text.count(" 198.19.")
        progress(f"{count} of {services} VIPs")
        if count >= services:
            return time.monotonic() - began
        await asyncio.sleep(0.2)
    raise RuntimeError(f"not all VIPs are live within {_PATIENCE:.0f} s")


async def until_quiet(joined: JoinedLab, seconds: float = 2.0) -> None:
    """Wait until the controller has written nothing to the API for a while, and its status says that all is in sync."""
    writes, since = joined.lab.api.faults.writes, time.monotonic()

    def quiet() -> bool:
        nonlocal writes, since
        now = joined.lab.api.faults.writes
        if now != writes:
            writes, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    await until(quiet, "a quiet controller")


def memory_of(joined: JoinedLab) -> tuple[float, float]:
    """Return the controller's resident memory now and at its highest, in MB (10^6 bytes)."""
    assert joined.controller is not None, "it runs"
    text = Path(f"/proc/{joined.controller.pid}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE))
    return int(found["VmRSS"]) * 1024 / 1e6, int(found["VmHWM"]) * 1024 / 1e6

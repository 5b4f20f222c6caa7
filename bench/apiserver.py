"""A Kubernetes API that only plays back: bytes made beforehand, so that it is never what a bench waits for.

It runs in a process of its own and serves two paths to any client: the collection as a list (in pages, as it is asked
for), and as a watch that sends every event at once and then stays silent. The one confusing thing: ``GO`` on its standard
input is not needed; a watch begins when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

_KUBE_SYSTEM = {"metadata": {"name": "kube-system", "uid": "u-1", "resourceVersion": "1"}}
_PAD = "x" * 350


def node_object(number: int, version: int, *, label: str = "a", heartbeat: int = 0) -> dict[str, Any]:
    """Return a Node as a kubelet writes it: mostly things that nobody here reads."""
    beat = f"2026-01-01T00:{heartbeat // 60 % 60:02}:{heartbeat % 60:02}Z"
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": f"Kubelet{kind}",
            "message": f"kubelet has {kind}",
            "lastHeartbeatTime": beat,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for kind, status in (("MemoryPressure", "False"), ("DiskPressure", "False"), ("Ready", "True"))
    ]
    address = f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": f"node{number}",
            "uid": f"uid-{number}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": f"node{number}", "zone": label},
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", "volumes": _PAD},
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {"f": _PAD}}}],
        },
        "spec": {
            "podCIDR": f"10.{number >> 8 & 255}.{number & 255}.0/24",
            "podCIDRs": [f"10.{number >> 8 & 255}.{number & 255}.0/24"],
            "providerID": f"cloud://{number}",
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": f"node{number}"},
            ],
            "conditions": conditions,
            "images": [{"names": [f"registry.example/image-{n}:1"], "sizeBytes": 1000000 + n} for n in range(30)],
            "nodeInfo": {"kubeletVersion": "v1.32.3", "osImage": "Debian GNU/Linux 12", "architecture": "amd64"},
        },
    }


def event(kind: str, thing: dict[str, Any]) -> bytes:
    """Return one line of a watch."""
    return json.dumps({"type": kind, "object": thing}, separators=(",", ":")).encode() + b"\n"


class Playback:
    """The answers, made before anybody asks."""

    def __init__(self, nodes: int, events: int) -> None:
        items = [json.dumps(node_object(n, 1000), separators=(",", ":")).encode() for n in range(nodes)]
        self.pages = [items[start : start + 500] for start in range(0, nodes, 500)]
        lines = [event("MODIFIED", node_object(n % nodes, 1001 + n, label=f"l{n // nodes}")) for n in range(events)]
        self.events = [b"".join(lines[start : start + 50]) for start in range(0, events, 50)]

    async def nodes(self, request: web.Request) -> web.StreamResponse:
        """Serve the collection of Nodes."""
        if "watch" in request.query:
            if "sendInitialEvents" in request.query:
                body = {"kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422}
                return web.json_response(body, status=422)
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            for part in self.events:
                await response.write(part)
            await asyncio.sleep(3600)
            return response
        page = int(request.query.get("continue", "0"))
        meta = {"resourceVersion": "1000"}
        if page + 1 < len(self.pages):
            meta["continue"] = str(page + 1)
        head = f'{{"kind":"NodeList","apiVersion":"v1","metadata":{json.dumps(meta)},"items":['
        return web.Response(body=head.encode() + b",".join(self.pages[page]) + b"]}", content_type="application/json")

    async def kube_system(self, request: web.Request) -> web.Response:
        """Serve the one Namespace whose uid is the cluster's identity."""
        return web.json_response(_KUBE_SYSTEM)


async def serve(nodes: int, events: int) -> None:
    """Serve until standard input ends; the port is printed first."""
    playback = Playback(nodes, events)
    app = web.Application()
    app.router.add_get("/api/v1/nodes", playback.nodes)
    app.router.add_get("/api/v1/namespaces/kube-system", playback.kube_system)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))

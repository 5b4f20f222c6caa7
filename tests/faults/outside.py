"""The world outside the controller, and what people and clusters do in it while things fail.

A life is drawn from a seed: nodes join, leave, fall silent and come back with another MAC; Services come, go, change their
ports and come back under an old name; pods move; somebody edits a pool, removes one of our routes or plants one of his own;
the API forgets its past. Then nothing happens any more, and everything has to come right.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, TypeAlias

from faults.api import Api, Json
from faults.disk import Files, fresh
from faults.gateway import Gateway
from faults.netscaler import NetScaler
from faults.truth import CLUSTER, DEVICE, LINK, History
from faults.virtual import CLOCK
from isthmus.model.facts import DeviceFacts, Interface

if TYPE_CHECKING:
    from faults.judge import Judge

Edge: TypeAlias = Gateway | NetScaler
"""The device at the edge, whichever kind a plan plays with."""
CLASS = "isthmus.dev/load-balancer"
DEVICES = ("memory", "netscaler")
PATHS = {"memory": ("direct", "flannel", "overlay", "auto"), "netscaler": ("direct", "flannel", "overlay", "policy")}
"""The paths by the kind of device; ``policy`` is the overlay with policy routes."""
BLOCKS = "blocks"
"""A path more, for whoever asks for it: direct, in a cluster whose pods are in Calico's blocks, which move."""
CALICO: Json = {
    "metadata": {"name": "calico-node", "namespace": "kube-system"},
    "spec": {
        "template": {"spec": {"initContainers": [{"name": "install-cni"}], "containers": [{"name": "calico-node"}]}}
    },
}
FACTS = DeviceFacts(
    (
        Interface("lo", mtu=65536, addresses=(ip_interface("127.0.0.1/8"),)),
        Interface("eth0", "02:00:00:00:00:01", 1500, (ip_interface("192.0.2.1/24"),)),
    )
)
FLANNEL = "flannel.alpha.coreos.com/"
_FIRST = 3
"""How many nodes there are from the start."""


def stamp() -> str:
    """Return the cluster's own time, which is right, whatever the controller's machine thinks."""
    return datetime.fromtimestamp(CLOCK.wall() - CLOCK.skew, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Outside:
    """API, gateway, configuration and disk, and the hands that change them."""

    def __init__(
        self, path: str, source: random.Random, judge: Judge, tell: Callable[[str], None], device: str = "memory"
    ) -> None:
        self.path = path
        self.source = source
        self.tell = tell
        self.api = Api(stamp, streams=source.random() < 0.7, page=source.choice((2, 500)), calico=path == BLOCKS)
        self.files = Files()
        self.connection = fresh()
        self.edge: Edge = (
            NetScaler(judge, random.Random(f"netscaler {source.random()}"))
            if device == "netscaler"
            else Gateway(FACTS, judge.change)
        )
        self.history = History(self.api, self.files, self.connection)
        self._serial = 0
        self._configure()

    def note(self, *, memory: bool = False) -> None:
        """Remember how everything stands now."""
        self.history.note(CLOCK.monotonic(), memory=memory)

    def _configure(self) -> None:
        path = {"policy": "overlay", BLOCKS: "direct"}.get(self.path, self.path)
        spec: Json = {"cluster": CLUSTER, "devices": [DEVICE], "path": path, "nodeGracePeriod": "5s"}
        if path == "overlay":
            spec["overlay"] = {"networks": ["172.31.0.0/24"]}
        if self.path == "policy":
            spec["policyRoutes"] = {}
        self.files.write("KubeCluster", CLUSTER, {"inCluster": True})
        self.files.write("EdgeDevice", DEVICE, self.edge.spec)
        self.files.write("ClusterLink", LINK, spec)
        self.files.write("AddressPool", "pool", {"ranges": ["198.51.100.0/29"]})
        if self.path == "flannel":
            config = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
            meta = {"name": "kube-flannel-cfg", "namespace": "kube-flannel"}
            self.api.put("configmaps", {"metadata": meta, "data": {"net-conf.json": config}})

    # --- things -------------------------------------------------------------------------------------------------

    def node(self, number: int, *, ready: bool = True, mac: int = 0, block: int = 0) -> None:
        """Put a node; what we wrote into its annotations stays."""
        found = self.api.get("nodes", f"n{number}")
        notes = dict(((found or {}).get("metadata") or {}).get("annotations") or {})
        if self.path == "flannel":
            notes |= {
                f"{FLANNEL}backend-type": "vxlan",
                f"{FLANNEL}public-ip": f"192.0.2.{100 + number}",
                f"{FLANNEL}backend-data": f'{{"VNI":1,"VtepMAC":"02:f1:00:00:{mac:02x}:{number:02x}"}}',
            }
        cidr = f"10.244.{block or number}.0/24"
        if self.path == BLOCKS:
            cidr = f"10.9.{number}.0/24"  # what Kubernetes assigned, where no pod is
            if (block or number) not in self._blocks():
                self.block(block or number, number)
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp()}
        address = {"type": "InternalIP", "address": f"192.0.2.{100 + number}"}
        self.api.put(
            "nodes",
            {
                "metadata": {"name": f"n{number}", "annotations": notes},
                "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
                "status": {"addresses": [address], "conditions": [condition]},
            },
        )

    def block(self, block: int, owner: int | None, lent: int | None = None) -> None:
        """Put a block of pods' addresses: whose it is, and which node has one address of it besides."""
        spec: Json = {"cidr": f"10.244.{block}.0/26", "allocations": [None] * 64, "attributes": []}
        if owner is not None:
            spec["affinity"] = f"host:n{owner}"
        if lent is not None:
            spec["allocations"][20], spec["attributes"] = 0, [{"secondary": {"node": f"n{lent}"}}]
        self.api.put("ipamblocks", {"metadata": {"name": f"10-244-{block}-0-26"}, "spec": spec})

    def service(self, name: str, *ports: int, type: str = "LoadBalancer") -> None:
        """Put a Service; its status stays."""
        found = self.api.get("services", name, "default")
        spec = {
            "type": type,
            "loadBalancerClass": CLASS,
            "ports": [{"name": f"p{port}", "protocol": "TCP", "port": port} for port in ports or (80,)],
        }
        status = {"status": found["status"]} if found is not None and "status" in found else {}
        self.api.put("services", {"metadata": {"name": name, "namespace": "default"}, "spec": spec, **status})

    def slice(self, name: str) -> None:
        """Put a Service's pods somewhere among the nodes."""
        nodes = self.nodes() or [1]
        endpoints = [
            {
                "addresses": [f"10.244.{node}.{10 + self.source.randrange(4)}"],
                "nodeName": f"n{node}",
                "conditions": {"ready": self.source.random() < 0.8},
            }
            for node in self.source.sample(nodes, min(len(nodes), 2))
        ]
        meta = {"name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name}}
        ports = [{"name": f"p{port}", "protocol": "TCP", "port": 8000 + port} for port in (80, 443)]
        slice_ = {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}
        self.api.put("endpointslices", slice_)

    def nodes(self) -> list[int]:
        """Return the numbers of the real nodes."""
        return sorted(int(name[1:]) for _, name in self.api.objects["nodes"] if name[0] == "n" and name[1:].isdigit())

    def services(self) -> list[str]:
        """Return the names of the Services."""
        return sorted(name for _, name in self.api.objects["services"])

    def populate(self) -> None:
        """Make the world as it is before anybody looks."""
        if self.path == BLOCKS:
            self.api.put("daemonsets", CALICO)
        for number in range(1, _FIRST + 1):
            self.node(number)
        for name in ("web", "api"):
            self.service(name)
            self.slice(name)
        self.note()

    # --- a life -------------------------------------------------------------------------------------------------

    async def live(self, steps: int) -> None:
        """Let things happen, then fall quiet."""
        deeds: list[tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = [
            (3, self._join),
            (2, self._leave),
            (2, self._fall_silent),
            (2, self._return),
            (2, self._new_mac),
            (4, self._move_pods),
            (3, self._new_service),
            (2, self._end_service),
            (1, self._service_again),
            (1, self._other_ports),
            (1, self._not_ours),
            (1, self._edit_pool),
            (1, self._meddle),
            (1, self._plant),
            (1, self._compact),
            (1, self._replace_node),
        ]
        if self.path == BLOCKS:
            deeds += [(8, self._move_block), (3, self._lend), (2, self._free_block)]
        weights = [weight for weight, _ in deeds]
        for _ in range(steps):
            await asyncio.sleep(self.source.choice((0.01, 0.3, 1.0, 3.0, 8.0)))
            deed = self.source.choices(deeds, weights)[0][1]
            before = self.api.version, self.files.edits
            await deed()
            self.note()
            if before != (self.api.version, self.files.edits):
                self.tell(f"world  {deed.__name__.strip('_').replace('_', ' ')}")
        if self.path == "auto":
            await self._return()  # with no node ready, no path can be proven

    async def _join(self) -> None:
        number = next(number for number in range(1, 30) if number not in self.nodes())
        self.node(number)

    async def _leave(self) -> None:
        if len(self.nodes()) > 1:
            self.api.delete("nodes", f"n{self.source.choice(self.nodes())}")

    async def _fall_silent(self) -> None:
        self.node(self.source.choice(self.nodes()), ready=False)

    async def _return(self) -> None:
        for number in self.nodes():
            self.node(number)

    async def _new_mac(self) -> None:
        self._serial += 1
        self.node(self.source.choice(self.nodes()), mac=self._serial)

    async def _move_pods(self) -> None:
        if self.services():
            self.slice(self.source.choice(self.services()))

    async def _new_service(self) -> None:
        self._serial += 1
        self.service(f"s{self._serial}")
        self.slice(f"s{self._serial}")

    async def _end_service(self) -> None:
        if len(self.services()) > 1:
            name = self.source.choice(self.services())
            self.api.delete("services", name, "default")
            self.api.delete("endpointslices", f"{name}-1", "default")

    async def _service_again(self) -> None:
        """Delete a Service and make one of the same name at once: another object, seen as one by who looks late."""
        name = self.source.choice(self.services())
        self.api.delete("services", name, "default")
        self.service(name, 443)

    async def _other_ports(self) -> None:
        self.service(self.source.choice(self.services()), *self.source.choice(((80,), (443,), (80, 443))))

    async def _not_ours(self) -> None:
        name = self.source.choice(self.services())
        self.service(name, type="ClusterIP")
        if self.source.random() < 0.5:
            await asyncio.sleep(self.source.choice((0.01, 2.0)))
            self.note()
            self.service(name)

    async def _edit_pool(self) -> None:
        ranges = self.source.choice((["198.51.100.0/29"], ["198.51.100.0/28"], ["198.51.100.2/31", "203.0.113.0/30"]))
        self.files.write("AddressPool", "pool", {"ranges": ranges})

    async def _meddle(self) -> None:
        self.edge.meddle()

    async def _plant(self) -> None:
        self._serial += 1
        if self.edge.foreign:
            return
        number = self.source.randrange(1, 12)
        identity = f"route 10.244.{number}.0/24"
        if not self.edge.holds(identity):
            self.edge.plant(identity)

    def _blocks(self) -> list[int]:
        return sorted(int(name.split("-")[2]) for _, name in self.api.objects["ipamblocks"])

    def _known(self) -> list[int]:
        # A block of a node that we have not heard of yet is nobody's, and its route goes before it comes back.
        return [number for number in self.nodes() if number <= _FIRST] or self.nodes()

    async def _move_block(self) -> None:
        self.block(self.source.choice(self._blocks()), self.source.choice(self._known()))

    async def _lend(self) -> None:
        owner, borrower = self.source.choice(self._known()), self.source.choice(self._known())
        self.block(self.source.choice(self._blocks()), owner, borrower)

    async def _free_block(self) -> None:
        if len(self._blocks()) > 1:
            self.api.delete("ipamblocks", f"10-244-{self.source.choice(self._blocks())}-0-26")

    async def _compact(self) -> None:
        self.api.compact()

    async def _replace_node(self) -> None:
        """Remove a node and make one of its name with other pods' addresses, at once."""
        number = self.source.choice(self.nodes())
        self._serial += 1
        self.api.delete("nodes", f"n{number}")
        self.node(number, block=100 + self._serial)

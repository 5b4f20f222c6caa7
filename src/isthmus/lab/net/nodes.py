"""What kubelets and controllers write into the API for a lab's network: Nodes, Pods, Services, EndpointSlices.

It plays the kubelet (registers nodes, says whether they are ready) and the endpointslice controller (`publish` makes a
Service and keeps slices that match its pods, at most 100 endpoints each as in reality). Nothing here touches the network,
and nothing is corrected behind the caller's back: an object somebody else deletes stays deleted. The confusing thing:
a Node can carry one pod CIDR per family only, so a topology's second CIDRs are visible through Pods' addresses alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from isthmus.lab.net.kubeapi import KubeClient
from isthmus.lab.net.pods import HTTP_PORT, UDP_PORT
from isthmus.lab.net.sctp import SCTP_PORT
from isthmus.lab.net.topology import Family, NodePlan, PodPlan, Topology

_PER_SLICE = 100
State = Literal["ready", "starting", "terminating"]
Protocol = Literal["TCP", "UDP", "SCTP"]
# Where the lab's pods serve each protocol.
TARGETS: dict[Protocol, int] = {"TCP": HTTP_PORT, "UDP": UDP_PORT, "SCTP": SCTP_PORT}
_CONDITIONS: dict[State, dict[str, bool]] = {
    "ready": {"ready": True, "serving": True, "terminating": False},
    "starting": {"ready": False, "serving": False, "terminating": False},
    "terminating": {"ready": False, "serving": True, "terminating": True},
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A Service and the pods behind it; ``pods`` says in which state each one is, ``extra`` overrides fields of the spec."""

    name: str
    pods: Mapping[str, State]
    namespace: str = "default"
    kind: str = "LoadBalancer"
    ports: tuple[tuple[int, Protocol], ...] = ((80, "TCP"),)
    families: tuple[Family, ...] = ("ipv4",)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


class Cluster:
    """The cluster's side of a lab, as its API shows it."""

    def __init__(self, client: KubeClient, topology: Topology) -> None:
        self._client = client
        self._topology = topology
        self._slices: dict[tuple[str, str], set[str]] = {}

    async def register(self, plan: NodePlan, *, pod_cidrs: bool = True) -> None:
        """Create the Node of ``plan``, ready; without ``pod_cidrs`` somebody else has to assign them."""
        spec: dict[str, Any] = {}
        if pod_cidrs:
            cidrs = [str(plan.pod_cidr(family)) for family in self._topology.families]
            spec = {"podCIDR": cidrs[0], "podCIDRs": cidrs}
        labels = {
            "kubernetes.io/hostname": plan.name,
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": f"zone{plan.index % 3}",
        }
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": plan.name, "labels": labels}, "spec": spec}
        await self._client.ensure("/api/v1/nodes", node)
        addresses = [{"type": "InternalIP", "address": str(one.ip)} for one in plan.leg.addresses]
        addresses.append({"type": "Hostname", "address": plan.name})
        status = {
            "addresses": addresses,
            "conditions": [_condition(ready=True)],
            "nodeInfo": {"kubeletVersion": "v1.32.0", "operatingSystem": "linux", "architecture": "amd64"},
        }
        await self._client.patch(f"/api/v1/nodes/{plan.name}/status", {"status": status})

    async def set_ready(self, name: str, ready: bool) -> None:
        """Say whether a node is ready, as its kubelet (or, on its silence, the node controller) would."""
        change = {"status": {"conditions": [_condition(ready=ready)]}}
        await self._client.patch(f"/api/v1/nodes/{name}/status", change)

    async def annotate(self, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a Node; None removes one."""
        await self._client.patch(f"/api/v1/nodes/{name}", {"metadata": {"annotations": dict(annotations)}})

    async def delete(self, name: str) -> None:
        """Delete a Node."""
        await self._client.delete(f"/api/v1/nodes/{name}")

    async def publish(self, workload: Workload, pods: Iterable[PodPlan]) -> None:
        """Create or update the Service of ``workload``, its Pods and its EndpointSlices; ``pods`` are looked up by name."""
        known = {pod.name: pod for pod in pods}
        key = (workload.namespace, workload.name)
        await self._client.ensure(f"/api/v1/namespaces/{workload.namespace}/services", self._service(workload))
        chosen = [(known[name], state) for name, state in workload.pods.items()]
        for pod, _ in chosen:
            await self._pod(workload, pod)
        wanted = {item["metadata"]["name"]: item for item in self._endpoint_slices(workload, chosen)}
        collection = f"/apis/discovery.k8s.io/v1/namespaces/{workload.namespace}/endpointslices"
        for item in wanted.values():
            await self._client.ensure(collection, item)
        for name in self._slices.get(key, set()) - set(wanted):
            await self._client.delete(f"{collection}/{name}")
        self._slices[key] = set(wanted)

    async def set_state(self, workload: Workload, states: Mapping[str, State], pods: Iterable[PodPlan]) -> Workload:
        """Publish ``workload`` again with some pods in another state; return it as it is now."""
        changed = replace(workload, pods={**workload.pods, **states})
        await self.publish(changed, pods)
        return changed

    async def retract(self, workload: Workload) -> None:
        """Delete the Service of ``workload`` and its slices; Pods stay."""
        await self._client.delete(f"/api/v1/namespaces/{workload.namespace}/services/{workload.name}")
        collection = f"/apis/discovery.k8s.io/v1/namespaces/{workload.namespace}/endpointslices"
        for name in self._slices.pop((workload.namespace, workload.name), set()):
            await self._client.delete(f"{collection}/{name}")

    async def _pod(self, workload: Workload, pod: PodPlan) -> None:
        collection = f"/api/v1/namespaces/{workload.namespace}/pods"
        container = {"name": "web", "image": "registry.example/web:1", "ports": [{"containerPort": HTTP_PORT}]}
        await self._client.ensure(
            collection,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod.name, "labels": {"app": workload.name}},
                "spec": {"nodeName": pod.node, "containers": [container]},
            },
        )
        addresses = [{"ip": str(address.ip)} for address in pod.addresses]
        status = {
            "phase": "Running",
            "podIP": addresses[0]["ip"],
            "podIPs": addresses,
            "conditions": [_condition(ready=True)],
        }
        await self._client.patch(f"{collection}/{pod.name}/status", {"status": status})

    def _service(self, workload: Workload) -> dict[str, Any]:
        spec = {
            "type": workload.kind,
            "selector": {"app": workload.name},
            "ipFamilies": ["IPv4" if family == "ipv4" else "IPv6" for family in workload.families],
            "ipFamilyPolicy": "RequireDualStack" if len(workload.families) > 1 else "SingleStack",
            "ports": [
                {"name": name, "port": port, "protocol": protocol, "targetPort": TARGETS[protocol]}
                for name, port, protocol in _named(workload)
            ],
            **workload.extra,
        }
        metadata = {"name": workload.name, "annotations": dict(workload.annotations)}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    def _endpoint_slices(self, workload: Workload, pods: list[tuple[PodPlan, State]]) -> Iterable[dict[str, Any]]:
        for family in workload.families:
            endpoints = [
                {
                    "addresses": [str(pod.address(family))],
                    "conditions": _CONDITIONS[state],
                    "nodeName": pod.node,
                    "targetRef": {"kind": "Pod", "namespace": workload.namespace, "name": pod.name},
                }
                for pod, state in pods
            ]
            for number, start in enumerate(range(0, max(1, len(endpoints)), _PER_SLICE), 1):
                yield {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "name": f"{workload.name}-{family}-{number}",
                        "labels": {
                            "kubernetes.io/service-name": workload.name,
                            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                        },
                    },
                    "addressType": "IPv4" if family == "ipv4" else "IPv6",
                    "ports": [
                        {"name": name, "port": TARGETS[protocol], "protocol": protocol}
                        for name, _, protocol in _named(workload)
                    ],
                    "endpoints": endpoints[start : start + _PER_SLICE],
                }


def _named(workload: Workload) -> list[tuple[str, int, Protocol]]:
    """Return the ports with the names that join a Service's ports to its slices'."""
    return [(f"{protocol.lower()}-{port}", port, protocol) for port, protocol in workload.ports]


def _condition(*, ready: bool) -> dict[str, str]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "KubeletReady" if ready else "KubeletNotReady",
        "message": "kubelet is posting ready status" if ready else "container runtime is down",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }

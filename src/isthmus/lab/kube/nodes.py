"""Nodes: the fields that may not change, and the allocator that gives them pod CIDRs.

Texts follow k8s.io/kubernetes pkg/apis/core/validation (ValidateNode, ValidateNodeUpdate); the allocator does what
kube-controller-manager's range allocator does: a node that comes without a pod CIDR gets the next free one of each
family, a moment *after* it was created, by an update of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from isthmus.lab.kube.rules import Plain
from isthmus.lab.kube.status import Cause, bad, forbidden_field

Json = dict[str, Any]
Network = IPv4Network | IPv6Network

# What stands in every Node's status, empty or not: fields without omitempty.
_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)
_SPEC = frozenset(("configSource", "externalID", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"))


def _network(text: Any) -> Network | None:
    try:
        return ip_network(str(text), strict=False) if "/" in str(text) else None
    except ValueError:
        return None


class NodeRule(Plain):
    """Validation of nodes."""

    def unknown(self, obj: Json) -> list[str]:
        """Know the fields of ``spec``."""
        return [f"spec.{name}" for name in obj.get("spec") or {} if name not in _SPEC]

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Keep ``podCIDR`` and ``podCIDRs`` in step, as the conversion between API versions does; complete the status."""
        spec = obj.setdefault("spec", {})
        single, several = spec.get("podCIDR"), spec.get("podCIDRs")
        if single and (not several or several[0] != single):
            spec["podCIDRs"] = [single]
        elif several and not single:
            spec["podCIDR"] = several[0]
        status = obj.setdefault("status", {})
        status.setdefault("daemonEndpoints", {"kubeletEndpoint": {"Port": 0}})
        status["nodeInfo"] = {**dict.fromkeys(_NODE_INFO, ""), **(status.get("nodeInfo") or {})}

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Judge the pod CIDRs, and that they and the provider's id stay once set."""
        spec = obj["spec"]
        causes: list[Cause] = []
        cidrs = spec.get("podCIDRs") or []
        networks = [_network(cidr) for cidr in cidrs]
        for index, (cidr, network) in enumerate(zip(cidrs, networks, strict=True)):
            if network is None:
                detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
                causes.append(bad(f"spec.podCIDRs[{index}]", cidr, detail))
        families = [network.version for network in networks if network is not None]
        if len(cidrs) > 2 or len(families) != len(set(families)):
            causes.append(bad("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family"))
        if old is None:
            return causes
        before = old.get("spec") or {}
        if before.get("podCIDRs") and before["podCIDRs"] != cidrs:
            detail = 'node updates may not change podCIDR except from "" to valid'
            causes.append(forbidden_field("spec.podCIDRs", detail))
        if before.get("providerID") and before["providerID"] != spec.get("providerID"):
            detail = 'node updates may not change providerID except from "" to valid'
            causes.append(forbidden_field("spec.providerID", detail))
        return causes


class PodCIDRs:
    """The pod CIDRs in use, and the next free one of each cluster CIDR."""

    def __init__(self, cluster_cidrs: tuple[str, ...], masks: tuple[int, int]) -> None:
        self._pools = [(network, masks[network.version == 6]) for network in map(ip_network, cluster_cidrs)]
        self._used: dict[tuple[int, int], dict[Network, int]] = {}  # by family and size, then how often
        self._cursors: list[Iterator[Network] | None] = [None] * len(self._pools)

    @property
    def active(self) -> bool:
        """Return whether there is anything to give out."""
        return bool(self._pools)

    def changed(self, old: Json | None, new: Json | None) -> None:
        """Follow a change of a node."""
        for node, step in ((new, 1), (old, -1)):
            for cidr in ((node or {}).get("spec") or {}).get("podCIDRs") or []:
                network = _network(cidr)
                if network is not None:
                    used = self._used.setdefault((network.version, network.prefixlen), {})
                    used[network] = used.get(network, 0) + step
                    if used[network] <= 0:
                        del used[network]

    def clear(self) -> None:
        """Forget what is in use."""
        self._used.clear()

    def _taken(self, candidate: Network) -> bool:
        # Blocks of our own size are many and are looked up; those of another size were set by hand and are few.
        for (family, size), used in self._used.items():
            if family != candidate.version:
                continue
            if candidate in used or (size != candidate.prefixlen and any(map(candidate.overlaps, used))):
                return True
        return False

    def _next(self, index: int) -> Network | None:
        network, mask = self._pools[index]
        for _round in range(2):  # from where we are to the end, then once from the start: as the real allocator
            cursor = self._cursors[index] or network.subnets(new_prefix=mask)
            self._cursors[index] = cursor
            for candidate in cursor:
                if not self._taken(candidate):
                    return candidate
            self._cursors[index] = None
        return None

    def choose(self) -> list[str] | None:
        """Return one free CIDR per cluster CIDR, or None when one of them is exhausted."""
        chosen = [self._next(index) for index in range(len(self._pools))]
        return None if None in chosen else [str(network) for network in chosen]

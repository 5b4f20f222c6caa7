"""Contradictions between what a cluster says and what a device already is, found before they cost a packet.

A pod CIDR that holds the device's own subnet would cut the device off from its neighbors, so that node is refused and
named; the rest of the cluster goes on.
"""

from __future__ import annotations

import msgspec

from isthmus.core.ground import Desired, Ground
from isthmus.model.facts import NodeFacts


def without_own_subnets(ground: Ground, node: NodeFacts, desired: Desired) -> NodeFacts:
    """Return ``node`` without the pod CIDRs that overlap a subnet of the device itself; each is refused by name."""
    good = []
    for prefix in node.pod_cidrs:
        clash = next(
            (
                (own, interface.name)
                for own, interface in ground.subnets
                if own.version == prefix.version and own.network.overlaps(prefix)
            ),
            None,
        )
        if clash is None:
            good.append(prefix)
            continue
        own, name = clash
        desired.refuse(
            "OverlapsDeviceSubnet",
            f"node {node.name}: pod CIDR {prefix} overlaps {own.network}, {ground.device_name}'s own subnet on {name}",
            "give the device or the pods another range; a route would cut the device off from its neighbors",
        )
    if len(good) == len(node.pod_cidrs):
        return node
    return msgspec.structs.replace(node, pod_cidrs=tuple(good))

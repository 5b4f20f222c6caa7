"""A claim as decisions need it: a tenth of the size of the object that a user writes, and made from it and back.

There may be ten thousand of them in a process. The one confusing thing: ``VirtualIP`` stays what claims are at every edge
(files, the home cluster, the state directory); a value here has been one, so it needs no checking.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec

from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import Holder, VirtualIP, VirtualIPSpec
from isthmus.model.resources import IPAddress

__all__ = ["VipFacts", "object_of", "vip_facts"]

_NONE: Mapping[str, str] = {}


class VipFacts(msgspec.Struct, frozen=True, gc=False):
    """A claim of one address. ``holder`` is cluster, namespace and name of the Service, none for a reservation."""

    name: str
    address: IPAddress
    pool: str | None = None
    holder: tuple[str, str, str] | None = None
    description: str | None = None
    labels: Mapping[str, str] = _NONE
    annotations: Mapping[str, str] = _NONE

    @property
    def whose(self) -> str:
        """Return the holder as people read it, empty for a reservation."""
        return "/".join(self.holder) if self.holder is not None else ""

    def claims_as(self, other: VipFacts) -> bool:
        """Say whether both claim the same for the same, whatever else is written on them."""
        mine, theirs = ((one.address, one.pool, one.holder, one.description) for one in (self, other))
        return mine == theirs


def vip_facts(vip: VirtualIP) -> VipFacts:
    """Return what decisions need of ``vip``; names are shared with all else that says them."""
    spec, holder = vip.spec, vip.spec.holder
    return VipFacts(
        name=intern(vip.metadata.name),
        address=spec.address,
        pool=intern(spec.pool) if spec.pool is not None else None,
        holder=(intern(holder.cluster), intern(holder.namespace), intern(holder.service)) if holder else None,
        description=spec.description,
        labels=vip.metadata.labels or _NONE,
        annotations=vip.metadata.annotations or _NONE,
    )


def object_of(facts: VipFacts) -> VirtualIP:
    """Return the object that ``facts`` were made from, as far as a user wrote it."""
    said: dict[str, Any] = {"address": facts.address}
    if facts.pool is not None:
        said["pool"] = facts.pool
    if facts.holder is not None:
        cluster, namespace, service = facts.holder
        said["holder"] = Holder(cluster=cluster, namespace=namespace, service=service)
    else:
        said["reservation"] = True
    if facts.description is not None:
        said["description"] = facts.description
    metadata: dict[str, Any] = {"name": facts.name}
    if facts.labels:
        metadata["labels"] = facts.labels
    if facts.annotations:
        metadata["annotations"] = facts.annotations
    return VirtualIP(metadata=Metadata(**metadata), spec=VirtualIPSpec(**said))

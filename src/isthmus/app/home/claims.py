"""Claims as VirtualIP objects: a name can be created once, so the API server is who decides between two that want it.

Creating is claiming, deleting is giving back; both are believed only when the server has said so. The confusing thing is
what this does not do: it never looks whether an address is free. Whoever lost the race gets the claim that stands.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from isthmus.app.home.objects import REFERENCES, read
from isthmus.app.home.registry import HomeRegistry
from isthmus.errors import KubeConflict, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.loop.duties.service import Taken
from isthmus.model.kinds import VirtualIP, Wrong, vip_address
from isthmus.model.kinds.kind import Metadata
from isthmus.model.kinds.vip import VirtualIPSpec

__all__ = ["HomeClaims", "claim_of", "reserved"]

_KIND = REFERENCES["VirtualIP"]
_MOST_REMEMBERED = 20_000


def reserved(name: str) -> VirtualIP | None:
    """Return a stand-in for a claim that does not parse: its name still says which address nobody else may have."""
    try:
        address = vip_address(name)
    except Wrong:
        return None
    spec = VirtualIPSpec(address=address, reservation=True, description="does not parse in the home cluster")
    return VirtualIP(metadata=Metadata(name=name), spec=spec)


def claim_of(document: dict[str, Any]) -> VirtualIP | None:
    """Return the claim that stands in ``document``, as far as it can be read."""
    found = read("VirtualIP", (), document)
    return found.object if isinstance(found.object, VirtualIP) else reserved(found.key[1])


class HomeClaims:
    """Creates and deletes claims in the home cluster; the registry shows which there are."""

    def __init__(self, client: KubeClient, registry: HomeRegistry) -> None:
        self._client = client
        self._registry = registry
        self._unseen: dict[str, str] = {}
        self._given_back: OrderedDict[str, None] = OrderedDict()

    async def create(self, vip: VirtualIP) -> None:
        """Store the claim; raise ``Taken`` with the one that stands if its name exists."""
        try:
            made = await self._client.create(_KIND, vip.document())
        except KubeConflict as error:
            standing = claim_of(await self._client.get(_KIND, vip.name))
            assert standing is not None, "its name is the address that was asked for"
            raise Taken(standing) from error
        if self._registry.get(vip.key) is None:
            self._unseen[vip.name] = str(made["metadata"].get("resourceVersion") or "")

    async def delete(self, vip: VirtualIP) -> None:
        """Remove the claim if it is still this holder's; raise ``Taken`` if it is another's by now."""
        try:
            document = await self._client.get(_KIND, vip.name)
            standing = claim_of(document)
            if standing is not None and standing.spec.holder != vip.spec.holder:
                raise Taken(standing)
            uid = str(document["metadata"].get("uid") or "")
            # Remembered first: the news of the deletion may arrive before the answer to it.
            self._given_back[uid] = None
            if len(self._given_back) > _MOST_REMEMBERED:
                self._given_back.popitem(last=False)
            await self._client.delete(_KIND, vip.name, uid=uid)
        except KubeNotFound:
            pass  # a lost reply must not matter
        self._unseen.pop(vip.name, None)

    def gave_back(self, uid: str) -> bool:
        """Say whether we deleted the claim with that uid ourselves."""
        return uid in self._given_back

    def seen(self, name: str) -> None:
        """Take the news that the watch has shown ``name``."""
        self._unseen.pop(name, None)

    def lost(self) -> set[str]:
        """Return the claims that we made and that were gone before the watch ever showed them; each is told once."""
        known = self._registry.version("VirtualIP")
        lost = {
            name
            for name, version in self._unseen.items()
            if version.isdecimal() and known.isdecimal() and int(known) > int(version)
        }
        for name in lost:
            del self._unseen[name]
        return {name for name in lost if self._registry.get(("VirtualIP", name)) is None}

"""The small memory as one ConfigMap in the home cluster: paths chosen, overlay addresses of devices, identities of clusters.

One key each, JSON that a person can read. It grows with links, devices and clusters and never with nodes or Services; what
is assigned per node is kept on the node. Every write carries the resourceVersion that it rests on; where somebody else wrote
meanwhile, each entry that they changed stands and the rest is ours.

The one confusing thing: a ConfigMap that is there and does not parse is an error, not an empty memory. Who forgets which
path a link has, or which address a device has, breaks packets; so nothing is decided until a person mends or deletes it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from isthmus.app.memory import Addresses, addresses_of, choice_of, spell_choice
from isthmus.core.world import Choice
from isthmus.errors import KubeConflict, KubeNotFound, StateError
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import CONFIGMAPS
from isthmus.model.resources import IPInterface

__all__ = ["NAME", "HomeMemory"]

NAME = "isthmus-memory"
_CHOICES, _ADDRESSES, _UIDS = "choices", "device-addresses", "cluster-uids"
_KEYS = (_CHOICES, _ADDRESSES, _UIDS)
_ATTEMPTS = 5

Entries = dict[str, Any]


class HomeMemory:
    """The memory of one installation; :meth:`read` comes first, and raises what kept it from being read."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._version = ""
        self._known: dict[str, Entries] = {key: {} for key in _KEYS}
        self._lock = asyncio.Lock()

    async def read(self) -> bool:
        """Read the ConfigMap (none is an empty memory) and say whether it says anything new.

        Raises KubeError, and StateError if it does not parse.
        """
        async with self._lock:
            before = self._known
            self._version, self._known = await self._read()
            return self._known != before

    async def choices(self) -> dict[str, Choice]:
        """Return the paths chosen, by link."""
        return {link: choice_of(value) for link, value in self._known[_CHOICES].items()}

    async def keep_choice(self, link: str, choice: Choice) -> None:
        """Keep the path chosen for ``link``."""
        await self._keep({_CHOICES: {link: spell_choice(choice)}})

    async def addresses(self, link: str) -> dict[str, tuple[IPInterface, ...]]:
        """Return what the devices of ``link`` were given on its overlay."""
        return addresses_of(self._known[_ADDRESSES].get(link) or {})

    async def keep_addresses(self, link: str, given: Addresses) -> None:
        """Keep what some devices of ``link`` were given, beside what is kept of others."""
        before = self._known[_ADDRESSES].get(link) or {}
        new = {device: [str(address) for address in own] for device, own in given.items()}
        await self._keep({_ADDRESSES: {link: dict(sorted({**before, **new}.items()))}})

    async def uids(self) -> dict[str, str]:
        """Return who each cluster was when it was first met, by name."""
        return {name: str(uid) for name, uid in self._known[_UIDS].items()}

    async def keep_uid(self, cluster: str, uid: str) -> None:
        """Keep who a cluster is."""
        await self._keep({_UIDS: {cluster: uid}})

    async def forget_link(self, link: str) -> None:
        """Forget what was chosen and assigned for a link that is gone for good."""
        if link in self._known[_CHOICES] or link in self._known[_ADDRESSES]:
            await self._keep({_CHOICES: {link: None}, _ADDRESSES: {link: None}})

    # --- the ConfigMap ------------------------------------------------------------------------------------------

    async def _read(self) -> tuple[str, dict[str, Entries]]:
        try:
            found = await self._client.get(CONFIGMAPS, NAME, self._namespace)
        except KubeNotFound:
            return "", {key: {} for key in _KEYS}
        data = found.get("data") or {}
        return str(found["metadata"].get("resourceVersion") or ""), {
            key: self._parsed(key, data.get(key)) for key in _KEYS
        }

    def _parsed(self, key: str, text: str | None) -> Entries:
        try:
            value = json.loads(text) if text else {}
            if not isinstance(value, dict):
                raise TypeError("it is no object")
            if key == _CHOICES:
                for one in value.values():
                    choice_of(one)
            elif key == _ADDRESSES:
                for one in value.values():
                    addresses_of(one)
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError, StateError) as error:
            place = f"ConfigMap {self._namespace}/{NAME}, key {key}"
            raise StateError(
                f"{place}: does not parse ({error}); mend it, or delete the key to choose anew"
            ) from error
        return value

    async def _keep(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        """Write entries (none: take it away) over those that stand, unless somebody else has changed them meanwhile."""
        async with self._lock:
            for _ in range(_ATTEMPTS):
                merged = {key: _changed(self._known[key], wanted.get(key, {})) for key in _KEYS}
                if merged == self._known and self._version:
                    return
                try:
                    answer = await self._write(merged)
                except KubeConflict:
                    version, standing = await self._read()
                    wanted = {
                        key: {
                            entry: value
                            for entry, value in entries.items()
                            if standing[key].get(entry) == self._known[key].get(entry)
                        }
                        for key, entries in wanted.items()
                    }
                    self._version, self._known = version, standing
                except KubeNotFound:
                    if not self._version:
                        raise StateError(
                            f"namespace {self._namespace} is not in the home cluster, so nothing can be remembered; "
                            f"create it, or name another with --namespace"
                        ) from None
                    self._version = ""  # somebody deleted it: all we know is written anew
                else:
                    self._version = str(answer["metadata"].get("resourceVersion") or "")
                    self._known = merged
                    return
            raise StateError(f"ConfigMap {self._namespace}/{NAME} is written by somebody else all the time")

    async def _write(self, entries: Mapping[str, Entries]) -> dict[str, Any]:
        metadata = {"name": NAME, "namespace": self._namespace, "labels": {"app.kubernetes.io/part-of": "isthmus"}}
        data = {key: json.dumps(value, sort_keys=True, indent=1) for key, value in entries.items()}
        document: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        if not self._version:
            return await self._client.create(CONFIGMAPS, document)
        metadata["resourceVersion"] = self._version
        return await self._client.replace(CONFIGMAPS, document)


def _changed(before: Entries, wanted: Mapping[str, Any]) -> Entries:
    merged = {**before, **wanted}
    return {entry: value for entry, value in sorted(merged.items()) if value is not None}

"""A Kubernetes API without sockets: objects, versions and watches, behind the same transport that HTTP stands behind.

It imitates what the controller's edge relies on: one counter for all kinds, consistent lists in pages, streamed lists,
watches that resume, bookmarks, compaction, server-side apply of annotations and of a Service's status, preconditions. What
goes wrong on the way is the seam's business (:mod:`faults.transport`). The lab's API does the rest, and is what the packet
sample runs against.

The one confusing thing: every version's objects are kept (``past``), because the judge must be able to ask what was true
when a thing was deleted; that is not what ``floor`` says, which is how far back a client may still ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]
Key = tuple[str, str]
Objects = dict[Key, "Stored"]

KINDS = {
    "nodes": ("v1", "Node"),
    "namespaces": ("v1", "Namespace"),
    "services": ("v1", "Service"),
    "configmaps": ("v1", "ConfigMap"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
    "events": ("events.k8s.io/v1", "Event"),
}
CALICO = {
    "daemonsets": ("apps/v1", "DaemonSet"),
    "ipamblocks": ("crd.projectcalico.org/v1", "IPAMBlock"),
}
"""What there is besides in a cluster whose pods are in Calico's blocks."""


class Refusal(Exception):
    """An answer that is no success: an HTTP code and the machine-readable reason."""

    def __init__(self, code: int, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.code, self.reason = code, reason


class Stored(msgspec.Struct, frozen=True):
    """One object at one version."""

    version: int
    raw: bytes

    def read(self) -> Json:
        """Return a copy to do with as you like."""
        found: Json = msgspec.json.decode(self.raw)
        return found


class Api:
    """One cluster's API server and its store."""

    def __init__(
        self, now: Callable[[], str], *, streams: bool = True, page: int = 500, calico: bool = False
    ) -> None:
        self.kinds = KINDS | CALICO if calico else KINDS
        self.groups = {api_version.partition("/")[0] for api_version, _ in CALICO.values()} if calico else set[str]()
        self.version = 100
        self.floor = 0
        self.streams = streams
        self.page = page
        self.writes = 0
        self.uids = 0
        self.now = now
        self.objects: dict[str, Objects] = {kind: {} for kind in self.kinds}
        self.past: dict[int, dict[str, Objects]] = {}
        self.log: list[tuple[int, str, str, bytes]] = []
        self.changed: list[asyncio.Event] = []
        self.on_write: list[Callable[[str, Key, Json | None, Json | None], None]] = []
        self._managed: dict[tuple[str, Key, str], set[str]] = {}
        for name in ("kube-system", "default"):
            self.put("namespaces", {"metadata": {"name": name}})

    # --- storing ------------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """Return one object, none where there is none."""
        found = self.objects[kind].get((namespace, name))
        return found.read() if found is not None else None

    def put(self, kind: str, obj: Json) -> Json:
        """Store an object as it is and tell the watches; one that says what it said is no change."""
        api_version, word = self.kinds[kind]
        meta = dict(obj["metadata"])
        key = (meta.get("namespace", ""), meta["name"])
        before = self.get(kind, key[1], key[0])
        if before is None:
            self.uids += 1
            meta["uid"] = f"uid-{self.uids}"
            meta["creationTimestamp"] = self.now()
        else:
            meta["uid"], meta["creationTimestamp"] = (
                before["metadata"]["uid"],
                before["metadata"]["creationTimestamp"],
            )
            meta["resourceVersion"] = before["metadata"]["resourceVersion"]
        whole = {**obj, "apiVersion": api_version, "kind": word, "metadata": meta}
        if whole == before:
            return whole
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        raw = msgspec.json.encode(whole)
        self.objects[kind] = {**self.objects[kind], key: Stored(self.version, raw)}
        self._happened(kind, "ADDED" if before is None else "MODIFIED", raw)
        for listener in self.on_write:
            listener(kind, key, before, whole)
        return whole

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Remove an object and tell the watches."""
        gone = self.get(kind, name, namespace)
        if gone is None:
            return
        self.version += 1
        self.objects[kind] = {key: one for key, one in self.objects[kind].items() if key != (namespace, name)}
        for managed in [managed for managed in self._managed if managed[:2] == (kind, (namespace, name))]:
            del self._managed[managed]
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._happened(kind, "DELETED", msgspec.json.encode(gone))
        for listener in self.on_write:
            listener(kind, (namespace, name), gone, None)

    def _happened(self, kind: str, type: str, raw: bytes) -> None:
        self.log.append((self.version, kind, type, raw))
        self.past[self.version] = dict(self.objects)
        for waiting in self.changed:
            waiting.set()

    def compact(self) -> None:
        """Forget the past: who asks for an older version than now is answered 410."""
        self.floor = self.version

    def at(self, version: int) -> dict[str, Objects]:
        """Return all objects as they were at ``version``."""
        return self.past[max((known for known in self.past if known <= version), default=min(self.past))]

    # --- requests -----------------------------------------------------------------------------------------------

    def list(self, kind: str, query: Mapping[str, str], *, version: int = 0, empty: bool = False) -> Json:
        """Return one page; with ``version`` an older state than that of now, as a replica that lags has it."""
        token = query.get("continue", "")
        shown, start = (version or self.version), 0
        if token:
            shown, start = (int(part) for part in token.split(":"))
            if shown < self.floor:
                raise Refusal(410, "Expired", "the continue token is too old")
        state = self.objects if shown == self.version else self.at(shown)
        found = [] if empty else [one for _, one in sorted(state[kind].items())]
        size = min(int(query["limit"]), self.page) if "limit" in query else max(len(found), 1)
        meta: Json = {"resourceVersion": str(shown)}
        if start + size < len(found):
            meta["continue"] = f"{shown}:{start + size}"
        return {"metadata": meta, "items": [msgspec.Raw(one.raw) for one in found[start : start + size]]}

    def discover(self, group: str) -> Json:
        """Return the document of an API group, and of its only version."""
        found = [
            {"name": kind, "kind": word, "namespaced": False}
            for kind, (api_version, word) in self.kinds.items()
            if api_version.startswith(f"{group}/")
        ]
        if not found:
            raise Refusal(404, "NotFound")
        return {"preferredVersion": {"version": "v1"}, "resources": found}

    def create(self, kind: str, obj: Json, namespace: str) -> Json:
        """Create an object; 409 where it exists."""
        meta = {**obj["metadata"], **({"namespace": namespace} if namespace else {})}
        if self.get(kind, meta["name"], namespace) is not None:
            raise Refusal(409, "AlreadyExists")
        self._counted(kind)
        return self.put(kind, {**obj, "metadata": meta})

    def merge(self, kind: str, name: str, namespace: str, patch: Json) -> Json:
        """Change some fields (RFC 7386)."""
        found = self._existing(kind, name, namespace)
        asked = (patch.get("metadata") or {}).get("resourceVersion")
        if asked and asked != found["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict")
        self._counted(kind)
        return self.put(kind, _merged(found, patch))

    def replace(self, kind: str, name: str, namespace: str, obj: Json) -> Json:
        """Replace an object; 409 where it carries an old version."""
        found = self._existing(kind, name, namespace)
        asked = obj["metadata"].get("resourceVersion")
        if asked and asked != found["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict")
        self._counted(kind)
        return self.put(kind, obj)

    def apply(self, kind: str, name: str, namespace: str, obj: Json, manager: str) -> Json:
        """Apply server-side, as far as it is used: a node's annotations, a Service's status."""
        found = self._existing(kind, name, namespace)
        uid = obj["metadata"].get("uid")
        if uid and uid != found["metadata"]["uid"]:
            raise Refusal(409, "Conflict", "another object of that name")
        asked = obj["metadata"].get("resourceVersion")
        if asked and asked != found["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "changed in between")
        if kind == "services":
            found["status"] = {**found.get("status", {}), **obj["status"]}
        else:
            wanted = obj["metadata"].get("annotations") or {}
            owned = self._managed.setdefault((kind, (namespace, name), manager), set())
            kept = {
                key: text for key, text in (found["metadata"].get("annotations") or {}).items() if key not in owned
            }
            found["metadata"]["annotations"] = {**kept, **wanted}
            owned.clear()
            owned.update(wanted)
        self._counted(kind)
        return self.put(kind, found)

    def remove(self, kind: str, name: str, namespace: str, conditions: Mapping[str, str]) -> None:
        """Delete an object on condition."""
        found = self._existing(kind, name, namespace)
        if conditions.get("uid") not in (None, "", found["metadata"]["uid"]):
            raise Refusal(409, "Conflict", "another object of that name")
        self._counted(kind)
        self.delete(kind, name, namespace)

    def events(self, kind: str, after: int) -> list[tuple[int, str, str, bytes]]:
        """Return what happened to a kind after a version; 410 where that is forgotten."""
        if after < self.floor:
            raise Refusal(410, "Expired", "too old resource version")
        found = []
        for entry in reversed(self.log):
            if entry[0] <= after:
                break
            if entry[1] == kind:
                found.append(entry)
        return found[::-1]

    def _existing(self, kind: str, name: str, namespace: str) -> Json:
        found = self.get(kind, name, namespace)
        if found is None:
            raise Refusal(404, "NotFound")
        return found

    def _counted(self, kind: str) -> None:
        if kind not in ("events", "leases"):
            self.writes += 1


def _merged(target: Json, patch: Json) -> Json:
    merged = dict(target)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = _merged(old if isinstance(old, dict) else {}, value)
        else:
            merged[key] = value
    return merged

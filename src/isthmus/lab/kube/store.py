"""Objects, their versions, and what happened lately: a small etcd.

One counter numbers every change of every kind. Objects are kept as serialised bytes without ``kind`` and ``apiVersion``
(both depend on the version somebody asks for), so a list is a join and an event is written once for all its watchers.
The past is kept as undoable changes: a list at an older version is today's objects with the later changes undone, which
is why a page of a list stays consistent exactly as long as its version is not compacted.

It knows nothing of HTTP, of kinds' rules, or of who may do what.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from isthmus.lab.kube.watching import Watcher, Watchers

Json = dict[str, Any]
Key = tuple[str, str]  # namespace ("" when the kind has none), name

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_SNAPSHOTS = 8  # lists at old versions that are kept ready, per bucket


class Record:
    """One object at one version; never changed once made."""

    __slots__ = ("fields", "key", "labels", "raw", "rv")

    def __init__(self, key: Key, rv: int, raw: bytes, labels: Mapping[str, str], fields: Mapping[str, str]) -> None:
        self.key = key
        self.rv = rv
        self.raw = raw
        self.labels = labels
        self.fields = fields

    def obj(self) -> Json:
        """Return a fresh copy of the object, without type meta, to do with as you like."""
        found: Json = _decode(self.raw)
        return found

    def at(self, rv: int) -> Record:
        """Return the same object as it is shown in an event of version ``rv``."""
        obj = self.obj()
        obj["metadata"]["resourceVersion"] = str(rv)
        return Record(self.key, rv, _encode(obj), self.labels, self.fields)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the past: ``old`` became ``new``; None is absence."""

    rv: int
    old: Record | None
    new: Record | None

    @property
    def key(self) -> Key:
        """Return whose change it is."""
        record = self.new or self.old
        assert record is not None
        return record.key


def select_fields(obj: Json, key: Key, paths: Iterable[str]) -> dict[str, str]:
    """Return the values that field selectors may ask for, as text; an absent field reads as empty."""
    found = {"metadata.name": key[1], "metadata.namespace": key[0]}
    for path in paths:
        value: Any = obj
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            # A boolean's absence is false in the typed API, and spec.unschedulable is the one that people select by.
            found[path] = "false" if path == "spec.unschedulable" else ""
        else:
            found[path] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


@dataclass(slots=True)
class Bucket:
    """The objects of one resource, in the order of their keys, and their recent past."""

    name: str
    objects: dict[Key, Record] = field(default_factory=dict)
    spaces: dict[str, dict[Key, Record]] = field(default_factory=dict)
    history: deque[Change] = field(default_factory=deque)
    floor: int = 0  # events up to here are forgotten
    watchers: Watchers = field(default_factory=Watchers)
    _sorted: list[Key] | None = None
    _past: OrderedDict[int, list[Record]] = field(default_factory=OrderedDict)

    def _place(self, key: Key, record: Record | None) -> None:
        if (record is None) != (key not in self.objects):
            self._sorted = None
        if record is None:
            self.objects.pop(key, None)
            self.spaces.get(key[0], {}).pop(key, None)
        else:
            self.objects[key] = record
            self.spaces.setdefault(key[0], {})[key] = record

    def record(self, change: Change, limit: int) -> None:
        """Carry ``change`` out, remember it, and tell the watchers."""
        self._place(change.key, change.new)
        self.history.append(change)
        while len(self.history) > limit:
            self.floor = self.history.popleft().rv
        self.watchers.tell(change)

    def ordered(self, namespace: str = "") -> list[Record]:
        """Return the objects as they are now, by key; of one namespace where one is named."""
        if namespace:
            space = self.spaces.get(namespace, {})
            return [space[key] for key in sorted(space)]
        if self._sorted is None:
            self._sorted = sorted(self.objects)
        return [self.objects[key] for key in self._sorted]

    def since(self, rv: int) -> list[Change]:
        """Return the changes after ``rv``, oldest first."""
        start = bisect_right(self.history, rv, key=lambda change: change.rv)
        return [self.history[index] for index in range(start, len(self.history))]

    def ordered_at(self, rv: int, namespace: str = "") -> list[Record]:
        """Return the objects as they were at ``rv``, which must not be below ``floor``."""
        past = self._past.get(rv)
        if past is None:
            objects = dict(self.objects)
            for change in reversed(self.since(rv)):
                if change.old is None:
                    objects.pop(change.key, None)
                else:
                    objects[change.key] = change.old
            past = [objects[key] for key in sorted(objects)]
            self._past[rv] = past
            while len(self._past) > _SNAPSHOTS:
                self._past.popitem(last=False)
        return [record for record in past if record.key[0] == namespace] if namespace else past

    def forget(self, rv: int) -> None:
        """Compact: nothing older than ``rv`` can be asked for from now on."""
        self.history.clear()
        self._past.clear()
        self.floor = rv

    def replace(self, records: Iterable[Record]) -> None:
        """Put other objects in the place of all, telling nobody (what a restore from backup does)."""
        self.objects = {record.key: record for record in records}
        self.spaces = {}
        for key, record in self.objects.items():
            self.spaces.setdefault(key[0], {})[key] = record
        self._sorted = None


@dataclass(frozen=True, slots=True)
class Backup:
    """Everything that was stored at one moment."""

    rv: int
    objects: Mapping[str, tuple[Record, ...]]


Listener = Callable[[str, Change], None]


class Store:
    """All buckets under one counter."""

    def __init__(self, history: int = 10_000) -> None:
        self.rv = 1
        self.history = history
        self.buckets: dict[str, Bucket] = {}
        self.listeners: list[Listener] = []  # told each change, for what is derived from objects
        self.floor = self.rv  # of buckets that come later

    def bucket(self, name: str) -> Bucket:
        """Return the bucket called ``name``; an unknown one is empty."""
        found = self.buckets.get(name)
        if found is None:
            found = self.buckets[name] = Bucket(name, floor=self.floor)
        return found

    def get(self, bucket: str, key: Key) -> Record | None:
        """Return one object's record."""
        return self.bucket(bucket).objects.get(key)

    def put(self, bucket: str, obj: Json, fields: Iterable[str] = ()) -> Record:
        """Store ``obj`` under its own name at the next version and return its record."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        old = self.get(bucket, key)
        self.rv += 1
        metadata["resourceVersion"] = str(self.rv)
        new = Record(key, self.rv, _encode(obj), metadata.get("labels") or {}, select_fields(obj, key, fields))
        self._commit(bucket, Change(self.rv, old, new))
        return new

    def remove(self, bucket: str, key: Key) -> Record:
        """Take the object out and return its last state, which carries the version of its removal."""
        old = self.bucket(bucket).objects[key]
        self.rv += 1
        self._commit(bucket, Change(self.rv, old, None))
        return old.at(self.rv)

    def _commit(self, bucket: str, change: Change) -> None:
        self.bucket(bucket).record(change, self.history)
        for listener in self.listeners:
            listener(bucket, change)

    def compact(self) -> None:
        """Forget the past of every bucket: older versions are answered with 410 from now on."""
        self.floor = self.rv
        for bucket in self.buckets.values():
            bucket.forget(self.rv)

    def backup(self) -> Backup:
        """Return everything as it is now."""
        return Backup(self.rv, {name: tuple(bucket.objects.values()) for name, bucket in self.buckets.items()})

    def restore(self, backup: Backup) -> None:
        """Go back to ``backup``, its version included; nobody is told, the past is gone, watches end."""
        self.rv = self.floor = backup.rv
        for name in {*self.buckets, *backup.objects}:
            bucket = self.bucket(name)
            bucket.replace(backup.objects.get(name, ()))
            bucket.forget(backup.rv)
            bucket.watchers.close()

    def watchers(self, bucket: str = "") -> list[Watcher]:
        """Return the open watches, of one bucket where one is named."""
        chosen = [self.bucket(bucket)] if bucket else list(self.buckets.values())
        return [watcher for each in chosen for watcher in each.watchers]

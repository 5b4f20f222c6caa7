"""The three things that happen by themselves here: definitions become resources, nodes get pod CIDRs, and a deleted
namespace is emptied and then goes.

All of it follows the store's changes, so it is the same after a request, a shortcut, or a restore from backup.
"""

from __future__ import annotations

from typing import Any

from isthmus.lab.kube import crd
from isthmus.lab.kube.kinds import Kinds, Resource
from isthmus.lab.kube.nodes import PodCIDRs
from isthmus.lab.kube.objects import Objects, Options
from isthmus.lab.kube.services import ServiceRule
from isthmus.lab.kube.store import Change, Key, Record

Json = dict[str, Any]


class Lifecycle:
    """What follows from changes of one server's objects."""

    def __init__(self, objects: Objects, services: ServiceRule, pod_cidrs: PodCIDRs) -> None:
        self._objects = objects
        self._store = objects.store
        self._kinds: Kinds = objects.kinds
        self._services = services
        self._pod_cidrs = pod_cidrs
        self._emptying: set[str] = set()
        self._store.listeners.append(self._follow)
        objects.after_delete_mark["namespaces"] = self._empty_namespace
        if pod_cidrs.active:
            objects.after_create["nodes"] = self._give_pod_cidrs

    def rebuild(self) -> None:
        """Derive everything anew from what is stored."""
        self._services.clear()
        self._pod_cidrs.clear()
        self._kinds.clear_custom()
        for bucket in ("services", "nodes", crd.BUCKET):
            for record in self._store.bucket(bucket).objects.values():
                self._follow(bucket, Change(record.rv, None, record))

    def _follow(self, bucket: str, change: Change) -> None:
        if bucket in ("services", "nodes", crd.BUCKET):
            old = change.old.obj() if change.old else None
            new = change.new.obj() if change.new else None
            if bucket == "services":
                self._services.changed(old, new)
            elif bucket == "nodes":
                self._pod_cidrs.changed(old, new)
            else:
                self._define(change.key[1], new)
        if change.new is None and change.key[0]:
            self._finish_namespace(change.key[0])

    def _define(self, name: str, new: Json | None) -> None:
        if new is not None:
            self._kinds.set_custom(name, crd.defined_resources(new))
            return
        bucket = self._store.bucket(name)
        for key in list(bucket.objects):
            self._store.remove(name, key)
        bucket.watchers.close()
        self._kinds.set_custom(name, ())

    def _give_pod_cidrs(self, resource: Resource, record: Record) -> None:
        if record.obj()["spec"].get("podCIDRs"):
            return
        chosen = self._pod_cidrs.choose()
        if chosen is not None:
            body = self._objects.show(resource, record)
            body["spec"] |= {"podCIDR": chosen[0], "podCIDRs": chosen}
            options = Options(manager="kube-controller-manager")
            self._objects.update(resource, "", record.key[1], body, options)

    def _contents(self, namespace: str) -> list[tuple[Resource, Record]]:
        found: dict[tuple[str, Key], tuple[Resource, Record]] = {}
        for resource in self._kinds:
            for record in self._store.bucket(resource.bucket).spaces.get(namespace, {}).values():
                found.setdefault((resource.bucket, record.key), (resource, record))
        return list(found.values())

    def _empty_namespace(self, resource: Resource, record: Record) -> Record:
        namespace = record.key[1]
        obj = record.obj()
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        record = self._store.put(resource.bucket, obj, resource.fields)
        self._emptying.add(namespace)
        try:
            for kind, content in self._contents(namespace):
                self._objects.delete(kind, *content.key)
        finally:
            self._emptying.discard(namespace)
        self._finish_namespace(namespace)
        return record

    def _finish_namespace(self, namespace: str) -> None:
        """Let a terminating namespace go once nothing is left in it."""
        record = self._store.get("namespaces", ("", namespace))
        if record is None or namespace in self._emptying or b"deletionTimestamp" not in record.raw:
            return
        meta = record.obj()["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not self._contents(namespace):
            self._store.remove("namespaces", record.key)

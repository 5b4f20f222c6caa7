"""Reading and writing objects as the API means it, without HTTP: create, update, patch, delete.

Each write goes the same way: bring the body into stored form, fill in what the server decides, judge it, number it, store
it. A write that changes nothing stores nothing, so a resourceVersion moves only when there is something to see.

Everything here is synchronous and runs in the event loop's thread; that is what makes a write atomic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from isthmus.lab.kube import managed, metadata, status
from isthmus.lab.kube.apply import apply
from isthmus.lab.kube.forms import METADATA, form_of, misfit, parts_of, without_nulls
from isthmus.lab.kube.kinds import Kinds, Resource
from isthmus.lab.kube.status import Cause, bad
from isthmus.lab.kube.store import Record, Store, select_fields

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What a write request asks for beside its body."""

    manager: str = "unknown"
    subresource: str = ""
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"  # Ignore, Warn or Strict, for fields that the kind does not know
    warnings: list[str] = field(default_factory=list)


PLAINLY = Options(validation="Ignore")  # shared, so nothing may be noted in it


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must be true of an object for it to be deleted."""

    uid: str = ""
    resource_version: str = ""


class JsonForm:
    """Write records as plain JSON of one resource version."""

    def __init__(self, resource: Resource) -> None:
        self.key: object = resource.head
        self._head = resource.head
        self._outward = resource.outward

    def write(self, record: Record) -> bytes:
        """Return the object with its type meta."""
        return self._head + self.bare(record)[1:]

    def bare(self, record: Record) -> bytes:
        """Return the object as it stands in lists of built-in kinds: without type meta."""
        return record.raw if self._outward is None else msgspec.json.encode(self._outward(record.obj()))


class _Undecodable(status.ApiError):
    """A body that does not fit the kind's Go type: 400, but another refusal where it is the outcome of a patch."""

    def __init__(self, resource: Resource, why: str) -> None:
        message = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
        super().__init__(400, "BadRequest", message)
        self.why = why


class Objects:
    """The objects of one server."""

    def __init__(self, store: Store, kinds: Kinds, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store = store
        self.kinds = kinds
        self.now = now
        self.after_create: dict[str, Callable[[Resource, Record], None]] = {}  # by bucket: the controllers there are
        self.after_delete_mark: dict[str, Callable[[Resource, Record], Record]] = {}

    def get(self, resource: Resource, namespace: str, name: str) -> Record:
        """Return one object or raise 404."""
        record = self.store.get(resource.bucket, (namespace, name))
        if record is None:
            raise status.not_found(resource, name)
        return record

    def show(self, resource: Resource, record: Record) -> Json:
        """Return the object as a client of this resource version sees it."""
        obj: Json = msgspec.json.decode(JsonForm(resource).write(record))
        return obj

    def create(self, resource: Resource, namespace: str, body: Json, options: Options = PLAINLY) -> Record:
        """Store a new object; raise 400, 404 (no such namespace), 409 or 422."""
        return self._begin(resource, namespace, self._inward(resource, body, options), options)

    def _begin(
        self, resource: Resource, namespace: str, obj: Json, options: Options, *, track: bool = True
    ) -> Record:
        meta = obj["metadata"]
        self._same_namespace(meta, namespace)
        if meta.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        if resource.namespaced:
            self._need_namespace(resource, namespace, meta.get("name", ""))
        metadata.begin(meta, namespace=namespace, now=self.now(), generation=resource.generation)
        metadata.carry_over(meta, dict(meta))
        if resource.status and not resource.keeps_status:
            obj.pop("status", None)
        resource.rule.prepare(obj, None)
        self._judge(resource, obj, None)
        if self.store.get(resource.bucket, (namespace, meta["name"])) is not None:
            raise status.already_exists(resource, meta["name"])
        if track:
            managed.track(resource, obj, None, options.manager, options.subresource, self.now())
        if options.dry_run:
            return self._draft(resource, obj)
        record = self.store.put(resource.bucket, obj, resource.fields)
        if follow := self.after_create.get(resource.bucket):
            follow(resource, record)
        return record

    def update(
        self, resource: Resource, namespace: str, name: str, body: Json, options: Options = PLAINLY
    ) -> tuple[Record, bool]:
        """Replace an object (or its status) and return it with whether it was created by that."""
        record = self.store.get(resource.bucket, (namespace, name))
        if record is None:
            if not resource.create_on_update or options.subresource:
                raise status.not_found(resource, name)
            body.setdefault("metadata", {}).setdefault("name", name)
            return self.create(resource, namespace, body, options), True
        obj = self._inward(resource, body, options)
        if not resource.unconditional and not obj["metadata"].get("resourceVersion"):
            cause = bad("metadata.resourceVersion", 0, "must be specified for an update")
            raise status.invalid(resource, name, [cause])
        return self.replace(resource, record, obj, options), False

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        options: Options = PLAINLY,
    ) -> Record:
        """Apply ``change`` to the object as the client sees it, then update."""
        record = self.get(resource, namespace, name)
        changed = change(self.show(resource, record))
        try:
            obj = self._inward(resource, changed, options)
        except _Undecodable as error:
            raise status.unpatchable(error.why) from error
        self._same_uid(resource, obj["metadata"], record)
        return self.replace(resource, record, obj, options)

    def apply(
        self, resource: Resource, namespace: str, name: str, body: Json, options: Options
    ) -> tuple[Record, bool]:
        """Apply a configuration (server-side apply) and return the object with whether it is new; raise 409."""
        wanted = self._inward(resource, body, options)
        meta = wanted["metadata"]
        if meta.get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        if meta.get("name", name) != name:
            message = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            raise status.bad_request(message)
        record = self.store.get(resource.bucket, (namespace, name))
        if record is None and options.subresource:
            raise status.not_found(resource, name)
        if record is None and meta.get("uid"):
            why = f"uid mismatch: the provided object specified uid {meta['uid']}, and no existing object was found"
            raise status.conflict(resource, name, why)
        if record is not None:
            self._same_uid(resource, meta, record)
        if options.subresource == "status":
            wanted = {key: value for key, value in wanted.items() if key in ("metadata", "status")}
        elif resource.status and not (record is None and resource.keeps_status):
            wanted.pop("status", None)
        merged = apply(
            resource,
            record.obj() if record is not None else None,
            wanted,
            manager=options.manager,
            subresource=options.subresource,
            force=options.force,
            now=self.now(),
        )
        merged["metadata"]["name"] = name
        if record is None:
            return self._begin(resource, namespace, merged, options, track=False), True
        return self.replace(resource, record, merged, options, track=False), False

    def replace(
        self,
        resource: Resource,
        record: Record,
        obj: Json,
        options: Options,
        *,
        track: bool = True,
    ) -> Record:
        """Put ``obj``, in stored form, into the place of ``record``; ``track`` notes who changed which field."""
        old = record.obj()
        meta, old_meta = obj["metadata"], old["metadata"]
        namespace, name = record.key
        self._same_namespace(meta, namespace)
        if meta.get("name", name) != name:
            message = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            raise status.bad_request(message)
        if meta.get("resourceVersion") not in (None, "", old_meta["resourceVersion"]):
            raise status.conflict(resource, name)
        if meta.get("uid") not in (None, "", old_meta["uid"]):
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {old_meta['uid']}"
            raise status.conflict(resource, name, why)
        metadata.carry_over(meta, old_meta)
        meta["resourceVersion"] = old_meta["resourceVersion"]
        managed.keep(meta, old_meta)
        if options.subresource == "status":
            obj = self._only_status(resource, obj, old)
        elif resource.status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]
        resource.rule.prepare(obj, old)
        self._judge(resource, obj, old)
        if resource.generation and _intent(resource, obj) != _intent(resource, old):
            obj["metadata"]["generation"] = old_meta.get("generation", 1) + 1
        if track:
            managed.track(resource, obj, old, options.manager, options.subresource, self.now())
        if managed.same(obj, old):
            return record
        if options.dry_run:
            return self._draft(resource, obj)
        meta = obj["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not held(obj):
            return self.store.remove(resource.bucket, record.key)
        return self.store.put(resource.bucket, obj, resource.fields)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        preconditions: Preconditions | None = None,
        options: Options = PLAINLY,
    ) -> tuple[Record, bool]:
        """Delete an object and return its last state with whether it is gone; finalizers keep it for a while."""
        record = self.get(resource, namespace, name)
        obj = record.obj()
        meta = obj["metadata"]
        if preconditions is not None:
            self._precondition(resource, meta, preconditions)
        if not meta.get("finalizers") and not held(obj):
            return (record if options.dry_run else self.store.remove(resource.bucket, record.key)), True
        if meta.get("deletionTimestamp") or options.dry_run:
            return record, False
        meta["deletionTimestamp"] = metadata.timestamp(self.now())
        meta["deletionGracePeriodSeconds"] = 0
        if resource.generation:
            meta["generation"] = meta.get("generation", 1) + 1
        record = self.store.put(resource.bucket, obj, resource.fields)
        if follow := self.after_delete_mark.get(resource.bucket):
            record = follow(resource, record)
            return record, self.store.get(resource.bucket, record.key) is None
        return record, False

    @staticmethod
    def _same_uid(resource: Resource, meta: Json, record: Record) -> None:
        """Refuse a patch that is meant for another incarnation; the real server names the field twice."""
        uid, had = meta.get("uid"), record.obj()["metadata"]["uid"]
        if uid not in (None, "", had):
            raise status.invalid(resource, record.key[1], [bad("metadata.uid", uid, "field is immutable")] * 2)

    @staticmethod
    def _precondition(resource: Resource, meta: Json, wanted: Preconditions) -> None:
        for label, asked, have, hint in (
            ("UID", wanted.uid, meta["uid"], "deleted and then recreated"),
            ("ResourceVersion", wanted.resource_version, meta["resourceVersion"], "modified"),
        ):
            if asked and asked != have:
                why = f"the {label} in the precondition ({asked}) does not match the {label} in record ({have}). "
                raise status.precondition(resource, meta["name"], f"{why}The object might have been {hint}")

    @staticmethod
    def _only_status(resource: Resource, obj: Json, old: Json) -> Json:
        """Return the old object with the new status; built-in kinds also take labels and annotations that way."""
        meta = dict(old["metadata"]) if resource.custom else obj["metadata"]
        if resource.custom and obj["metadata"].get("managedFields"):
            meta["managedFields"] = obj["metadata"]["managedFields"]
        merged = {**old, "metadata": meta}
        merged.pop("status", None)
        if obj.get("status") is not None:
            merged["status"] = obj["status"]
        return merged

    def _draft(self, resource: Resource, obj: Json) -> Record:
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        return Record(
            key, self.store.rv, msgspec.json.encode(obj), meta.get("labels") or {}, select_fields(obj, key, ())
        )

    def _inward(self, resource: Resource, body: Json, options: Options) -> Json:
        """Check the type meta and the fields, and return the body in stored form."""
        kind, version = body.get("kind"), body.get("apiVersion")
        if resource.custom and not kind:
            raise status.bad_request("Object 'Kind' is missing in the request body")
        if version not in (None, "", resource.api_version):
            raise status.bad_request(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        if kind not in (None, "", resource.kind):
            raise status.bad_request(
                f"the kind in the data ({kind}) does not match the expected kind ({resource.kind})"
            )
        rest = {key: value for key, value in body.items() if key not in ("kind", "apiVersion", "metadata")}
        given = body.get("metadata")
        obj = {"metadata": {} if given is None else without_nulls(given), **rest}
        if not resource.custom:
            obj = without_nulls(obj)
        for form in (METADATA, {} if resource.custom else form_of(resource.bucket)):
            if why := misfit(obj, form, resource.kind):
                raise _Undecodable(resource, why)
        if options.validation != "Ignore":
            paths = [*unknown_parts(obj, resource), *resource.rule.unknown(obj)]
            unknown = [f'unknown field "{path}"' for path in paths]
            if unknown and options.validation == "Strict":
                raise _Undecodable(resource, "strict decoding error: " + ", ".join(unknown))
            options.warnings.extend(unknown)
        return resource.inward(obj) if resource.inward is not None else obj

    @staticmethod
    def _judge(resource: Resource, obj: Json, old: Json | None) -> None:
        meta = obj["metadata"]
        causes: list[Cause] = metadata.check_metadata(resource.name_rule, meta)
        if old is not None:
            causes += metadata.check_update(meta, old["metadata"])
        causes += resource.rule.check(obj, old)
        if causes:
            raise status.invalid(resource, meta.get("name", ""), causes)

    @staticmethod
    def _same_namespace(meta: Json, namespace: str) -> None:
        if meta.get("namespace") not in (None, "", namespace):
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _need_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.store.get("namespaces", ("", namespace))
        if found is None:
            raise status.ApiError(
                404,
                "NotFound",
                f'namespaces "{namespace}" not found',
                details={"name": namespace, "kind": "namespaces"},
            )
        if b'"deletionTimestamp"' in found.raw and found.obj()["metadata"].get("deletionTimestamp"):
            raise status.terminating(resource, name, namespace)


def unknown_parts(obj: Json, resource: Resource) -> list[str]:
    """Return the fields at the root of an object of a built-in kind that the kind does not have."""
    known = None if resource.custom else parts_of(resource.bucket)
    return [name for name in obj if name not in known] if known else []


def held(obj: Json) -> bool:
    """Return whether ``spec.finalizers`` keeps the object, as it does for namespaces."""
    spec = obj.get("spec")
    return isinstance(spec, dict) and bool(spec.get("finalizers")) and "phase" in (obj.get("status") or {})


def _intent(resource: Resource, obj: Json) -> Json:
    """Return the part of an object whose change counts as a new generation."""
    without = ("metadata", "status") if resource.status else ("metadata",)
    return {key: value for key, value in obj.items() if key not in without}

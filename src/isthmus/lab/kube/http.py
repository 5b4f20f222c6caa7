"""From a request to an answer: paths, verbs, and the order in which a request is looked at.

authenticate -> find the resource -> count it, and let the faults have it -> authorize -> do. Everything that is refused
on the way is an ``ApiError`` and becomes a Status here and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from isthmus.lab.kube import discovery, status, wire
from isthmus.lab.kube.access import Access
from isthmus.lab.kube.catalogue import answer, is_catalogue
from isthmus.lab.kube.faults import Faults
from isthmus.lab.kube.kinds import Kinds, Resource
from isthmus.lab.kube.listing import Page, list_page, read_query, start_watch
from isthmus.lab.kube.objects import JsonForm, Objects, Options, Preconditions
from isthmus.lab.kube.patch import json_patch, merge_patch, strategic_patch
from isthmus.lab.kube.status import ApiError
from isthmus.lab.kube.store import Record
from isthmus.lab.kube.stream import Stream, stream_error
from isthmus.lab.kube.tables import TableForm, table
from isthmus.lab.kube.watching import Representation

Json = dict[str, Any]

_log = logging.getLogger(__name__)
_HEALTH = ("/healthz", "/livez", "/readyz")
_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource path names."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Front:
    """The HTTP face of one server."""

    def __init__(
        self, objects: Objects, access: Access, faults: Faults, *, streaming: bool, bookmark_every: float
    ) -> None:
        self.objects = objects
        self.kinds: Kinds = objects.kinds
        self.access = access
        self.faults = faults
        self.streaming = streaming
        self.bookmark_every = bookmark_every

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=wire.BODY_MAX)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever it is."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return wire.respond_error(error)
        except ConnectionError:
            raise
        except Exception as error:
            # A bug of ours must look like a broken server, not like a closed connection, and must be found in the log.
            _log.exception("request failed")
            return wire.respond_error(
                ApiError(500, "InternalError", f"Internal error occurred: {type(error).__name__}")
            )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.rstrip("/") or "/"
        user = self.access.user(request.headers.get("Authorization", ""), path)
        if path in _HEALTH:
            return web.Response(text="ok")
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if is_catalogue(parts):
            return answer(self.kinds, request, parts)
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        if any((group, version, rest[0]) == review[:3] for review in discovery.REVIEWS) and len(rest) == 1:
            if request.method != "POST":
                raise status.method_not_allowed()
            body = await wire.read_object(request)
            return wire.respond(self.access.review(rest[0], user, body), 201)
        target = self._target(group, version, rest)
        return await self._act(request, user, target)

    def _target(self, group: str, version: str, rest: list[str]) -> Target:
        namespace = ""
        if (
            rest[0] == "namespaces"
            and len(rest) >= 3
            and not (len(rest) == 3 and rest[2] in _SUBRESOURCES and not group)
        ):
            namespace, rest = rest[1], rest[2:]
        resource = self.kinds.find(group, version, rest[0])
        if resource is None and not self.kinds.is_builtin(group, version):
            raise status.no_such_page()
        if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
            raise status.no_such_path()
        name = rest[1] if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else ""
        if subresource and not (subresource == "status" and resource.status):
            raise status.no_such_path()
        if name and resource.namespaced and not namespace:
            raise status.no_such_path()
        return Target(resource, namespace, name, subresource)

    @staticmethod
    def _verb(request: web.Request, target: Target) -> str:
        watching = request.query.get("watch", "").lower() in ("1", "true")
        match request.method, bool(target.name):
            case "GET", True:
                return "get"  # whatever ``watch`` says: one object is watched by a field selector
            case "GET", False:
                return "watch" if watching else "list"
            case "POST", False:
                return "create"
            case "PUT", True:
                return "update"
            case "PATCH", True:
                return "patch"
            case "DELETE", named:
                return "delete" if named else "deletecollection"
        raise status.method_not_allowed()

    async def _act(self, request: web.Request, user: str, target: Target) -> web.StreamResponse:
        verb, resource = self._verb(request, target), target.resource
        self.faults.count(request.headers.get("User-Agent", ""), verb, resource.plural)
        if late := self.faults.latency(verb, resource.plural):
            await asyncio.sleep(late)
        if failure := self.faults.failure(verb, resource.plural):
            raise failure
        self.access.check(user, verb, resource, target.namespace, _asked_for(request, target), target.subresource)
        match verb:
            case "watch":
                return await self._watch(request, target)
            case "list":
                return self._list(request, target)
            case "get":
                return self._show(request, resource, self.objects.get(resource, target.namespace, target.name))
            case "create":
                return await self._create(request, target)
            case "update":
                return await self._update(request, target)
            case "patch":
                return await self._patch(request, target)
            case "delete":
                return await self._delete(request, target)
        return await self._delete_collection(request, target)

    def _show(
        self,
        request: web.Request,
        resource: Resource,
        record: Record,
        code: int = 200,
        warnings: list[str] | None = None,
    ) -> web.Response:
        form = wire.form(request)
        if form == "metadata":
            return wire.respond(wire.MetadataForm().write(record), code, warnings or ())
        if form == "table":
            body = table(resource, [record], {"resourceVersion": str(record.rv)}, include=self._include(request))
            return wire.respond(body, code, warnings or ())
        return wire.respond(JsonForm(resource).write(record), code, warnings or ())

    @staticmethod
    def _include(request: web.Request) -> str:
        return request.query.get("includeObject") or "Metadata"

    def _list(self, request: web.Request, target: Target) -> web.Response:
        resource = target.resource
        query = read_query(resource, request.query)
        page = list_page(self.objects.store, resource, target.namespace, query)
        if self.faults.is_emptied(resource.plural):
            page = Page([], page.rv)
        meta = wire.list_meta(page.rv, page.continue_token, page.remaining)
        form = wire.form(request)
        if form == "metadata":
            return wire.respond(wire.write_metadata_list(page.records, meta))
        if form == "table":
            return wire.respond(table(resource, page.records, meta, include=self._include(request)))
        return wire.respond(wire.write_list(resource, page.records, meta))

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        resource, store = target.resource, self.objects.store
        query = read_query(resource, request.query)
        form = wire.form(request)
        shown: Representation = JsonForm(resource)
        if form == "metadata":
            shown = wire.MetadataForm()
        elif form == "table":
            shown = TableForm(resource, self._include(request))
        try:
            start = start_watch(store, resource, target.namespace, query, shown, streaming=self.streaming)
        except ApiError as error:
            if error.status == 410 and not self.faults.expired_as_http:
                return await stream_error(request, error)
            raise
        start.watcher.frozen = self.faults.freeze_new
        if query.initial_events and self.faults.is_emptied(resource.plural):
            start = replace(start, opening=iter(()))
        try:
            return await Stream(resource, query, start, lambda: store.rv, self.bookmark_every).run(
                request, table=form == "table"
            )
        finally:
            start.watcher.close()
            store.bucket(resource.bucket).watchers.discard(start.watcher)

    @staticmethod
    def _options(request: web.Request, subresource: str = "") -> Options:
        query = request.query
        validation = query.get("fieldValidation") or "Warn"
        dry = query.get("dryRun", "")
        causes = []
        if dry not in ("", "All"):
            causes.append(status.unsupported("dryRun", [dry], ("All",)))
        if validation not in ("Ignore", "Warn", "Strict"):
            causes.append(status.unsupported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
        if causes:
            kind = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")
            raise status.invalid_kind("meta.k8s.io", kind, "", causes)
        agent = request.headers.get("User-Agent", "").partition("/")[0]
        return Options(
            manager=(query.get("fieldManager") or agent or "unknown")[:128],
            subresource=subresource,
            dry_run=dry == "All",
            force=query.get("force", "").lower() in ("1", "true"),
            validation=validation,
        )

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        options = self._options(request)
        body = await wire.read_object(request)
        namespace = target.namespace
        if target.resource.namespaced and not namespace:
            raise status.method_not_allowed()
        record = self.objects.create(target.resource, namespace, body, options)
        return self._show(request, target.resource, record, 201, options.warnings)

    async def _update(self, request: web.Request, target: Target) -> web.Response:
        options = self._options(request, target.subresource)
        body = await wire.read_object(request)
        record, created = self.objects.update(target.resource, target.namespace, target.name, body, options)
        return self._show(request, target.resource, record, 201 if created else 200, options.warnings)

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        options = self._options(request, target.subresource)
        resource, kind = target.resource, wire.media_type(request)
        accepted = [wire.JSON_PATCH, wire.MERGE_PATCH, wire.STRATEGIC_PATCH, wire.APPLY_PATCH]
        if resource.custom:
            accepted.remove(wire.STRATEGIC_PATCH)
        if kind not in accepted:
            raise status.unsupported_media(accepted)
        body = wire.parse(await wire.read(request), kind)
        if kind == wire.APPLY_PATCH:
            return self._apply(request, target, body, options)
        if options.force:
            cause = status.forbidden_field("force", "may not be specified for non-apply patch")
            raise status.invalid_kind("meta.k8s.io", "PatchOptions", "", [cause])

        def change(document: Json) -> Json:
            if kind == wire.JSON_PATCH:
                changed = json_patch(document, body)
            elif kind == wire.MERGE_PATCH:
                changed = merge_patch(document, body)
            else:
                changed = strategic_patch(document, body, resource.shapes)
            if not isinstance(changed, dict):
                raise status.bad_request("the patched object is not an object")
            return changed

        record = self.objects.patch(resource, target.namespace, target.name, change, options)
        return self._show(request, resource, record, 200, options.warnings)

    def _apply(self, request: web.Request, target: Target, body: Any, options: Options) -> web.Response:
        if not request.query.get("fieldManager"):
            cause = status.required("fieldManager", "is required for apply patch")
            raise status.invalid_kind("meta.k8s.io", "PatchOptions", "", [cause])
        if not isinstance(body, dict) or not isinstance(body.get("metadata") or {}, dict):
            raise status.bad_request("the applied configuration is not an object")
        if not body.get("kind") or not body.get("apiVersion"):
            raise status.bad_request("invalid object type: kind and apiVersion must be set")
        record, created = self.objects.apply(target.resource, target.namespace, target.name, body, options)
        return self._show(request, target.resource, record, 201 if created else 200, options.warnings)

    async def _deletion(self, request: web.Request) -> tuple[Preconditions, Options]:
        data = await wire.read(request)
        body = wire.parse(data, wire.media_type(request) or wire.JSON) if data.strip() else {}
        wanted = body.get("preconditions", {}) if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(wanted, dict):
            raise status.unread("json: cannot unmarshal array into Go value of type v1.DeleteOptions")
        dry = bool(body.get("dryRun")) or request.query.get("dryRun") == "All"
        return (
            Preconditions(str(wanted.get("uid") or ""), str(wanted.get("resourceVersion") or "")),
            Options(dry_run=dry),
        )

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        if target.subresource:
            raise status.method_not_allowed()
        resource = target.resource
        preconditions, options = await self._deletion(request)
        record, gone = self.objects.delete(resource, target.namespace, target.name, preconditions, options)
        if not gone:
            return self._show(request, resource, record)
        details = {"name": target.name, "group": resource.group, "kind": resource.plural}
        details["uid"] = record.obj()["metadata"]["uid"]
        shown = {key: value for key, value in details.items() if value}
        return wire.respond({**status.type_meta, "status": "Success", "details": shown})

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        resource = target.resource
        _, options = await self._deletion(request)
        query = read_query(resource, request.query)
        page = list_page(self.objects.store, resource, target.namespace, query)
        deleted = [
            self.objects.delete(resource, record.key[0], record.key[1], None, options)[0] for record in page.records
        ]
        return wire.respond(wire.write_list(resource, deleted, wire.list_meta(self.objects.store.rv, "", None)))


_ONE_NAME = re.compile(r"(?:^|,)metadata\.name==?([^,]+)")


def _asked_for(request: web.Request, target: Target) -> str:
    """Return the name that a right must be for: a list or watch of one name, by a field selector, is of that name.

    As k8s.io/apiserver pkg/endpoints/request/requestinfo.go has it.
    """
    found = _ONE_NAME.search(request.query.get("fieldSelector", "")) if not target.name else None
    return found[1] if found is not None else target.name

"""A Kubernetes API's verbs on any kind; the only module that knows how its URLs are made.

Thin on purpose: no cache, no retry, no idea what an object means. Reads decode into the type that is asked for (only its
fields are built), writes take plain dicts. Every answer but success is an exception of the KubeError family.

A client may be told when it must not write: then every writing verb raises before anything is sent. That is the last door;
who writes asks the same question before it begins.

The one confusing thing: ``patch`` is a JSON merge patch when given a mapping and a JSON patch (RFC 6902) when given a list;
``apply`` is server-side apply, whose body may be JSON although its media type says YAML.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload
from urllib.parse import quote

import msgspec
from yarl import URL

import isthmus
from isthmus.errors import KubeNotFound, KubeWithheld
from isthmus.kube import wire
from isthmus.kube.connection import Connection
from isthmus.kube.decoding import check_list, decoded, decoded_page
from isthmus.kube.hearing import Hearing
from isthmus.kube.kinds import KindRef
from isthmus.kube.transport import Ask, Patience, Transport
from isthmus.kube.watch import WatchStream

__all__ = ["KubeClient"]

T = TypeVar("T")
Object = dict[str, Any]

_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"


class KubeClient:
    """One API, as seen by one credential; use it as ``async with``. Safe for any number of concurrent tasks."""

    def __init__(
        self,
        connection: Connection,
        *,
        user_agent: str = f"isthmus/{isthmus.__version__}",
        patience: Patience | None = None,
        may_write: Callable[[KindRef, str], bool] = lambda kind, name: True,
    ) -> None:
        """``may_write`` is asked with the kind and the name of what is to be written, each time."""
        self.connection = connection
        self.hearing = Hearing(connection.name)
        self._may_write = may_write
        self._base = connection.server.rstrip("/")
        self._patience = patience or Patience()
        self._transport = Transport(connection, user_agent=user_agent, patience=self._patience)

    async def __aenter__(self) -> KubeClient:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    # -- reading

    @overload
    async def get(self, kind: KindRef, name: str, namespace: str | None = None) -> Object: ...
    @overload
    async def get(self, kind: KindRef, name: str, namespace: str | None = None, *, type: type[T]) -> T: ...
    async def get(self, kind: KindRef, name: str, namespace: str | None = None, *, type: Any = dict[str, Any]) -> Any:
        """Return one object. Raises KubeNotFound where there is none."""
        return await self._object(f"get {kind} {name}", self._url(kind, namespace, name), type)

    async def list_pages(
        self,
        kind: KindRef,
        namespace: str | None = None,
        *,
        type: Any = dict[str, Any],
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[wire.Page[Any]]:
        """Yield the pages of one consistent list, current at the time of the first (no stale cache answers).

        The list is complete only after the page whose ``last`` is true. Raises KubeExpired when the list outlived its
        version half-way: what was read so far is not a list. With ``limit`` 0 all comes on one page.
        """
        query = _selectors(label_selector, field_selector) | ({"limit": str(limit)} if limit else {})
        what, url = f"list {kind}", self._url(kind, namespace, everywhere=True)
        while True:
            body = await self._transport.send(Ask(what, "GET", url, query))
            page, more = await decoded_page(body, type, what)
            yield page
            if not more:
                return
            query = query | {"continue": more}

    async def collection_version(
        self, kind: KindRef, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[str, bool]:
        """Return the collection's resourceVersion now, and whether anything is in it. Reads one object's head at most.

        The version is never a stale cache's: without a ``resourceVersion`` the API answers from its store.
        """
        query = _selectors(label_selector, field_selector) | {"limit": "1"}
        ask = Ask(f"list {kind}", "GET", self._url(kind, namespace, everywhere=True), query)
        listing = decoded(await self._transport.send(ask), wire.Listing[msgspec.Raw], ask.what)
        check_list(listing.metadata, ask.what)
        return listing.metadata.resource_version, bool(listing.items or listing.metadata.continue_)

    @asynccontextmanager
    async def watch(
        self,
        kind: KindRef,
        namespace: str | None = None,
        *,
        type: Any = dict[str, Any],
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        initial_events: bool = False,
        timeout_seconds: int = 300,
        read_timeout: float = 90.0,
    ) -> AsyncIterator[WatchStream[Any]]:
        """Open a watch from ``resource_version``; with ``initial_events`` a list streamed first, ended by a bookmark.

        The server ends it after ``timeout_seconds``; a silence of ``read_timeout`` seconds (longer than the minute between
        bookmarks) raises KubeUnreachable. Raises KubeExpired when that version is gone, KubeInvalid where the server does
        not offer ``initial_events``.
        """
        query = _selectors(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_seconds),
        }
        if initial_events:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        if resource_version:
            query["resourceVersion"] = resource_version
        ask = Ask(f"watch {kind}", "GET", self._url(kind, namespace, everywhere=True), query)
        async with self._transport.stream(ask, read_timeout=read_timeout) as response:
            yield WatchStream(response, ask.what, type)

    # -- writing

    async def create(self, kind: KindRef, obj: Mapping[str, Any], *, field_manager: str = "isthmus") -> Object:
        """Create ``obj``. Raises KubeConflict where it exists already."""
        name, namespace = _whose(obj)
        self._ask_leave("create", kind, name)
        query = {"fieldManager": field_manager}
        return await self._write("POST", f"create {kind} {name}", self._url(kind, namespace), obj, query)

    async def replace(
        self, kind: KindRef, obj: Mapping[str, Any], *, subresource: str = "", field_manager: str = "isthmus"
    ) -> Object:
        """Replace an object by ``obj``. Raises KubeConflict where ``obj`` carries an old resourceVersion."""
        name, namespace = _whose(obj)
        self._ask_leave("replace", kind, name)
        url = self._url(kind, namespace, name, subresource)
        query = {"fieldManager": field_manager}
        return await self._write("PUT", f"replace {kind} {name}", url, obj, query)

    async def patch(
        self,
        kind: KindRef,
        name: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        subresource: str = "",
        field_manager: str = "isthmus",
    ) -> Object:
        """Change some fields: a mapping is a merge patch (RFC 7386), a list a JSON patch (RFC 6902)."""
        self._ask_leave("patch", kind, name)
        url = self._url(kind, namespace, name, subresource)
        media = _MERGE if isinstance(patch, Mapping) else _JSON_PATCH
        return await self._write("PATCH", f"patch {kind} {name}", url, patch, {"fieldManager": field_manager}, media)

    async def apply(
        self,
        kind: KindRef,
        obj: Mapping[str, Any],
        *,
        field_manager: str = "isthmus",
        force: bool = False,
        subresource: str = "",
    ) -> Object:
        """Apply ``obj`` server-side: we own the fields in it, and give up those that we applied before and left out now.

        An object that does not exist is made; give ``metadata.uid`` to change that very one or fail.
        Raises KubeConflict where another manager owns a field and ``force`` is false.
        """
        name, namespace = _whose(obj)
        self._ask_leave("apply", kind, name)
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        url = self._url(kind, namespace, name, subresource)
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        return await self._write("PATCH", f"apply {kind} {name}", url, whole, query, _APPLY)

    async def patch_status(
        self,
        kind: KindRef,
        name: str,
        patch: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        field_manager: str = "isthmus",
    ) -> Object:
        """Change some fields of an object's status; as ``patch``."""
        return await self.patch(kind, name, patch, namespace, subresource="status", field_manager=field_manager)

    async def apply_status(
        self, kind: KindRef, obj: Mapping[str, Any], *, field_manager: str = "isthmus", force: bool = False
    ) -> Object:
        """Apply ``obj``'s status server-side; as ``apply``."""
        return await self.apply(kind, obj, field_manager=field_manager, force=force, subresource="status")

    async def delete(
        self, kind: KindRef, name: str, namespace: str | None = None, *, uid: str = "", resource_version: str = ""
    ) -> None:
        """Delete an object; with ``uid`` only that very one, else KubeConflict. Raises KubeNotFound where there is none."""
        self._ask_leave("delete", kind, name)
        conditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {key: value for key, value in conditions.items() if value},
        }
        ask = Ask(
            f"delete {kind} {name}", "DELETE", self._url(kind, namespace, name), body=msgspec.json.encode(options)
        )
        await self._transport.send(ask)

    # -- asking about the API itself

    async def version(self) -> str:
        """Return the API server's version, for example ``v1.31.2``."""
        found = await self._object("get version", URL(f"{self._base}/version", encoded=True))
        return str(found.get("gitVersion", ""))

    def skew(self) -> float | None:
        """Return by how many seconds the API's clock is ahead of ours; none before its first answer."""
        return self._transport.skew()

    async def can_i(self, verb: str, kind: KindRef, namespace: str | None = None, *, subresource: str = "") -> bool:
        """Say whether this credential may do ``verb`` on ``kind``; everywhere if no namespace is given."""
        attributes = {"verb": verb, "group": kind.group, "resource": kind.plural}
        attributes |= {"namespace": namespace} if namespace else {}
        attributes |= {"subresource": subresource} if subresource else {}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        url = URL(f"{self._base}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", encoded=True)
        answer = await self._write("POST", f"ask whether {verb} {kind} is allowed", url, review, {})
        return bool((answer.get("status") or {}).get("allowed"))

    async def discover(self, group: str) -> tuple[KindRef, ...]:
        """Return the kinds of ``group`` (empty: the core group) in its preferred version; none where it is not served."""
        if group:
            try:
                url = URL(f"{self._base}/apis/{_segment(group)}", encoded=True)
                found = await self._object(f"discover {group}", url)
            except KubeNotFound:
                return ()
            version = (found.get("preferredVersion") or {}).get("version", "")
            url = URL(f"{self._base}/apis/{_segment(group)}/{_segment(version)}", encoded=True)
        else:
            version, url = "v1", URL(f"{self._base}/api/v1", encoded=True)
        listing = await self._object(f"discover {group or 'the core group'}", url)
        return tuple(
            KindRef(group, version, entry["name"], bool(entry.get("namespaced")), entry.get("kind", ""))
            for entry in listing.get("resources") or ()
            if "/" not in entry["name"]
        )

    # -- inside

    def _ask_leave(self, verb: str, kind: KindRef, name: str) -> None:
        if not self._may_write(kind, name):
            raise KubeWithheld(f"{verb} {kind} {name}: withheld, another controller may write now")

    def _url(
        self,
        kind: KindRef,
        namespace: str | None,
        name: str | None = None,
        subresource: str = "",
        *,
        everywhere: bool = False,
    ) -> URL:
        parts = ["apis", _segment(kind.group)] if kind.group else ["api"]
        parts.append(_segment(kind.version))
        if kind.namespaced and namespace:
            parts += ["namespaces", _segment(namespace)]
        elif kind.namespaced and not everywhere:
            raise ValueError(f"{kind} live in namespaces, and none is named")
        parts.append(_segment(kind.plural))
        parts += [_segment(part) for part in (name, subresource or None) if part is not None]
        return URL(f"{self._base}/{'/'.join(parts)}", encoded=True)

    async def _write(
        self,
        method: str,
        what: str,
        url: URL,
        body: object,
        query: Mapping[str, str],
        content_type: str = "application/json",
    ) -> Object:
        ask = Ask(what, method, url, query, msgspec.json.encode(body), content_type)
        answer: Object = decoded(await self._transport.send(ask), dict[str, Any], what)
        return answer

    async def _object(self, what: str, url: URL, type: Any = dict[str, Any]) -> Any:
        return decoded(await self._transport.send(Ask(what, "GET", url)), type, what)


def _segment(text: str) -> str:
    """Return ``text`` as one segment of a path. Refuses what a URL would read as another path."""
    if text in ("", ".", "..") or "\0" in text:
        raise ValueError(f"{text!r} cannot be part of a URL")
    return quote(text, safe="")


def _selectors(label: str, field: str) -> dict[str, str]:
    return {key: text for key, text in (("labelSelector", label), ("fieldSelector", field)) if text}


def _whose(obj: Mapping[str, Any]) -> tuple[str, str | None]:
    meta = obj.get("metadata") or {}
    return meta.get("name") or meta.get("generateName") or "", meta.get("namespace")

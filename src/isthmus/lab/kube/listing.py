"""Lists and the start of watches: which records, as of which version, and what is too old or too new to ask for.

Rules of k8s.io/apiserver (pkg/apis/meta/internalversion/validation, pkg/storage/cacher): a continue token is bound to the
version of its first page; ``resourceVersion=0`` ignores ``limit``, as the watch cache does; a watch from a version in the
future waits in silence, which is what a client meets after a restore from backup.
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import msgspec

from isthmus.lab.kube import status
from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.selectors import Selection, parse
from isthmus.lab.kube.status import Cause, forbidden_field
from isthmus.lab.kube.store import Key, Record, Store
from isthmus.lab.kube.watching import Representation, Watcher, frame

_BATCH = 200  # events written at once at the start of a watch


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    return parameters.get(name, "").lower() in ("1", "true")


@dataclass(frozen=True, slots=True)
class Query:
    """A list's or watch's parameters."""

    selection: Selection
    limit: int = 0
    continue_token: str = ""
    version: str = ""
    match: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout: float = 0.0


def read_query(resource: Resource, parameters: Mapping[str, str]) -> Query:
    """Return the parsed parameters; raise 400."""
    selection = parse(parameters.get("labelSelector", ""), parameters.get("fieldSelector", ""), resource.fields)
    initial = parameters.get("sendInitialEvents", "")
    try:
        return Query(
            selection=selection,
            limit=int(parameters.get("limit") or 0),
            continue_token=parameters.get("continue", ""),
            version=parameters.get("resourceVersion", ""),
            match=parameters.get("resourceVersionMatch", ""),
            watch=_flag(parameters, "watch"),
            bookmarks=_flag(parameters, "allowWatchBookmarks"),
            initial_events=_flag(parameters, "sendInitialEvents") if initial else None,
            timeout=float(parameters.get("timeoutSeconds") or 0),
        )
    except ValueError as error:
        raise status.bad_request(f"cannot read the query: {error}") from error


def _number(version: str) -> int:
    if not version.isdecimal():
        why = f'strconv.ParseUint: parsing "{version}": invalid syntax'
        raise status.unread(str(status.bad("resourceVersion", version, why)))
    return int(version)


def _check(query: Query, *, streaming: bool) -> None:
    causes: list[Cause] = []
    where = "watch" if query.watch else "list"
    if query.watch and query.match and query.initial_events is None:
        detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        causes.append(forbidden_field("resourceVersionMatch", detail))
    if not query.watch and query.match:
        if not query.version:
            detail = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(forbidden_field("resourceVersionMatch", detail))
        elif query.match not in ("Exact", "NotOlderThan"):
            causes.append(status.unsupported("resourceVersionMatch", query.match, ("Exact", "NotOlderThan", "")))
        elif query.match == "Exact" and query.version == "0":
            detail = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            causes.append(forbidden_field("resourceVersionMatch", detail))
    if query.initial_events is not None:
        if where == "list":
            causes.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        elif not streaming:
            detail = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            causes.append(forbidden_field("sendInitialEvents", detail))
        elif query.match != "NotOlderThan":
            detail = 'sendInitialEvents requires setting resourceVersionMatch to "NotOlderThan"'
            causes.append(forbidden_field("resourceVersionMatch", detail))
    if causes:
        raise status.invalid_kind("meta.k8s.io", "ListOptions", "", causes)


@dataclass(frozen=True, slots=True)
class Page:
    """What a list answers with."""

    records: list[Record]
    rv: int
    continue_token: str = ""
    remaining: int | None = None


def _write_token(rv: int, last: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": rv, "start": last})).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        said = msgspec.json.decode(base64.urlsafe_b64decode(token.encode()))
        return int(said["rv"]), (str(said["start"][0]), str(said["start"][1]))
    except (binascii.Error, msgspec.DecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise status.bad_request("continue key is not valid: encoded key is malformed") from error


def list_page(store: Store, resource: Resource, namespace: str, query: Query) -> Page:
    """Return the records that a list asks for; raise 400, 410, 422 or 504 for a version that cannot be had."""
    _check(query, streaming=True)
    bucket = store.bucket(resource.bucket)
    limit, after = query.limit, None
    if query.continue_token:
        if query.version not in ("", "0"):
            raise status.bad_request("specifying resource version is not allowed when using continue")
        rv, after = _read_token(query.continue_token)
        if rv < 0:  # the client goes on after a 410, and accepts that the rest is of another version
            rv = store.rv
        if rv < bucket.floor or rv > store.rv:
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results. Continuing with the provided token results in an inconsistent list - "
                "objects that were created, modified, or deleted between the time the first chunk was returned and "
                "now may show up in the list.",
                _write_token(-1, after),
            )
        records = bucket.ordered_at(rv, namespace)
    else:
        rv = _number(query.version) if query.version else 0
        if rv > store.rv:
            raise status.too_large_version(rv, store.rv)
        if query.match == "Exact":
            if rv < bucket.floor:
                raise status.expired(f"The resourceVersion for the provided list is too old: {rv}")
            records = bucket.ordered_at(rv, namespace)
        else:
            if query.version == "0":
                limit = 0
            rv = store.rv
            records = bucket.ordered(namespace)
    if after is not None:
        records = records[bisect_right(records, after, key=lambda record: record.key) :]
    everything = query.selection.everything
    if not everything:
        records = [record for record in records if query.selection.matches(record)]
    if not limit or len(records) <= limit:
        return Page(records, rv)
    page = records[:limit]
    # As the real server, which would have to read on to count what a selector leaves.
    remaining = len(records) - limit if everything else None
    return Page(page, rv, _write_token(rv, page[-1].key), remaining)


@dataclass(frozen=True, slots=True)
class Start:
    """A watch about to begin: what to write first, and what follows."""

    watcher: Watcher
    opening: Iterator[bytes]
    initial_end: int = 0  # the version that the opening is of, where its end is to be marked


def _added(records: list[Record], representation: Representation) -> Iterator[bytes]:
    left = iter(records)
    while batch := list(islice(left, _BATCH)):
        yield b"".join(frame("ADDED", representation.write(record)) for record in batch)


def start_watch(
    store: Store, resource: Resource, namespace: str, query: Query, representation: Representation, *, streaming: bool
) -> Start:
    """Return a watcher that is told of everything from now on; raise 410, 422 or 504."""
    _check(query, streaming=streaming)
    bucket = store.bucket(resource.bucket)
    rv = _number(query.version) if query.version else 0
    limit = max(20_000, 2 * store.history)
    watcher = Watcher(representation, namespace=namespace, selection=query.selection, limit=limit)
    from_state = query.initial_events if query.initial_events is not None else rv == 0
    if from_state:
        if rv > store.rv:
            raise status.too_large_version(rv, store.rv)
        records = [record for record in bucket.ordered(namespace) if query.selection.matches(record)]
        watcher.after = store.rv
        bucket.watchers.add(watcher)
        marked = bool(query.initial_events) and query.bookmarks
        return Start(watcher, _added(records, representation), store.rv if marked else 0)
    rv = rv or store.rv
    if rv < bucket.floor:
        raise status.expired(f"too old resource version: {rv} ({bucket.floor})")
    watcher.after = rv
    for change in bucket.since(rv):
        watcher.offer(change)
    bucket.watchers.add(watcher)
    return Start(watcher, iter(()))

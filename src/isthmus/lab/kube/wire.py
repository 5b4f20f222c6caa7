"""Bytes in, bytes out: reading request bodies, choosing how to answer, writing lists and events.

It knows media types and envelopes, not what the objects mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import yaml
from aiohttp import web

from isthmus.lab.kube import protobuf, status
from isthmus.lab.kube.kinds import Resource
from isthmus.lab.kube.objects import JsonForm
from isthmus.lab.kube.status import ApiError
from isthmus.lab.kube.store import Record

Json = dict[str, Any]

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"  # of a few kinds, and only inwards
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

BODY_MAX = 3 * 1024 * 1024  # what kube-apiserver reads at most


class _Loader(yaml.SafeLoader):
    """YAML without dates: an unquoted timestamp is a string to Kubernetes."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def media_type(request: web.Request) -> str:
    """Return the content type of the body, without parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def parse(data: bytes, kind: str) -> Any:
    """Return what a body of media type ``kind`` holds; raise 400 when it cannot be read."""
    try:
        if kind == PROTOBUF:
            return protobuf.decode(data)
        if kind in (YAML, APPLY_PATCH) and not data.lstrip().startswith(b"{"):
            return yaml.load(data, Loader=_Loader)
        return msgspec.json.decode(data)
    except protobuf.Unreadable as error:
        raise status.unsupported_media((JSON, YAML, f"{PROTOBUF} for a few kinds ({error})")) from error
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"error decoding the request body: {str(error)[:200]}") from error


async def read(request: web.Request) -> bytes:
    """Return the body of a request; raise 413 when it is larger than the real server takes."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        message = f"Request entity too large: limit is {BODY_MAX}"
        raise ApiError(413, "RequestEntityTooLarge", message) from error


async def read_object(request: web.Request) -> Json:
    """Return the object of a create or update; raise 415 for a media type that is not read, 400 for no object."""
    kind = media_type(request) or JSON
    if kind not in (JSON, YAML, PROTOBUF):
        raise status.unsupported_media((JSON, YAML, PROTOBUF))
    body = parse(await read(request), kind)
    if not isinstance(body, dict):
        raise status.bad_request("the request body is not an object")
    metadata = body.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise status.bad_request("metadata is not an object")
    return body


def form(request: web.Request) -> str:
    """Return ``json``, ``table`` or ``metadata``, the first that the client accepts and that we write; raise 406."""
    accept = request.headers.get("Accept", "") or "*/*"
    for offer in accept.split(","):
        kind, *parameters = (part.strip() for part in offer.split(";"))
        wanted = dict(part.split("=", 1) for part in parameters if "=" in part)
        if kind not in (JSON, "application/*", "*/*"):
            continue
        if "as" not in wanted:
            return "json"
        if wanted.get("g") == "meta.k8s.io" and wanted.get("v") == "v1":
            if wanted["as"] == "Table":
                return "table"
            if wanted["as"] in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return "metadata"
    raise status.not_acceptable()


def respond(body: bytes | Json, code: int = 200, warnings: Sequence[str] = (), media: str = JSON) -> web.Response:
    """Return an answer; ``warnings`` become Warning headers as kubectl shows them."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    response = web.Response(body=data, status=code, headers={"Content-Type": media})
    response.headers["Cache-Control"] = "no-cache, private"
    for warning in warnings:
        # RFC 7234 warn-text is a quoted string; json.dumps quotes it and keeps it ASCII.
        response.headers.add("Warning", f"299 - {json.dumps(warning)}")
    return response


def respond_error(error: ApiError) -> web.Response:
    """Return an error's Status, or the text of one that has none."""
    if error.plain:
        return web.Response(text=f"{error.message}\n", status=error.status)
    response = respond(error.body(), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def list_meta(rv: int, continue_token: str, remaining: int | None) -> Json:
    """Return the metadata of a list."""
    meta: Json = {"resourceVersion": str(rv)}
    if continue_token:
        meta["continue"] = continue_token
        if remaining is not None:
            meta["remainingItemCount"] = remaining
    return meta


def write_list(resource: Resource, records: Iterable[Record], meta: Json) -> bytes:
    """Return a list; as on the real server, items of built-in kinds come without kind and apiVersion."""
    form = JsonForm(resource)
    write = form.write if resource.custom else form.bare
    head = {"kind": resource.listing, "apiVersion": resource.api_version, "metadata": meta}
    return msgspec.json.encode(head)[:-1] + b',"items":[' + b",".join(map(write, records)) + b"]}"


class MetadataForm:
    """Write records as PartialObjectMetadata: names and labels without contents."""

    key: object = "PartialObjectMetadata"

    def write(self, record: Record) -> bytes:
        """Return the object's metadata alone."""
        return msgspec.json.encode(
            {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": record.obj()["metadata"],
            }
        )


def write_metadata_list(records: Iterable[Record], meta: Json) -> bytes:
    """Return a PartialObjectMetadataList."""
    head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    return msgspec.json.encode(head)[:-1] + b',"items":[' + b",".join(map(MetadataForm().write, records)) + b"]}"

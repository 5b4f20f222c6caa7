"""Answers about the server itself: discovery, OpenAPI, version. No object is touched here."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from isthmus.lab.kube import discovery, openapi, status, wire
from isthmus.lab.kube.kinds import Kinds

Json = dict[str, Any]


def is_catalogue(parts: list[str]) -> bool:
    """Return whether a path (in parts) asks about the server rather than for objects."""
    return parts[0] not in ("api", "apis") or len(parts) <= (2 if parts[0] == "api" else 3)


def _wants_aggregated(request: web.Request) -> bool:
    for offer in request.headers.get("Accept", "").split(","):
        wanted = {part.strip() for part in offer.split(";")}
        if {"g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"} <= wanted:
            return True
    return False


def answer(kinds: Kinds, request: web.Request, parts: list[str]) -> web.Response:
    """Return the document that a path asks for; raise 404 for an unknown one, 405 for anything but reading."""
    if request.method not in ("GET", "HEAD"):
        raise status.method_not_allowed()
    found: Json | None = None
    match parts:
        case ["api" | "apis"] if _wants_aggregated(request):
            document = discovery.aggregated(kinds, core=parts[0] == "api")
            return wire.respond(document, media=discovery.AGGREGATED)
        case ["version"]:
            found = discovery.VERSION
        case ["api"]:
            found = discovery.core_versions(request.host)
        case ["api", version]:
            found = discovery.resource_list(kinds, "", version)
        case ["apis"]:
            found = discovery.group_list(kinds)
        case ["apis", group]:
            found = discovery.group(kinds, group)
        case ["apis", group, version]:
            found = discovery.resource_list(kinds, group, version)
        case ["openapi", "v2"]:
            if "protobuf" in request.headers.get("Accept", ""):
                return web.Response(body=b"", headers={"Content-Type": openapi.V2_PROTOBUF})
            found = openapi.V2
        case ["openapi", "v3"]:
            found = openapi.index(kinds)
        case ["openapi", "v3", "api", version]:
            found = openapi.document(kinds, "", version)
        case ["openapi", "v3", "apis", group, version]:
            found = openapi.document(kinds, group, version)
        case [""]:
            found = {
                "paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            }
    if found is None:
        raise status.no_such_page()
    return wire.respond(found)

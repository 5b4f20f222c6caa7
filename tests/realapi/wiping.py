"""Bring a shared API server back to the state it started in, between two tests.

Everything that tests make is deleted, finalizers notwithstanding, but for definitions: after a new one the server holds
its first object back for two seconds, so they stay and only their objects go. The confusing thing: there is no namespace
controller, so a namespace is emptied here, and goes by an empty list of finalizers sent to ``/finalize``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

Json = dict[str, Any]

FIRST_NAMESPACES = frozenset(("default", "kube-node-lease", "kube-public", "kube-system"))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# Everything else of the built-in kinds is the server's own, or made by no test.
_OURS = "?labelSelector=app.kubernetes.io/part-of=isthmus"
CLUSTER_WIDE = (
    "/api/v1/nodes",
    f"/apis/rbac.authorization.k8s.io/v1/clusterroles{_OURS}",
    f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings{_OURS}",
)
NAMESPACED = (
    "/api/v1/{}services",
    "/api/v1/{}configmaps",
    "/api/v1/{}secrets",
    "/api/v1/{}pods",
    "/api/v1/{}serviceaccounts",
    "/apis/discovery.k8s.io/v1/{}endpointslices",
    "/apis/coordination.k8s.io/v1/{}leases",
    "/apis/events.k8s.io/v1/{}events",
    "/apis/apps/v1/{}daemonsets",
    "/apis/apps/v1/{}deployments",
    "/apis/policy/v1/{}poddisruptionbudgets",
    f"/apis/rbac.authorization.k8s.io/v1/{{}}roles{_OURS}",
    f"/apis/rbac.authorization.k8s.io/v1/{{}}rolebindings{_OURS}",
)
_OWN = frozenset((("default", "kubernetes"), ("kube-system", "extension-apiserver-authentication")))


async def wipe(session: aiohttp.ClientSession) -> None:
    """Delete what tests have made."""
    await asyncio.gather(*(_empty(session, path) for path in CLUSTER_WIDE))
    await asyncio.gather(*(_empty(session, path.format("")) for path in NAMESPACED))
    for definition in await _items(session, CRDS):
        spec = definition["spec"]
        version = next(one["name"] for one in spec["versions"] if one["storage"])
        where = "{}" if spec["scope"] == "Namespaced" else ""
        await _empty(session, f"/apis/{spec['group']}/{version}/{where}{spec['names']['plural']}".format(""))
    for space in await _items(session, "/api/v1/namespaces"):
        if (name := space["metadata"]["name"]) not in FIRST_NAMESPACES:
            await session.delete(f"/api/v1/namespaces/{name}")
            body = {"metadata": {"name": name}, "spec": {"finalizers": []}}
            await session.put(f"/api/v1/namespaces/{name}/finalize", json=body)


async def _items(session: aiohttp.ClientSession, path: str) -> list[Json]:
    async with session.get(path) as answer:
        if answer.status != 200:  # a definition that is on its way out
            return []
        found: list[Json] = (await answer.json())["items"]
        return found


async def _empty(session: aiohttp.ClientSession, path: str) -> None:
    """Delete every object of a collection."""
    for item in await _items(session, path):
        meta = item["metadata"]
        space = meta.get("namespace", "")
        if (space, meta["name"]) in _OWN or "apiserver" in meta["name"]:
            continue
        path = path.partition("?")[0]
        head, _, plural = path.rpartition("/")
        one = f"{head}/namespaces/{space}/{plural}/{meta['name']}" if space else f"{path}/{meta['name']}"
        if meta.get("finalizers"):
            await session.patch(
                one,
                data='{"metadata":{"finalizers":null}}',
                headers={"Content-Type": "application/merge-patch+json"},
            )
        await session.delete(one, json={"gracePeriodSeconds": 0})

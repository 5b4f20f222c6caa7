"""The same client and informer against the lab's API server: TLS, tokens, validation, real conflicts, real expiry.

The stub is there to be broken by hand; this one was written by somebody else from the API's reference, so what both agree on
is worth more. Streamed lists and paged ones are both tried.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import KubeForbidden, KubeUnauthorized
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection
from isthmus.kube.identity import cluster_uid
from isthmus.kube.kinds import NODES
from isthmus.kube.kubeconfig import load
from isthmus.kube.transport import Patience

from .conftest import FAST, Watched
from .stub import eventually

lab = pytest.importorskip("isthmus.lab.kube")
Start = Callable[..., Watched]


@dataclass
class Lab:
    api: Any
    client: KubeClient
    endpoint: Any

    def node(self, name: str, **spec: Any) -> None:
        self.api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec})


@pytest.fixture(params=[True, False], ids=["streamed", "paged"])
async def real(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    server = lab.KubeApi(streaming_lists=request.param, bookmark_every=0.2)
    async with server.serving(host="127.0.0.1", port=0) as endpoint:
        connection = load(Path(endpoint.kubeconfig_path))
        async with KubeClient(connection, patience=Patience(connect=1.0, request=2.0, headers=0.5)) as client:
            yield Lab(server, client, endpoint)


async def test_follows_through_everything(real: Lab, watching: Start) -> None:
    """Lists, follows, resumes after closes and resets, lists again after a compaction, and notices what went."""
    for number in range(5):
        real.node(f"n{number}", podCIDR=f"10.244.{number}.0/24")
    watched = watching(via=real.client, identity=lambda: cluster_uid(real.client))
    await eventually(watched.informer.synced.is_set)
    assert watched.names == {"n0", "n1", "n2", "n3", "n4"}
    for abrupt in (False, True):
        await eventually(lambda: real.api.watches("nodes"))
        real.api.close_watches("nodes", abrupt=abrupt)
        real.node(f"after-{abrupt}".lower())
        await eventually(lambda abrupt=abrupt: f"after-{abrupt}".lower() in watched.names)
    for as_http in (True, False):
        await eventually(lambda: real.api.watches("nodes"))
        real.api.faults.expired_as_http = as_http
        real.api.faults.fail_next(3, status=500, verb="watch", resource="nodes")
        real.api.close_watches("nodes")
        gone = sorted(watched.names)[0]
        real.api.delete("nodes", gone)
        real.api.compact()
        await eventually(lambda gone=gone: gone not in watched.names)
    assert watched.informer.suspect is None


async def test_a_frozen_watch_is_found_out(real: Lab, watching: Start) -> None:
    """A half-open watch is dropped once the API shows newer events elsewhere; a quiet one is kept."""
    real.node("old")
    watched = watching(via=real.client)
    await eventually(lambda: real.api.watches("nodes"))
    real.api.freeze_watches("nodes")
    real.node("unseen")
    await eventually(lambda: "unseen" in watched.names)


async def test_a_restored_backup(real: Lab, watching: Start) -> None:
    """An etcd snapshot that knows less deletes nothing."""
    real.node("old")
    backup = real.api.backup()
    real.node("young")
    watched = watching(via=real.client, identity=lambda: cluster_uid(real.client))
    await eventually(lambda: len(watched.names) == 2 and real.api.watches("nodes"))
    real.api.restore(backup)
    await eventually(lambda: watched.informer.suspect)
    assert watched.names == {"old", "young"}


async def test_an_emptied_list(real: Lab, watching: Start) -> None:
    """An API that answers with nothing, and success, takes nothing."""
    real.node("old")
    watched = watching(via=real.client)
    await eventually(lambda: real.api.watches("nodes"))
    watched.informer._streams = False
    real.api.faults.empty_lists("nodes", 1)
    real.node("touch")
    await eventually(lambda: "touch" in watched.names)
    watched.informer._must_list = True
    real.api.close_watches("nodes")
    await eventually(lambda: watched.doubts)
    assert {"old", "touch"} <= watched.names
    await eventually(lambda: watched.informer.suspect is None)
    assert watched.names == {"old", "touch"}


async def test_a_first_list_that_is_empty_is_asked_about_again(real: Lab, watching: Start) -> None:
    """A process that has just started knows of nothing that could be missing, so it asks twice before it believes that."""
    real.node("old")
    real.api.faults.empty_lists("nodes", 1)
    watched = watching(via=real.client)
    await watched.informer.synced.wait()
    assert watched.names == {"old"}


async def test_an_empty_first_list_does_not_last(real: Lab, watching: Start) -> None:
    """Where both answers were wrong, the look beside a silent watch shows it."""
    real.node("old")
    real.api.faults.empty_lists("nodes", 2)
    watched = watching(via=real.client)
    await watched.informer.synced.wait()
    await eventually(lambda: watched.names == {"old"})


async def test_the_first_object_after_an_empty_start_has_the_rest_listed(real: Lab, watching: Start) -> None:
    """What a start missed does not stay missed because something else appears."""
    real.node("old")
    real.api.faults.empty_lists("nodes", 2)
    watched = watching(via=real.client, timing=dataclasses.replace(FAST, idle_check=60.0))
    await watched.informer.synced.wait()
    assert not watched.names
    await eventually(lambda: real.api.watches("nodes"))
    real.node("young")
    await eventually(lambda: watched.names == {"old", "young"})


async def test_permissions(real: Lab, watching: Start) -> None:
    """A denied kind is failing with its reason and heals; permissions can be asked for; a wrong token is a 401."""
    assert await real.client.can_i("list", NODES)
    real.api.faults.deny("admin", resource="nodes")
    assert not await real.client.can_i("list", NODES)
    watched = watching(via=real.client)
    await eventually(lambda: watched.informer.failing)
    assert "403" in (watched.informer.failing or "")
    with pytest.raises(KubeForbidden):
        await real.client.get(NODES, "n1")
    real.api.faults.allow("admin", resource="nodes")
    await eventually(watched.informer.synced.is_set)
    wrong = Connection(server=real.endpoint.url, ca_file=real.endpoint.ca_path, token="wrong")
    async with KubeClient(wrong) as client:
        with pytest.raises(KubeUnauthorized):
            await client.get(NODES, "n1")

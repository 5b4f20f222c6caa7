"""The whole server: its parts put together, its life, and the shortcuts that tests use.

A test talks to it over HTTP as any client does, or reaches in: ``put``, ``get`` and ``delete`` go the same way through
defaults and validation as requests do, without being counted as requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from isthmus.errors import LabError
from isthmus.lab.kube import crd, status
from isthmus.lab.kube.access import Access
from isthmus.lab.kube.admin import Admin
from isthmus.lab.kube.certificates import make_identity, write_private
from isthmus.lab.kube.corekinds import core_rules
from isthmus.lab.kube.faults import Faults
from isthmus.lab.kube.http import Front
from isthmus.lab.kube.kinds import Kinds, Resource
from isthmus.lab.kube.lifecycle import Lifecycle
from isthmus.lab.kube.nodes import NodeRule, PodCIDRs
from isthmus.lab.kube.objects import Objects, Options
from isthmus.lab.kube.selectors import parse
from isthmus.lab.kube.services import ServiceRule
from isthmus.lab.kube.store import Backup, Store

Json = dict[str, Any]

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_REACH_IN = Options(manager="lab", validation="Ignore")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running server is, and what a client needs to talk to it."""

    url: str
    ca_path: Path | None  # None without TLS
    kubeconfig_path: Path
    token: str
    host: str
    port: int
    admin_url: str = ""  # empty without administration


class KubeApi:
    """One small Kubernetes API server."""

    def __init__(
        self,
        *,
        service_cidrs: tuple[str, ...] = ("10.96.0.0/16",),
        cluster_cidrs: tuple[str, ...] = (),
        node_masks: tuple[int, int] = (24, 64),
        tls: bool = True,
        tokens: dict[str, str] | None = None,
        history: int = 10_000,
        streaming_lists: bool = True,
        bookmark_every: float = 60.0,
    ) -> None:
        """Make a server that holds the four first namespaces.

        ``cluster_cidrs`` switches the allocator of node pod CIDRs on, with ``node_masks`` (IPv4, IPv6) as their sizes.
        ``tokens`` maps bearer tokens to users; ``history`` is how many events of each resource a watch can go back;
        ``bookmark_every`` is in seconds.
        """
        services = ServiceRule(service_cidrs)
        self._tls = tls
        self.store = Store(history)
        self.faults = Faults()
        rules = core_rules() | {"services": services, "nodes": NodeRule(), crd.BUCKET: crd.DefinitionRule()}
        self.kinds = Kinds(rules)
        self.objects = Objects(self.store, self.kinds)
        self.access = Access({"admin-token": "admin"} if tokens is None else tokens, self.faults)
        self._front = Front(
            self.objects, self.access, self.faults, streaming=streaming_lists, bookmark_every=bookmark_every
        )
        self._lifecycle = Lifecycle(self.objects, services, PodCIDRs(cluster_cidrs, node_masks))
        for name in FIRST_NAMESPACES:
            self.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}})

    def resource(self, word: str) -> Resource:
        """Return the resource called ``word`` (kind, plural or plural.group); raise 404."""
        found = self.kinds.named(word)
        if found is None:
            raise status.no_such_path()
        return found

    def put(self, obj: Json) -> Json:
        """Create the object, or replace it and its status, and return it as stored.

        Pod CIDRs that a node has been given stay when ``obj`` names none: no update may take them away.
        """
        resource = self.kinds.of_object(obj.get("apiVersion", ""), obj.get("kind", ""))
        if resource is None:
            raise status.no_such_path()
        meta = dict(obj.get("metadata") or {})
        namespace = (meta.get("namespace") or "default") if resource.namespaced else ""
        name = meta.get("name", "")
        fresh: Json = msgspec.json.decode(msgspec.json.encode(obj))  # ours to change
        body = {**fresh, "metadata": {**fresh.get("metadata", {}), "resourceVersion": None}}
        current = self.store.get(resource.bucket, (namespace, name))
        if current is None:
            name = self.objects.create(resource, namespace, body, _REACH_IN).key[1]
        else:
            body["metadata"]["resourceVersion"] = str(current.rv)
            if resource.bucket == "nodes":
                body["spec"] = _with_pod_cidrs(body.get("spec") or {}, current.obj().get("spec") or {})
            self.objects.update(resource, namespace, name, body, _REACH_IN)
        if resource.status and "status" in obj:
            shown = self.objects.show(resource, self.objects.get(resource, namespace, name))
            body = {**shown, "status": fresh["status"]}
            self.objects.update(resource, namespace, name, body, replace(_REACH_IN, subresource="status"))
        return self.objects.show(resource, self.objects.get(resource, namespace, name))

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        """Return one object; ``namespace`` is ``default`` for namespaced kinds when left out. Raises 404."""
        resource = self.resource(kind)
        space = (namespace or "default") if resource.namespaced else ""
        return self.objects.show(resource, self.objects.get(resource, space, name))

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Json]:
        """Return the objects of a kind, of all namespaces unless one is named, that a label selector selects."""
        resource = self.resource(kind)
        selection = parse(selector, "")
        records = self.store.bucket(resource.bucket).ordered(namespace)
        return [self.objects.show(resource, record) for record in records if selection.matches(record)]

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete one object; finalizers keep it, as they do over HTTP. Raises 404."""
        resource = self.resource(kind)
        space = (namespace or "default") if resource.namespaced else ""
        self.objects.delete(resource, space, name)

    def compact(self) -> None:
        """Forget all past: every resourceVersion and continue token but today's is answered with 410."""
        self.store.compact()

    def backup(self) -> Backup:
        """Return everything stored, for ``restore``."""
        return self.store.backup()

    def restore(self, backup: Backup) -> None:
        """Go back to ``backup`` as from an etcd snapshot: objects and resourceVersions go back, watches end."""
        self.store.restore(backup)
        self._lifecycle.rebuild()

    def close_watches(self, kind: str = "", *, abrupt: bool = False) -> int:
        """End the open watches (of one kind) and return how many; ``abrupt`` resets their connections."""
        watchers = self.store.watchers(self.resource(kind).bucket if kind else "")
        for watcher in watchers:
            watcher.close(abrupt=abrupt)
        return len(watchers)

    def freeze_watches(self, kind: str = "", *, new: bool = False) -> int:
        """Make the open watches half-open: connected and silent; ``new`` does the same to those that start later."""
        watchers = self.store.watchers(self.resource(kind).bucket if kind else "")
        for watcher in watchers:
            watcher.freeze()
        self.faults.freeze_new = new
        return len(watchers)

    def thaw_watches(self) -> None:
        """Let frozen watches go on with what has waited."""
        self.faults.freeze_new = False
        for watcher in self.store.watchers():
            watcher.freeze(False)

    def watches(self, kind: str = "") -> int:
        """Return how many watches are open."""
        return len(self.store.watchers(self.resource(kind).bucket if kind else ""))

    @contextlib.asynccontextmanager
    async def serving(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        directory: Path | None = None,
        names: tuple[str, ...] = (),
        admin: bool = False,
    ) -> AsyncIterator[Endpoint]:
        """Listen while the block runs; certificates and kubeconfig lie in a new directory (below ``directory``).

        ``names`` are further addresses and names that the certificate is to be good for; ``admin`` opens a second port
        on loopback through which another process can make things go wrong. Raises LabError when the address cannot be
        listened on.
        """
        with tempfile.TemporaryDirectory(prefix="isthmus-kube-", dir=directory) as made:
            place = Path(made)
            context = None
            if self._tls:
                hosts = ("127.0.0.1", "::1", "localhost", "kubernetes.default.svc", host, *names)
                context = (await asyncio.to_thread(make_identity, place, hosts)).server_context()
            async with contextlib.AsyncExitStack() as stack:
                # Cancelling a handler when its client goes is what ends a quiet watch.
                runner = web.AppRunner(
                    self._front.app(), handler_cancellation=True, access_log=None, shutdown_timeout=5.0
                )
                real = await _listen(stack, runner, host, port, context)
                endpoint = self._endpoint(place, host, real)
                if admin:
                    runner = web.AppRunner(Admin(self).app(), access_log=None, shutdown_timeout=5.0)
                    real = await _listen(stack, runner, "127.0.0.1", 0, None)
                    endpoint = replace(endpoint, admin_url=f"http://127.0.0.1:{real}")
                stack.callback(self.close_watches)  # before the runners wait for their handlers
                yield endpoint

    def _endpoint(self, place: Path, host: str, port: int) -> Endpoint:
        reach = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        shown = f"[{reach}]" if ":" in reach else reach
        url = f"{'https' if self._tls else 'http'}://{shown}:{port}"
        token = next(iter(self.access.tokens), "")
        ca = place / "ca.crt" if self._tls else None
        cluster: Json = {"server": url}
        if ca is not None:
            cluster["certificate-authority"] = str(ca)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            "current-context": "lab",
        }
        path = place / "kubeconfig"
        write_private(path, json.dumps(config, indent=2).encode())  # JSON is YAML
        return Endpoint(url, ca, path, token, host, port)


def _with_pod_cidrs(spec: Json, before: Json) -> Json:
    if "podCIDR" in spec or "podCIDRs" in spec:
        return spec
    return {**spec, **{name: before[name] for name in ("podCIDR", "podCIDRs") if name in before}}


async def _listen(
    stack: contextlib.AsyncExitStack,
    runner: web.AppRunner,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
) -> int:
    """Start ``runner`` on an address until ``stack`` unwinds, and return the port; raise LabError."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
    except OSError as error:
        raise LabError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return int(runner.addresses[0][1])


async def serve(
    port: int, host: str, ready: Callable[[Path], None], *, stop: asyncio.Event | None = None, **options: Any
) -> None:
    """Serve until ``stop``, or until cancelled; ``ready`` is told where the kubeconfig is. ``options`` as of KubeApi."""
    async with KubeApi(**options).serving(host, port) as endpoint:
        ready(endpoint.kubeconfig_path)
        await (stop or asyncio.Event()).wait()


def run_kube_api(port: int, host: str, ready: Callable[[Path], None], **options: Any) -> None:
    """Serve until SIGTERM or SIGINT, then leave nothing behind; see ``serve``."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(port, host, ready, stop=stop, **options)

    asyncio.run(run())

"""From what a user wrote about a cluster to a client of its API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from isthmus.errors import InputError
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection, in_cluster
from isthmus.kube.kinds import KindRef
from isthmus.kube.kubeconfig import load
from isthmus.model.kinds import KubeCluster


def connection(cluster: KubeCluster) -> Connection:
    """Return how to reach the cluster's API; raise ``InputError`` with the place in its kubeconfig if that is wrong."""
    spec = cluster.spec
    if spec.in_cluster:
        return in_cluster(name=cluster.name)
    if spec.kubeconfig is not None:
        # In logs a cluster is called what its user called it, not what its kubeconfig does.
        return replace(load(Path(spec.kubeconfig.path), spec.kubeconfig.context), name=cluster.name)
    server = spec.server
    if server is None:
        raise InputError(
            f"KubeCluster {cluster.name}", "says no way to reach it", "write kubeconfig, server or inCluster"
        )
    return Connection(
        server=server.url,
        name=cluster.name,
        ca_file=Path(server.ca_file) if server.ca_file else None,
        ca_data=server.ca,
        token_file=Path(server.token_file) if server.token_file else None,
        client_certificate=Path(server.client_certificate_file) if server.client_certificate_file else None,
        client_key=Path(server.client_key_file) if server.client_key_file else None,
        tls_server_name=server.tls_server_name,
        proxy_url=server.proxy_url,
    )


def client(cluster: KubeCluster, may_write: Callable[[KindRef, str], bool] = lambda kind, name: True) -> KubeClient:
    """Return a client of the cluster's API, not connected yet; ``may_write`` as :class:`KubeClient` asks it."""
    return KubeClient(connection(cluster), may_write=may_write)

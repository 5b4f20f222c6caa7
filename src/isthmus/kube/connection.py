"""How to reach one Kubernetes API, as a frozen value: address, trust, and who we say we are.

Built from a kubeconfig (``kubeconfig.load``), from a pod's own service account (``in_cluster``) or from its parts. It
holds what was written, opens nothing and reads no file; ``credentials`` and ``tls`` do that when a request is made, because
files rotate. Three things are refused outright: unverified TLS, a credential over plain HTTP to another host, and proxies
that are not HTTP ones.

The one confusing thing: a credential may stand here as data *and* as a file; data wins, except for tokens, where the file
wins because it is the one that is renewed (client-go does the same).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from isthmus.errors import InputError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVICE_ACCOUNT_VARIABLE = "ISTHMUS_SERVICE_ACCOUNT"
"""Environment variable with another directory for the same: a pod may mount a token of its own making (projected volumes)."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A command that prints a credential (``client.authentication.k8s.io``), and how to call it.

    ``environment`` is added to ours; ``cluster`` is told to the plugin if ``provide_cluster_info`` asks for it; ``config``
    is the cluster's extension of the same name, which some plugins read.
    """

    command: str
    args: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    api_version: str = "client.authentication.k8s.io/v1"
    provide_cluster_info: bool = False
    install_hint: str = ""
    config: Any = field(default=None, repr=False, hash=False)
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one API. ``name`` is for people; certificates and keys given as data are PEM text.

    Raises InputError, naming the field, for a combination that cannot work or must not be used.
    """

    server: str
    name: str = ""
    namespace: str = "default"
    ca_data: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_certificate_data: str | None = field(default=None, repr=False)
    client_certificate: Path | None = None
    client_key_data: str | None = field(default=None, repr=False)
    client_key: Path | None = None
    exec: ExecPlugin | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        place = self.name or "connection"
        try:
            url = urlsplit(self.server)
            host, _ = url.hostname, url.port
        except ValueError as error:
            raise InputError(f"{place}: server", f"is not a URL: {error}") from error
        if url.scheme not in ("https", "http") or not host:
            raise InputError(
                f"{place}: server", "is not an https:// URL with a host", "for example https://203.0.113.5:6443"
            )
        if url.username or url.password or url.query or url.fragment:
            raise InputError(f"{place}: server", "holds more than a host, a port and a path")
        if url.scheme == "http" and self.has_credential and not _is_loopback(host):
            raise InputError(
                f"{place}: server", "is plain http, which would send the credential in clear", "use https://"
            )
        if bool(self.client_certificate_data or self.client_certificate) != bool(
            self.client_key_data or self.client_key
        ):
            raise InputError(f"{place}: client certificate", "needs both a certificate and a key")
        if self.token is not None and not printable(self.token):
            raise InputError(f"{place}: token", "is empty or holds spaces or control characters")
        if self.proxy_url is not None:
            _check_proxy(place, self.proxy_url)

    @property
    def has_credential(self) -> bool:
        """Say whether requests carry anything that must stay secret."""
        return bool(
            self.token or self.token_file or self.exec or self.client_certificate_data or self.client_certificate
        )


def printable(token: str) -> bool:
    """Say whether ``token`` may stand in a header: visible ASCII, no spaces."""
    return bool(token) and all("!" <= character <= "~" for character in token)


def in_cluster(
    environment: Mapping[str, str] | None = None, folder: Path | None = None, *, name: str = "in-cluster"
) -> Connection:
    """Return the connection of a pod to its own API server, by its service account.

    The account's files are in ``folder``, else where ISTHMUS_SERVICE_ACCOUNT says, else where kubelets mount them. Raises
    InputError where this process is not in a pod, or its pod mounts no service account.
    """
    variables = os.environ if environment is None else environment
    host, port = variables.get("KUBERNETES_SERVICE_HOST", ""), variables.get("KUBERNETES_SERVICE_PORT", "443")
    if folder is None:
        folder = Path(variables.get(SERVICE_ACCOUNT_VARIABLE) or SERVICE_ACCOUNT)
    if not host:
        raise InputError(name, "KUBERNETES_SERVICE_HOST is not set, so this is not a pod", "give a kubeconfig")
    for needed in ("token", "ca.crt"):
        if not (folder / needed).is_file():
            raise InputError(f"{name}: {folder / needed}", "does not exist", "set automountServiceAccountToken: true")
    shown = f"[{host}]" if ":" in host else host
    try:
        namespace = (folder / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    return Connection(
        server=f"https://{shown}:{port}",
        name=name,
        namespace=namespace or "default",
        ca_file=folder / "ca.crt",
        token_file=folder / "token",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_proxy(place: str, proxy_url: str) -> None:
    try:
        proxy = urlsplit(proxy_url)
        host, _ = proxy.hostname, proxy.port
    except ValueError as error:
        # The URL itself may hold a password, so urlsplit's own words are not repeated.
        raise InputError(f"{place}: proxy-url", "is not a URL") from error
    if proxy.scheme != "http" or not host:
        raise InputError(
            f"{place}: proxy-url",
            f"has the scheme {proxy.scheme or 'none'!r}; only http:// proxies (CONNECT) are supported",
        )

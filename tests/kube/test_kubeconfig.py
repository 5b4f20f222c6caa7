"""A kubeconfig becomes a Connection; every complaint names the file and the field, and no complaint tells a secret."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus.errors import InputError
from isthmus.kube.connection import Connection, in_cluster
from isthmus.kube.kubeconfig import contexts, load

from .authority import Authority

SECRET = "planted-secret-7d3f"


def write(
    folder: Path, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **top: Any
) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "bare", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    } | top
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_token(tmp_path: Path) -> None:
    """A token, a CA as data and the context's namespace arrive; the representation shows no secret."""
    ca = Authority(tmp_path).ca
    found = load(write(tmp_path, {"token": SECRET}, {"certificate-authority-data": encoded(ca)}))
    assert found.server == "https://192.0.2.1:6443"
    assert (found.token, found.ca_data, found.namespace, found.name) == (SECRET, ca, "shop", "main")
    assert SECRET not in repr(found)


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    """Relative files lie beside the kubeconfig, wherever we were started; absolute ones stay."""
    user = {"tokenFile": "tokens/a", "client-certificate": "u.crt", "client-key": "/etc/u.key"}
    found = load(write(tmp_path, user, {"certificate-authority": "ca.crt"}))
    assert found.token_file == tmp_path / "tokens/a"
    assert found.client_certificate == tmp_path / "u.crt"
    assert found.client_key == Path("/etc/u.key")
    assert found.ca_file == tmp_path / "ca.crt"


def test_data_wins_over_files(tmp_path: Path) -> None:
    """Where a certificate stands as data and as a file, the data counts."""
    pair = Authority(tmp_path).issue("me")
    user = {
        "client-certificate": "x",
        "client-key": "y",
        "client-certificate-data": encoded(pair.certificate),
        "client-key-data": encoded(pair.key),
    }
    found = load(write(tmp_path, user))
    assert found.client_certificate is None
    assert found.client_certificate_data == pair.certificate
    assert found.client_key_data == pair.key


def test_exec(tmp_path: Path) -> None:
    """A plugin keeps its arguments as a list, its environment, and its cluster's own configuration for it."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./bin/login",
        "args": ["get-token", "--for", "a b"],
        "env": [{"name": "PROFILE", "value": "edge"}],
        "provideClusterInfo": True,
        "interactiveMode": "IfAvailable",
        "installHint": "install it",
    }
    extension = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}]
    found = load(write(tmp_path, {"exec": plugin}, {"extensions": extension})).exec
    assert found is not None
    assert found.command == str(tmp_path / "bin/login")
    assert found.args == ("get-token", "--for", "a b")
    assert found.environment == (("PROFILE", "edge"),)
    assert found.provide_cluster_info
    assert found.config == {"audience": "x"}


def test_a_bare_command_is_found_on_the_path(tmp_path: Path) -> None:
    """A command without a slash is left for the PATH."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws"}
    found = load(write(tmp_path, {"exec": plugin})).exec
    assert found is not None
    assert found.command == "aws"


def test_another_context_and_their_names(tmp_path: Path) -> None:
    """A context may be named; one without a user has no credential."""
    path = write(tmp_path, {"token": SECRET})
    assert contexts(path) == ("bare", "main")
    assert not load(path, "bare").has_credential


def test_server_name_and_proxy(tmp_path: Path) -> None:
    """``tls-server-name`` and an HTTP proxy arrive; the proxy's password is not shown."""
    found = load(
        write(
            tmp_path, cluster={"tls-server-name": "kube.example", "proxy-url": f"http://me:{SECRET}@192.0.2.8:3128"}
        )
    )
    assert found.tls_server_name == "kube.example"
    assert found.proxy_url == f"http://me:{SECRET}@192.0.2.8:3128"
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("user", "cluster", "place", "reason"),
    [
        ({}, {"insecure-skip-tls-verify": True}, "clusters[c].insecure-skip-tls-verify", "refused"),
        ({"username": "admin", "password": SECRET}, {}, "users[u].username", "1.19"),
        ({"password": SECRET}, {}, "users[u].password", "1.19"),
        ({"auth-provider": {"name": "gcp"}}, {}, "users[u].auth-provider", "1.26"),
        ({"token": "t", "as": "root"}, {}, "users[u].as", "impersonation"),
        ({"token": 7}, {}, "users[u].token", "not a text"),
        ({"token": f"{SECRET}\nX-Evil: 1"}, {}, "token", "control characters"),
        ({"client-certificate-data": "%%%"}, {}, "users[u].client-certificate-data", "base64"),
        ({"client-certificate-data": encoded(SECRET)}, {}, "users[u].client-certificate-data", "PEM"),
        ({"client-certificate": "a.crt"}, {}, "client certificate", "both"),
        ({"exec": {"command": "x", "apiVersion": "v7"}}, {}, "users[u].exec.apiVersion", "v7"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, {}, "users[u].exec.command", "not set"),
        (
            {"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Always"}},
            {},
            "users[u].exec.interactiveMode",
            "terminal",
        ),
        (
            {"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1", "args": "get token"}},
            {},
            "users[u].exec.args",
            "list",
        ),
        (
            {"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1", "env": [{"name": "A"}]}},
            {},
            "users[u].exec.env",
            "value",
        ),
        ({}, {"server": ""}, "clusters[c].server", "not set"),
        ({}, {"server": "192.0.2.1:6443"}, "server", "https://"),
        ({}, {"server": "https://192.0.2.1:99999"}, "server", "URL"),
        ({}, {"server": f"https://me:{SECRET}@192.0.2.1"}, "server", "more than"),
        ({"token": SECRET}, {"server": "http://192.0.2.1:8080"}, "server", "clear"),
        ({}, {"proxy-url": f"socks5://me:{SECRET}@192.0.2.8"}, "proxy-url", "socks5"),
        ({}, {"proxy-url": f"http://[{SECRET}"}, "proxy-url", "URL"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], place: str, reason: str
) -> None:
    """Every refusal names the file and the field, says why, and repeats no secret."""
    path = write(tmp_path, user, cluster)
    with pytest.raises(InputError) as caught:
        load(path)
    assert caught.value.place.startswith(str(path))
    assert place in caught.value.place
    assert reason in str(caught.value)
    assert SECRET not in str(caught.value)
    assert encoded(SECRET) not in str(caught.value)


@pytest.mark.parametrize(
    ("top", "place"),
    [
        ({"current-context": ""}, "current-context"),
        ({"current-context": "gone"}, "contexts"),
        ({"clusters": []}, "clusters"),
        ({"users": None}, "users"),
        ({"contexts": {"main": {}}}, "contexts"),
        ({"clusters": [{"cluster": {}}]}, "clusters[0]"),
    ],
)
def test_missing_parts_are_named(tmp_path: Path, top: dict[str, Any], place: str) -> None:
    """A kubeconfig whose parts do not fit together says which is missing."""
    path = write(tmp_path, **top)
    with pytest.raises(InputError) as caught:
        load(path)
    assert f"{path}: {place}" in caught.value.place


@pytest.mark.parametrize("text", [f"users: [{SECRET}", f'a: "{SECRET}\nb: c: d', "[]", "", "\0"])
def test_what_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    """Broken YAML and other documents are refused without quoting them."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load(path)
    assert SECRET not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and binary content are InputErrors that name the path."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(InputError) as caught:
            load(path)
        assert str(path) in str(caught.value)


def test_in_cluster(tmp_path: Path) -> None:
    """A pod's service account gives the connection, an IPv6 service address too."""
    for name, text in {"token": "t", "ca.crt": "c", "namespace": "isthmus-system"}.items():
        (tmp_path / name).write_text(text)
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "2001:db8::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)
    assert found.server == "https://[2001:db8::1]:443"
    assert found.token_file == tmp_path / "token"
    assert found.ca_file == tmp_path / "ca.crt"
    assert found.namespace == "isthmus-system"


def test_not_in_a_cluster(tmp_path: Path) -> None:
    """Outside a pod, and in a pod without a service account, the reason is told."""
    with pytest.raises(InputError, match="not a pod"):
        in_cluster({}, tmp_path)
    with pytest.raises(InputError, match="automountServiceAccountToken"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, tmp_path)


def test_from_parts() -> None:
    """A connection is its parts; a plain-HTTP loopback (kubectl proxy) may carry a token."""
    assert Connection(server="http://127.0.0.1:8001", token="t").has_credential
    assert not Connection(server="http://192.0.2.1:8001").has_credential

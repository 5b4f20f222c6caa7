"""A kubeconfig file, parsed once into a Connection; every complaint names the file and the field.

Knows the kubeconfig format (v1) and its rules: relative paths count from the file's own folder, an exec command with a slash
too. Refuses what we could not honour: ``insecure-skip-tls-verify``, user names with passwords, legacy auth providers,
impersonation, plugins that insist on a terminal. Reads no token or certificate file; only says where they are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from isthmus.errors import InputError
from isthmus.kube.connection import Connection, ExecPlugin

_LARGEST = 4 << 20
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION = "client.authentication.k8s.io/exec"


def load(path: Path, context: str | None = None, *, name: str = "") -> Connection:
    """Return the connection of ``context`` (by default the current one) in the kubeconfig at ``path``.

    Blocks on one small file. Raises InputError naming file and field.
    """
    return parse(_read(path), origin=str(path), folder=path.absolute().parent, context=context, name=name)


def contexts(path: Path) -> tuple[str, ...]:
    """Return the names of the contexts in the kubeconfig at ``path``, sorted."""
    document = _document(_read(path), str(path))
    return tuple(sorted(_named(document, "contexts", "context", str(path))))


def parse(text: str, *, origin: str, folder: Path, context: str | None = None, name: str = "") -> Connection:
    """Return the connection of ``context`` in the kubeconfig ``text``; ``origin`` is how messages call it."""
    document = _document(text, origin)
    wanted = context or _text(document, "current-context", origin)
    if not wanted:
        raise InputError(f"{origin}: current-context", "is not set", "name a context")
    chosen = _pick(document, "contexts", "context", wanted, origin)
    here = f"{origin}: contexts[{wanted}]"
    cluster_name = _text(chosen, "cluster", here)
    if not cluster_name:
        raise InputError(f"{here}.cluster", "is not set")
    user_name = _text(chosen, "user", here)
    cluster = _pick(document, "clusters", "cluster", cluster_name, origin)
    user = _pick(document, "users", "user", user_name, origin) if user_name else {}
    at_cluster, at_user = f"{origin}: clusters[{cluster_name}]", f"{origin}: users[{user_name}]"
    _refuse(cluster, user, at_cluster, at_user)
    server = _text(cluster, "server", at_cluster)
    if not server:
        raise InputError(f"{at_cluster}.server", "is not set")
    ca_data = _pem(cluster, "certificate-authority-data", at_cluster)
    certificate = _pem(user, "client-certificate-data", at_user)
    key = _pem(user, "client-key-data", at_user)
    try:
        return Connection(
            server=server.rstrip("/"),
            name=name or wanted,
            namespace=_text(chosen, "namespace", here) or "default",
            ca_data=ca_data,
            ca_file=None if ca_data else _path(cluster, "certificate-authority", at_cluster, folder),
            token=_text(user, "token", at_user),
            token_file=_path(user, "tokenFile", at_user, folder),
            client_certificate_data=certificate,
            client_certificate=None if certificate else _path(user, "client-certificate", at_user, folder),
            client_key_data=key,
            client_key=None if key else _path(user, "client-key", at_user, folder),
            exec=_exec(user, cluster, at_user, folder),
            tls_server_name=_text(cluster, "tls-server-name", at_cluster),
            proxy_url=_text(cluster, "proxy-url", at_cluster),
        )
    except InputError as error:
        if error.place.startswith(origin):
            raise
        raise InputError(f"{origin}: {error.place}", error.reason, error.remedy) from error


def _refuse(cluster: Mapping[str, Any], user: Mapping[str, Any], at_cluster: str, at_user: str) -> None:
    if cluster.get("insecure-skip-tls-verify"):
        raise InputError(
            f"{at_cluster}.insecure-skip-tls-verify",
            "is refused: Isthmus verifies every API it believes",
            "give certificate-authority(-data), and tls-server-name if the address is not in the certificate",
        )
    refused = {
        "username": "user names with passwords were removed from Kubernetes in 1.19",
        "password": "user names with passwords were removed from Kubernetes in 1.19",
        "auth-provider": "legacy auth providers were removed from Kubernetes in 1.26",
        "as": "impersonation is not supported, and leaving it out would act with more rights than asked for",
        "as-uid": "impersonation is not supported",
        "as-groups": "impersonation is not supported",
        "as-user-extra": "impersonation is not supported",
    }
    for field, reason in refused.items():
        if user.get(field):
            raise InputError(f"{at_user}.{field}", reason, "use a token, an exec plugin or a client certificate")


def _exec(user: Mapping[str, Any], cluster: Mapping[str, Any], at: str, folder: Path) -> ExecPlugin | None:
    section = user.get("exec")
    if section is None:
        return None
    at = f"{at}.exec"
    if not isinstance(section, Mapping):
        raise InputError(at, "is not a mapping")
    command = _text(section, "command", at)
    if not command:
        raise InputError(f"{at}.command", "is not set")
    version = _text(section, "apiVersion", at)
    if version not in _EXEC_VERSIONS:
        raise InputError(f"{at}.apiVersion", f"is {version!r}; understood are {' and '.join(_EXEC_VERSIONS)}")
    if _text(section, "interactiveMode", at) == "Always":
        raise InputError(
            f"{at}.interactiveMode", "is Always, but Isthmus has no terminal to offer", "use IfAvailable"
        )
    args = section.get("args") or []
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise InputError(f"{at}.args", "is not a list of texts")
    if "/" in command and not Path(command).is_absolute():
        command = str(folder / command)
    extensions = {
        extension.get("name"): extension.get("extension")
        for extension in cluster.get("extensions") or []
        if isinstance(extension, Mapping)
    }
    return ExecPlugin(
        command=command,
        args=tuple(args),
        environment=tuple(
            (_required(entry, "name", f"{at}.env"), _required(entry, "value", f"{at}.env"))
            for entry in section.get("env") or []
        ),
        api_version=version,
        provide_cluster_info=section.get("provideClusterInfo") is True,
        install_hint=_text(section, "installHint", at) or "",
        config=extensions.get(_EXEC_EXTENSION),
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(str(path), f"cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise InputError(str(path), f"is larger than {_LARGEST >> 20} MiB, so no kubeconfig")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(str(path), "is not UTF-8 text") from error


def _document(text: str, origin: str) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The parser's own message quotes the line, which may hold a token; only the place is told.
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise InputError(origin, f"is not YAML{where}") from None
    if not isinstance(document, Mapping):
        raise InputError(origin, "is not a kubeconfig (a mapping with clusters, users and contexts)")
    return document


def _named(document: Mapping[str, Any], section: str, field: str, origin: str) -> dict[str, Mapping[str, Any]]:
    entries = document.get(section) or []
    if not isinstance(entries, list):
        raise InputError(f"{origin}: {section}", "is not a list")
    found: dict[str, Mapping[str, Any]] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InputError(f"{origin}: {section}[{number}]", "has no name")
        value = entry.get(field) or {}
        if not isinstance(value, Mapping):
            raise InputError(f"{origin}: {section}[{entry['name']}].{field}", "is not a mapping")
        found.setdefault(entry["name"], value)  # the first of a name wins, as for kubectl
    return found


def _pick(document: Mapping[str, Any], section: str, field: str, name: str, origin: str) -> Mapping[str, Any]:
    found = _named(document, section, field, origin)
    if name not in found:
        there = ", ".join(sorted(found)) or "none"
        raise InputError(f"{origin}: {section}", f"has no entry named {name!r}", f"there is: {there}")
    return found[name]


def _text(section: Mapping[str, Any], field: str, at: str) -> str | None:
    value = section.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(f"{at}.{field}" if field != "current-context" else f"{at}: {field}", "is not a text")
    return value


def _required(entry: object, field: str, at: str) -> str:
    value = entry.get(field) if isinstance(entry, Mapping) else None
    if not isinstance(value, str):
        raise InputError(at, f"has an entry without a text as {field}")
    return value


def _path(section: Mapping[str, Any], field: str, at: str, folder: Path) -> Path | None:
    value = _text(section, field, at)
    return folder / value if value else None  # an absolute value replaces the folder


def _pem(section: Mapping[str, Any], field: str, at: str) -> str | None:
    value = _text(section, field, at)
    if value is None:
        return None
    try:
        text = base64.b64decode("".join(value.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise InputError(f"{at}.{field}", "is not base64 of PEM text") from None
    if "-----BEGIN" not in text:
        raise InputError(f"{at}.{field}", "holds no PEM block")
    return text

"""One overlay installed in a real API server, and what a kubelet would put into the pods: tokens, CA, environment."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from app.home.rig import Place
from deploy.manifests import WORKLOADS, rendered
from deploy.rights import Use
from isthmus.kube.connection import Connection, in_cluster
from realapi import RealApi

Json = dict[str, Any]
_SYSTEM = 'RBAC: allowed by ClusterRoleBinding "system:'
"""How the reason begins where a role allowed it that every account has."""


class Installed:
    """An overlay in a server, without its workloads: nobody there would run them."""

    def __init__(self, server: RealApi, place: Place, overlay: str, directory: Path) -> None:
        """Apply ``overlay``; accounts' files go to ``directory``, which their pods' users must be able to read."""
        self.server = server
        self.place = place
        self.objects = rendered(overlay)
        self._directory = directory
        self.controller = next(
            (
                (one["metadata"]["namespace"], one["metadata"]["name"])
                for one in self.objects
                if one["kind"] == "ServiceAccount" and one["metadata"]["name"] != "isthmus-node"
            ),
            ("", ""),
        )
        """Namespace and name of the controller's account, empty if the overlay has none."""
        for one in self.objects:
            if one["kind"] not in (*WORKLOADS, "CustomResourceDefinition", "PodDisruptionBudget"):
                place.api.put(one)

    def account(self, namespace: str, name: str) -> Path:
        """Return the directory that a kubelet mounts for an account's pods, with a fresh token each time that it is asked."""
        folder = self._directory / name
        folder.mkdir(exist_ok=True)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        token = self.place.api.ask("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
        fresh = folder / ".token"
        fresh.write_text(token)
        os.replace(fresh, folder / "token")  # as kubelets do: nobody ever reads half a token
        (folder / "ca.crt").write_bytes(self.place.endpoint.ca_path.read_bytes())
        (folder / "namespace").write_text(namespace)
        return folder

    def environment(self, namespace: str, name: str) -> dict[str, str]:
        """Return what tells a process that it is in a pod of an account."""
        return {
            "KUBERNETES_SERVICE_HOST": self.place.endpoint.host,
            "KUBERNETES_SERVICE_PORT": str(self.place.endpoint.port),
            "ISTHMUS_SERVICE_ACCOUNT": str(self.account(namespace, name)),
        }

    def connection(self, namespace: str, name: str) -> Connection:
        """Return how a pod of an account reaches the API."""
        return in_cluster(self.environment(namespace, name))

    def is_void(self, token: str) -> bool:
        """Say whether the server takes a token no more."""
        context = ssl.create_default_context(cafile=self.place.endpoint.ca_path)
        request = urllib.request.Request(
            f"{self.place.endpoint.url}/version", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5.0, context=context):
                return False
        except urllib.error.HTTPError as error:
            return error.code == 401

    def uses(self, account: str) -> set[Use]:
        """Return what an account has asked for that not everybody may."""
        found = set()
        for event in self._events(account):
            if event["annotations"].get("authorization.k8s.io/reason", "").startswith(_SYSTEM):
                continue
            about = event["objectRef"]
            resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
            name = "" if event["verb"] == "create" else about.get("name", "")  # of which RBAC knows nothing
            found.add(Use(event["verb"], about.get("apiGroup", ""), resource, about.get("namespace", ""), name))
        return found

    def refused(self, account: str) -> list[str]:
        """Return what an account was not let do."""
        return [
            f"{event['verb']} {event['requestURI']}"
            for event in self._events(account)
            if event["annotations"].get("authorization.k8s.io/decision") != "allow"
        ]

    def _events(self, account: str) -> list[Json]:
        return [
            event
            for event in self.server.audit()
            if event["user"]["username"].endswith(f":{account}") and "resource" in event.get("objectRef", {})
        ]

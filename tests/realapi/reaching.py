"""Reach into a real API server with the words that tests use for the lab's: ``put``, ``get``, ``list``, ``delete``.

Every call is a request that blocks this process, so that tests read the same over both servers; the server is another process
and goes on. What only the lab can do (faults, frozen watches, backups) is not here: a test that needs it says so by failing.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from typing import Any

from isthmus.lab.kube import Endpoint

Json = dict[str, Any]

# kind -> (root, plural, namespaced); kinds of custom resources are asked for.
_KINDS: dict[str, tuple[str, str, bool]] = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Service": ("/api/v1", "services", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Secret": ("/api/v1", "secrets", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "Event": ("/apis/events.k8s.io/v1", "events", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
}


class Refused(Exception):
    """The server said no; ``status`` is the HTTP status."""

    def __init__(self, status: int, answer: Json) -> None:
        super().__init__(f"{status}: {answer.get('message', answer)}")
        self.status = status
        self.answer = answer


class Reach:
    """One connection of an administrator."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._host, self._port = endpoint.host, endpoint.port
        self._context = ssl.create_default_context(cafile=endpoint.ca_path)
        self._headers = {"Authorization": f"Bearer {endpoint.token}", "User-Agent": "reach"}
        self._connection: http.client.HTTPSConnection | None = None
        self._kinds = dict(_KINDS)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(self, method: str, path: str, body: Json | None = None, media: str = "application/json") -> Json:
        """Return the answer to one request; raise Refused."""
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=10.0, context=self._context
            )
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Content-Type": media} if data is not None else {})
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
            raw = answer.read()
        except (http.client.HTTPException, OSError):
            self.close()
            raise
        try:
            found: Json = json.loads(raw)
        except ValueError:
            found = {"message": raw.decode(errors="replace")}
        if answer.status >= 400:
            raise Refused(answer.status, found)
        return found

    def put(self, obj: Json) -> Json:
        """Create the object, or replace it and its status, and return it as stored."""
        path = self._path(obj["kind"], obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        meta = {name: value for name, value in obj["metadata"].items() if name not in ("resourceVersion", "uid")}
        body = {**obj, "metadata": meta}
        try:
            made = self.ask("POST", path.rpartition("/")[0], body)
        except Refused as refused:
            if refused.status != 409:
                raise
            there = self.ask("GET", path)
            if obj["kind"] == "Service":
                given = {name: there["spec"][name] for name in ("clusterIP", "clusterIPs") if name in there["spec"]}
                body = {**body, "spec": {**given, **body["spec"]}}
            meta["resourceVersion"] = there["metadata"]["resourceVersion"]
            made = self.ask("PUT", path, body)
        if obj.get("status"):
            made = self.ask("PUT", f"{path}/status", {**made, "status": obj["status"]})
        return made

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        """Return one object; raise Refused with 404."""
        return self.ask("GET", self._path(kind, name, namespace))

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Json]:
        """Return the objects of a kind, of all namespaces unless one is named, that a label selector selects."""
        kind = "Event" if kind.startswith("events") else kind
        root, plural, _ = self._where(kind)
        space = f"/namespaces/{namespace}" if namespace else ""
        answer = self.ask("GET", f"{root}{space}/{plural}?{urllib.parse.urlencode({'labelSelector': selector})}")
        head = {"kind": kind, "apiVersion": answer["apiVersion"]}
        return [{**head, **item} for item in answer["items"]]

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete one object; finalizers keep it. Raises Refused with 404."""
        self.ask("DELETE", self._path(kind, name, namespace))

    def _where(self, kind: str) -> tuple[str, str, bool]:
        if kind not in self._kinds:
            for definition in self.list("CustomResourceDefinition"):
                spec = definition["spec"]
                version = next(one["name"] for one in spec["versions"] if one["storage"])
                root = f"/apis/{spec['group']}/{version}"
                names = spec["names"]
                self._kinds[names["kind"]] = (root, names["plural"], spec["scope"] == "Namespaced")
        return self._kinds[kind]

    def _path(self, kind: str, name: str, namespace: str) -> str:
        root, plural, namespaced = self._where(kind)
        space = f"/namespaces/{namespace or 'default'}" if namespaced else ""
        return f"{root}{space}/{plural}/{urllib.parse.quote(name)}"

"""Which resources there are: one row per built-in kind, plus whatever CustomResourceDefinitions add.

A row knows names and traits (namespaced, has a status subresource, counts generations ...), never objects. The confusing
thing: two rows may share one ``storage`` (core Events and events.k8s.io Events, or the versions of one custom resource).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from isthmus.lab.kube.rules import PLAIN, Rule
from isthmus.lab.kube.shapes import Shapes, builtin_shapes

Json = dict[str, Any]
Convert = Callable[[Json], Json]

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


_NO_SHAPES = Shapes({})


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in one version, as discovery shows it."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    singular: str = ""
    list_kind: str = ""
    status: bool = False  # has a status subresource
    keeps_status: bool = False  # a create may bring its status along, as a kubelet does with its Node
    generation: bool = False
    custom: bool = False
    unconditional: bool = True  # may be updated without a resourceVersion
    create_on_update: bool = False
    name_rule: str = "subdomain"  # subdomain, label, service or path
    fields: tuple[str, ...] = ()  # field selectors beside metadata.name and metadata.namespace
    storage: str = ""
    columns: tuple[Json, ...] = field(default=(), compare=False)
    schema: Json | None = field(default=None, compare=False)
    rule: Rule = field(default=PLAIN, compare=False)
    shapes: Shapes = field(default=_NO_SHAPES, compare=False)
    inward: Convert | None = field(default=None, compare=False)  # from this version to the stored form
    outward: Convert | None = field(default=None, compare=False)

    @property
    def api_version(self) -> str:
        """Return ``group/version``, or the bare version of the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """Return ``plural.group``, the name people and error messages use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def bucket(self) -> str:
        """Return where its objects are stored."""
        return self.storage or self.group_resource

    @property
    def listing(self) -> str:
        """Return the kind of its lists."""
        return self.list_kind or f"{self.kind}List"

    @property
    def head(self) -> bytes:
        """Return the serialised type meta that goes before a stored object."""
        return b'{"kind":"%s","apiVersion":"%s",' % (self.kind.encode(), self.api_version.encode())


def _event_outward(stored: Json) -> Json:
    """Turn the stored core Event into an events.k8s.io/v1 one (k8s.io/kubernetes pkg/apis/events/v1/conversion.go)."""
    names = {
        "involvedObject": "regarding",
        "message": "note",
        "reportingComponent": "reportingController",
        "source": "deprecatedSource",
        "firstTimestamp": "deprecatedFirstTimestamp",
        "lastTimestamp": "deprecatedLastTimestamp",
        "count": "deprecatedCount",
    }
    return {names.get(key, key): value for key, value in stored.items()}


def _event_inward(event: Json) -> Json:
    names = {
        "regarding": "involvedObject",
        "note": "message",
        "reportingController": "reportingComponent",
        "deprecatedSource": "source",
        "deprecatedFirstTimestamp": "firstTimestamp",
        "deprecatedLastTimestamp": "lastTimestamp",
        "deprecatedCount": "count",
    }
    return {names.get(key, key): value for key, value in event.items()}


_EVENT_FIELDS = (
    *(f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")),
    "reason",
    "reportingComponent",
    "type",
)

BUILTIN = (
    Resource("", "v1", "Namespace", "namespaces", False, ("ns",), status=True, name_rule="label",
             fields=("status.phase",)),
    Resource("", "v1", "Node", "nodes", False, ("no",), status=True, keeps_status=True,
             fields=("spec.unschedulable",)),
    Resource("", "v1", "Service", "services", True, ("svc",), ("all",), status=True, name_rule="service",
             fields=("spec.clusterIP", "spec.type")),
    Resource("", "v1", "Event", "events", True, ("ev",), create_on_update=True, fields=_EVENT_FIELDS,
             storage="events"),
    Resource("", "v1", "ConfigMap", "configmaps", True, ("cm",)),
    Resource("", "v1", "Secret", "secrets", True, fields=("type",)),
    Resource("", "v1", "Pod", "pods", True, ("po",), ("all",), status=True,
             fields=("spec.nodeName", "spec.serviceAccountName", "status.phase", "status.podIP")),
    Resource("", "v1", "ServiceAccount", "serviceaccounts", True, ("sa",)),
    Resource("", "v1", "Endpoints", "endpoints", True, ("ep",), singular="endpoints", list_kind="EndpointsList",
             create_on_update=True),
    Resource("events.k8s.io", "v1", "Event", "events", True, ("ev",), create_on_update=True, storage="events",
             fields=_EVENT_FIELDS, inward=_event_inward, outward=_event_outward),
    Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, generation=True),
    Resource("coordination.k8s.io", "v1", "Lease", "leases", True, unconditional=False, create_on_update=True),
    Resource("apps", "v1", "DaemonSet", "daemonsets", True, ("ds",), ("all",), status=True, generation=True),
    Resource("apps", "v1", "Deployment", "deployments", True, ("deploy",), ("all",), status=True, generation=True),
    Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("pdb",), status=True, generation=True),
    # Stored for whoever installs something; nobody is bound by them (see ``access``).
    Resource("rbac.authorization.k8s.io", "v1", "Role", "roles", True, name_rule="path"),
    Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", True, name_rule="path"),
    Resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False, name_rule="path"),
    Resource("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False, name_rule="path"),
    Resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False,
             ("crd", "crds"), ("api-extensions",), status=True, generation=True),
)  # fmt: skip


class Kinds:
    """Every resource the server has at this moment; built-in rows stay, custom rows come and go."""

    def __init__(self, rules: dict[str, Rule]) -> None:
        self._builtin = tuple(
            replace(row, rule=rules.get(row.bucket, PLAIN), shapes=builtin_shapes(row.bucket)) for row in BUILTIN
        )
        self._custom: dict[str, tuple[Resource, ...]] = {}
        self._index: dict[tuple[str, str, str], Resource] = {}
        self.generation = 0
        self._reindex()

    def _reindex(self) -> None:
        self._index = {(row.group, row.version, row.plural): row for row in self}
        self.generation += 1

    def __iter__(self) -> Iterator[Resource]:
        yield from self._builtin
        for rows in self._custom.values():
            yield from rows

    def set_custom(self, definition: str, rows: tuple[Resource, ...]) -> None:
        """Replace what the CustomResourceDefinition called ``definition`` serves; no rows remove it."""
        if rows:
            self._custom[definition] = rows
        else:
            self._custom.pop(definition, None)
        self._reindex()

    def clear_custom(self) -> None:
        """Forget every custom resource."""
        self._custom.clear()
        self._reindex()

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource that a URL names."""
        return self._index.get((group, version, plural))

    def is_builtin(self, group: str, version: str) -> bool:
        """Say whether a group and version is one of the server's own."""
        return any((row.group, row.version) == (group, version) for row in self._builtin)

    def of_object(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource that an object's own type meta names."""
        for row in self:
            if row.kind == kind and row.api_version == api_version:
                return row
        return None

    def named(self, word: str) -> Resource | None:
        """Return the first resource called ``word``: a kind, a plural, or ``plural.group``."""
        for row in self:
            if word in (row.kind, row.plural, row.group_resource):
                return row
        return None

    def groups(self) -> dict[str, list[str]]:
        """Return every group but the core with its versions, in the order of discovery."""
        found: dict[str, list[str]] = {}
        for row in self:
            if row.group:
                versions = found.setdefault(row.group, [])
                if row.version not in versions:
                    versions.append(row.version)
        return found

"""What ``kubectl get`` shows of each kind: the columns, and a row's cells.

Names, formats and texts follow k8s.io/kubernetes pkg/printers/internalversion. A column with priority 1 is shown only
with ``-o wide``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from isthmus.lab.kube.jsonpaths import find
from isthmus.lab.kube.kinds import Resource

Json = dict[str, Any]
Cells = Callable[[Json, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one kind and the function that fills them."""

    columns: tuple[Json, ...]
    cells: Cells


def column(name: str, kind: str = "string", priority: int = 0, format: str = "", description: str = "") -> Json:
    """Return a column definition."""
    return {"name": name, "type": kind, "format": format, "description": description, "priority": priority}


NAME = column("Name", format="name")
AGE = column("Age")


def duration(seconds: float) -> str:
    """Return a time span as kubectl shows it (k8s.io/apimachinery pkg/util/duration, HumanDuration)."""
    span = int(seconds)
    if span < -1:
        return "<invalid>"
    span = max(span, 0)
    minutes, hours, days, years = span // 60, span // 3600, span // 86400, span // (86400 * 365)

    def two(large: int, small: int, marks: str) -> str:
        return f"{large}{marks[0]}" + (f"{small}{marks[1]}" if small else "")

    if span < 120:
        return f"{span}s"
    if minutes < 10:
        return two(minutes, span % 60, "ms")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return two(hours, minutes % 60, "hm")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return two(days, hours % 24, "dh")
    if days < 730:
        return f"{days}d"
    if years < 8:
        return two(years, days % 365, "yd")
    return f"{years}y"


def since(text: Any, now: datetime) -> str:
    """Return how long ago an API time was."""
    if not text:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    return duration((now - (then if then.tzinfo else then.replace(tzinfo=UTC))).total_seconds())


def age(obj: Json, now: datetime) -> str:
    """Return an object's age."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def _part(obj: Json, name: str) -> Json:
    found = obj.get(name)
    return found if isinstance(found, dict) else {}


def _namespace(obj: Json, now: datetime) -> list[Any]:
    return [obj["metadata"]["name"], _part(obj, "status").get("phase", ""), age(obj, now)]


def _node(obj: Json, now: datetime) -> list[Any]:
    status, info = _part(obj, "status"), _part(_part(obj, "status"), "nodeInfo")
    ready = {c.get("type"): c.get("status") for c in status.get("conditions") or []}.get("Ready")
    states = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if _part(obj, "spec").get("unschedulable"):
        states.append("SchedulingDisabled")
    labels = obj["metadata"].get("labels") or {}
    prefix = "node-role.kubernetes.io/"
    roles = sorted(label.removeprefix(prefix) for label in labels if label.startswith(prefix) and label != prefix)
    addresses: dict[str, str] = {}
    for address in status.get("addresses") or []:
        addresses.setdefault(address.get("type", ""), address.get("address", ""))
    return [
        obj["metadata"]["name"],
        ",".join(states),
        ",".join(roles) or "<none>",
        age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _selector(labels: Any) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or "<none>"


def _service(obj: Json, now: datetime) -> list[Any]:
    spec = _part(obj, "spec")
    kind = spec.get("type", "")
    ingress = _part(_part(obj, "status"), "loadBalancer").get("ingress") or []
    reached = [entry.get("ip") or entry.get("hostname") or "" for entry in ingress]
    outside = list(spec.get("externalIPs") or [])
    if kind == "ExternalName":
        external = spec.get("externalName", "")
    elif kind == "LoadBalancer":
        external = ",".join(reached + outside) or "<pending>"
    else:
        external = ",".join(outside) or "<none>"
    ports = [
        f"{port['port']}:{port['nodePort']}/{port['protocol']}"
        if port.get("nodePort")
        else f"{port['port']}/{port['protocol']}"
        for port in spec.get("ports") or []
    ]
    return [
        obj["metadata"]["name"],
        kind,
        spec.get("clusterIP") or "<none>",
        external,
        ",".join(ports) or "<none>",
        age(obj, now),
        _selector(spec.get("selector")),
    ]


def _few(items: list[str], most: int = 3) -> str:
    shown = ",".join(items[:most])
    if not items:
        return "<unset>"
    return f"{shown} + {len(items) - most} more..." if len(items) > most else shown


def _endpoint_slice(obj: Json, now: datetime) -> list[Any]:
    ports = [str(port.get("port") or "*") for port in obj.get("ports") or []]
    addresses = [address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []]
    return [obj["metadata"]["name"], obj.get("addressType", ""), _few(ports), _few(addresses), age(obj, now)]


def _endpoints(obj: Json, now: datetime) -> list[Any]:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    return [obj["metadata"]["name"], _few(found) if found else "<none>", age(obj, now)]


def _pod(obj: Json, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    states = status.get("containerStatuses") or []
    ready = sum(1 for state in states if state.get("ready"))
    restarts = sum(int(state.get("restartCount") or 0) for state in states)
    phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status.get("phase", "")
    return [
        obj["metadata"]["name"],
        f"{ready}/{len(spec.get('containers') or [])}",
        status.get("reason") or phase,
        str(restarts),
        age(obj, now),
        status.get("podIP") or "<none>",
        spec.get("nodeName") or "<none>",
    ]


def _event(obj: Json, now: datetime) -> list[Any]:
    about = _part(obj, "involvedObject")
    last = obj.get("lastTimestamp") or _part(obj, "series").get("lastObservedTime") or obj.get("eventTime")
    return [
        since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        str(obj.get("message", "")).strip(),
        obj["metadata"]["name"],
    ]


def _daemon_set(obj: Json, now: datetime) -> list[Any]:
    status = _part(obj, "status")
    selector = _part(_part(_part(_part(obj, "spec"), "template"), "spec"), "nodeSelector")
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
              "numberAvailable")  # fmt: skip
    return [
        obj["metadata"]["name"],
        *(int(status.get(name) or 0) for name in counts),
        _selector(selector),
        age(obj, now),
    ]


def _deployment(obj: Json, now: datetime) -> list[Any]:
    status = _part(obj, "status")
    wanted = _part(obj, "spec").get("replicas", 1)
    return [
        obj["metadata"]["name"],
        f"{status.get('readyReplicas') or 0}/{wanted}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now),
    ]


def _integers(*names: str) -> tuple[Json, ...]:
    return tuple(column(name, "integer") for name in names)


LAYOUTS: dict[str, Layout] = {
    "namespaces": Layout((NAME, column("Status"), AGE), _namespace),
    "nodes": Layout(
        (
            NAME,
            *(column(name) for name in ("Status", "Roles", "Age", "Version")),
            *(column(name, priority=1) for name in ("Internal-IP", "External-IP", "OS-Image", "Kernel-Version",
                                                    "Container-Runtime")),
        ),
        _node,
    ),
    "services": Layout(
        (
            NAME,
            *(column(name) for name in ("Type", "Cluster-IP", "External-IP", "Port(s)", "Age")),
            column("Selector", priority=1),
        ),
        _service,
    ),
    "endpointslices.discovery.k8s.io": Layout(
        (NAME, column("AddressType"), column("Ports"), column("Endpoints"), AGE), _endpoint_slice
    ),
    "endpoints": Layout((NAME, column("Endpoints"), AGE), _endpoints),
    "pods": Layout(
        (
            NAME,
            *(column(name) for name in ("Ready", "Status", "Restarts", "Age")),
            column("IP", priority=1),
            column("Node", priority=1),
        ),
        _pod,
    ),
    "events": Layout(
        (
            *(column(name) for name in ("Last Seen", "Type", "Reason", "Object", "Message")),
            column("Name", format="name", priority=1),
        ),
        _event,
    ),
    "configmaps": Layout(
        (NAME, *_integers("Data"), AGE),
        lambda obj, now: [
            obj["metadata"]["name"], len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)
        ],
    ),
    "secrets": Layout(
        (NAME, column("Type"), *_integers("Data"), AGE),
        lambda obj, now: [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or {}), age(obj, now)],
    ),
    "serviceaccounts": Layout(
        (NAME, *_integers("Secrets"), AGE),
        lambda obj, now: [obj["metadata"]["name"], len(obj.get("secrets") or []), age(obj, now)],
    ),
    "leases.coordination.k8s.io": Layout(
        (NAME, column("Holder"), AGE),
        lambda obj, now: [obj["metadata"]["name"], _part(obj, "spec").get("holderIdentity", ""), age(obj, now)],
    ),
    "daemonsets.apps": Layout(
        (NAME, *_integers("Desired", "Current", "Ready", "Up-to-date", "Available"), column("Node Selector"), AGE),
        _daemon_set,
    ),
    "deployments.apps": Layout(
        (NAME, column("Ready"), *_integers("Up-to-date", "Available"), AGE),
        _deployment,
    ),
    "customresourcedefinitions.apiextensions.k8s.io": Layout(
        (NAME, column("Created At", "date")),
        lambda obj, _now: [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")],
    ),
}  # fmt: skip

_DEFAULT = Layout((NAME, AGE), lambda obj, now: [obj["metadata"]["name"], age(obj, now)])


def _printed(resource: Resource) -> Layout:
    """Return the layout of a custom resource's printer columns."""

    def cells(obj: Json, now: datetime) -> list[Any]:
        row: list[Any] = [obj["metadata"]["name"]]
        for printed in resource.columns:
            found = find(obj, printed["jsonPath"])
            if not found:
                row.append(None)
            elif printed["type"] == "date":
                row.append(since(found[0], now))
            elif printed["type"] == "string":
                # Anything but text is printed as JSON, as the real server's printer does.
                texts = (value if isinstance(value, str) else msgspec.json.encode(value).decode() for value in found)
                row.append(",".join(texts))
            else:
                row.append(found[0])
        return row

    columns = [
        column(
            printed["name"], printed["type"], printed.get("priority", 0), printed.get("format", ""),
            printed.get("description", ""),
        )
        for printed in resource.columns
    ]  # fmt: skip
    return Layout((NAME, *columns), cells)


def layout(resource: Resource) -> Layout:
    """Return how a resource is shown."""
    if resource.custom:
        return _printed(resource) if resource.columns else _DEFAULT
    return LAYOUTS.get(resource.bucket, _DEFAULT)

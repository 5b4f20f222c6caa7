"""Just enough protobuf to read what ``kubectl create`` sends for the simplest kinds.

kubectl's own ``create namespace``, ``create configmap`` and their like speak only protobuf, whatever the server says it
accepts; answers may be JSON. Field numbers are those of k8s.io/api (generated.proto). A message that uses a field not
listed here is refused as a whole rather than read in part.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from isthmus.lab.kube.metadata import timestamp

Json = dict[str, Any]

MAGIC = b"k8s\x00"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name, how to read it, whether it repeats, whether its zero means something (a Go pointer)."""

    name: str
    kind: str  # text, int, bool, bytes, map, bytesmap, intstr, time, or the name of a message
    many: bool = False
    keep: bool = False


def _fields(text: str) -> dict[int, Field]:
    """Read rows of ``number name kind``; ``kind`` may end in ``*`` (repeated) or ``?`` (a pointer)."""
    rows = {}
    for row in text.strip().splitlines():
        number, name, kind = row.split()
        rows[int(number)] = Field(name, kind.rstrip("*?"), kind.endswith("*"), kind.endswith("?"))
    return rows


_MESSAGES = {
    "Meta": _fields("""
        1 name text
        2 generateName text
        3 namespace text
        4 selfLink text
        5 uid text
        6 resourceVersion text
        7 generation int
        8 creationTimestamp time
        11 labels map
        12 annotations map
        14 finalizers text*"""),
    "Namespace": _fields("1 metadata Meta\n2 spec NamespaceSpec\n3 status NamespaceStatus"),
    "NamespaceSpec": _fields("1 finalizers text*"),
    "NamespaceStatus": _fields("1 phase text"),
    "ConfigMap": _fields("1 metadata Meta\n2 data map\n3 binaryData bytesmap\n4 immutable bool?"),
    "Secret": _fields("1 metadata Meta\n2 data bytesmap\n3 type text\n4 stringData map\n5 immutable bool?"),
    "ServiceAccount": _fields("1 metadata Meta\n3 imagePullSecrets LocalRef*\n4 automountServiceAccountToken bool?"),
    "LocalRef": _fields("1 name text"),
    "Service": _fields("1 metadata Meta\n2 spec ServiceSpec\n3 status ServiceStatus"),
    "ServiceStatus": _fields("1 loadBalancer LoadBalancer"),
    "LoadBalancer": {},
    "ServiceSpec": _fields("""
        1 ports ServicePort*
        2 selector map
        3 clusterIP text
        4 type text
        5 externalIPs text*
        7 sessionAffinity text
        8 loadBalancerIP text
        9 loadBalancerSourceRanges text*
        10 externalName text
        11 externalTrafficPolicy text
        12 healthCheckNodePort int
        13 publishNotReadyAddresses bool
        17 ipFamilyPolicy text
        18 clusterIPs text*
        19 ipFamilies text*
        20 allocateLoadBalancerNodePorts bool?
        21 loadBalancerClass text
        22 internalTrafficPolicy text"""),
    "ServicePort": _fields("1 name text\n2 protocol text\n3 port int\n4 targetPort intstr\n5 nodePort int\n"
                           "6 appProtocol text"),
    "Deployment": _fields("1 metadata Meta\n2 spec DeploymentSpec\n3 status DeploymentStatus"),
    "DeploymentSpec": _fields("""
        1 replicas int?
        2 selector LabelSelector
        3 template PodTemplate
        4 strategy Strategy
        5 minReadySeconds int
        7 paused bool"""),
    "LabelSelector": _fields("1 matchLabels map"),
    "PodTemplate": _fields("1 metadata Meta\n2 spec PodSpec"),
    "PodSpec": _fields("""
        2 containers Container*
        3 restartPolicy text
        6 dnsPolicy text
        8 serviceAccountName text
        9 serviceAccount text
        10 nodeName text
        11 hostNetwork bool
        12 hostPID bool
        13 hostIPC bool
        16 hostname text
        17 subdomain text
        19 schedulerName text
        24 priorityClassName text"""),
    "Container": _fields("""
        1 name text
        2 image text
        3 command text*
        4 args text*
        5 workingDir text
        6 ports ContainerPort*
        8 resources Resources
        13 terminationMessagePath text
        14 imagePullPolicy text
        16 stdin bool
        17 stdinOnce bool
        18 tty bool
        20 terminationMessagePolicy text"""),
    "ContainerPort": _fields("1 name text\n2 hostPort int\n3 containerPort int\n4 protocol text\n5 hostIP text"),
    "Strategy": _fields("1 type text"),
    "Resources": {},
    "DeploymentStatus": _fields("1 observedGeneration int\n2 replicas int\n3 updatedReplicas int\n4 availableReplicas int\n"
                       "5 unavailableReplicas int\n7 readyReplicas int"),
    "SelfSubjectReview": _fields("1 metadata Meta\n2 status UserStatus"),
    "UserStatus": _fields("1 userInfo UserInfo"),
    "UserInfo": _fields("1 username text\n2 uid text\n3 groups text*"),
    "SelfSubjectAccessReview": _fields("1 metadata Meta\n2 spec AccessSpec\n3 status AccessStatus"),
    "AccessSpec": _fields("1 resourceAttributes Attributes\n2 nonResourceAttributes PathAttributes"),
    "Attributes": _fields("1 namespace text\n2 verb text\n3 group text\n4 version text\n5 resource text\n"
                          "6 subresource text\n7 name text"),
    "PathAttributes": _fields("1 path text\n2 verb text"),
    "AccessStatus": _fields("1 allowed bool\n2 reason text\n3 evaluationError text\n4 denied bool"),
    "DeleteOptions": _fields("1 gracePeriodSeconds int?\n2 preconditions Preconditions\n3 orphanDependents bool?\n"
                             "4 propagationPolicy text\n5 dryRun text*"),
    "Preconditions": _fields("1 uid text\n2 resourceVersion text"),
    "Unknown": _fields("1 typeMeta TypeMeta\n2 raw bytes\n3 contentEncoding text\n4 contentType text"),
    "TypeMeta": _fields("1 apiVersion text\n2 kind text"),
}  # fmt: skip

READABLE = frozenset(("ConfigMap", "DeleteOptions", "Deployment", "Namespace", "Secret", "SelfSubjectAccessReview",
                      "SelfSubjectReview", "Service", "ServiceAccount"))  # fmt: skip


class Unreadable(ValueError):
    """The bytes are no message, or one that is not listed here."""


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise Unreadable("a number is cut off")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, raw value) of each field."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value: int | bytes
        if tag & 7 == 0:
            value, position = _varint(data, position)
        elif tag & 7 == 2:
            length, position = _varint(data, position)
            value = data[position : position + length]
            position += length
            if position > len(data):
                raise Unreadable("a field is cut off")
        else:
            raise Unreadable(f"wire type {tag & 7} is not read")
        yield tag >> 3, value


def _pair(data: bytes) -> tuple[str, bytes]:
    parts = dict(_wire(data))
    key, value = parts.get(1, b""), parts.get(2, b"")
    if not isinstance(key, bytes) or not isinstance(value, bytes):
        raise Unreadable("a map's entry is not of text")
    return key.decode(), value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _scalar(field: Field, value: int | bytes) -> Any:
    if isinstance(value, int):
        if field.kind not in ("int", "bool"):
            raise Unreadable(f"{field.name} is a number")
        return bool(value) if field.kind == "bool" else _signed(value)
    match field.kind:
        case "text":
            return value.decode()
        case "bytes":
            return value
        case "intstr":
            parts = dict(_wire(value))
            text = parts.get(3, b"")
            return text.decode() if parts.get(1) and isinstance(text, bytes) else parts.get(2, 0)
        case "time":
            seconds = dict(_wire(value)).get(1, 0)
            return (
                timestamp(datetime.fromtimestamp(_signed(seconds), UTC)) if isinstance(seconds, int) and value else ""
            )
    return _message(field.kind, value)


def _message(name: str, data: bytes) -> Json:
    known = _MESSAGES.get(name)
    if known is None:
        raise Unreadable(f"{name} is not read as protobuf")
    found: Json = {}
    for number, value in _wire(data):
        field = known.get(number)
        if field is None:
            raise Unreadable(f"field {number} of {name} is not read as protobuf")
        if field.kind in ("map", "bytesmap") and isinstance(value, bytes):
            key, item = _pair(value)
            text = item.decode() if field.kind == "map" else base64.b64encode(item).decode()
            found.setdefault(field.name, {})[key] = text
            continue
        read = _scalar(field, value)
        if field.many:
            found.setdefault(field.name, []).append(read)
        elif field.keep or read not in ("", 0, False, {}, None):
            found[field.name] = read
    return found


def decode(data: bytes) -> Json:
    """Return the object inside a Kubernetes protobuf envelope; raise Unreadable."""
    if not data.startswith(MAGIC):
        raise Unreadable("the envelope is missing")
    try:
        envelope = _message("Unknown", data[len(MAGIC) :])
        meta = envelope.get("typeMeta") or {}
        kind = str(meta.get("kind", ""))
        if kind not in READABLE:
            raise Unreadable(f"{kind} is not read as protobuf")
        return {"kind": kind, "apiVersion": meta.get("apiVersion", ""), **_message(kind, envelope.get("raw", b""))}
    except UnicodeDecodeError as error:
        raise Unreadable("a text is not UTF-8") from error

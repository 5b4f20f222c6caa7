"""The smaller built-in kinds: namespaces, pods, config maps, secrets, endpoint slices, workloads.

Only what a client of this lab can trip over is defaulted and judged; everything else in their specs is stored as it comes.
"""

from __future__ import annotations

import base64
import binascii
from ipaddress import ip_address
from typing import Any

from isthmus.lab.kube.rules import Plain, Rule
from isthmus.lab.kube.status import Cause, bad, forbidden_field, required, unsupported

Json = dict[str, Any]


class NamespaceRule(Plain):
    """Namespaces carry their own name as a label, a phase, and the finalizer of the namespace controller."""

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Fill in what a namespace always has."""
        metadata = obj["metadata"]
        if metadata.get("name"):
            metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
        if old is None:
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
        else:
            obj["spec"] = old.get("spec", {})


class PodRule(Plain):
    """Pods start as Pending; nobody here ever runs one."""

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Reset the status of a new pod."""
        obj.setdefault("spec", {})
        if old is None:
            obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Require containers, and that a bound pod stays where it is."""
        if not obj["spec"].get("containers"):
            return [required("spec.containers")]
        had = ((old or {}).get("spec") or {}).get("nodeName")
        if had and obj["spec"].get("nodeName") != had:
            return [forbidden_field("spec", "pod updates may not change fields other than ...")]
        return []


class ImmutableData(Plain):
    """Config maps, and the part of secrets that is like them."""

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Refuse to change what was declared immutable."""
        causes = [
            bad(f"data[{key}]", value, "must be a string")
            for key, value in (obj.get("data") or {}).items()
            if not isinstance(value, str)
        ]
        if old is None or not old.get("immutable"):
            return causes
        changed = [name for name in ("data", "binaryData") if (obj.get(name) or {}) != (old.get(name) or {})]
        if not obj.get("immutable"):
            changed.append("immutable")
        detail = "field is immutable when `immutable` is set"
        return causes + [forbidden_field(name, detail) for name in changed]


class SecretRule(ImmutableData):
    """Secrets: ``stringData`` is folded into ``data``, the type stays."""

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Default the type and fold ``stringData`` in."""
        obj.setdefault("type", (old or {}).get("type", "Opaque"))
        texts = obj.pop("stringData", None) or {}
        if texts:
            data = obj.setdefault("data", {})
            data.update({key: base64.b64encode(str(text).encode()).decode() for key, text in texts.items()})

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Judge the encoding and the type."""
        causes = super().check(obj, old)
        for key, value in (obj.get("data") or {}).items():
            try:
                base64.b64decode(value, validate=True)
            except (binascii.Error, TypeError, ValueError):
                causes.append(bad(f"data[{key}]", "<secret contents redacted>", "must be base64"))
        if old is not None and obj["type"] != old.get("type"):
            causes.append(bad("type", obj["type"], "field is immutable"))
        return causes


class EndpointSliceRule(Plain):
    """Endpoint slices: one address family each, for ever."""

    def prepare(self, obj: Json, _old: Json | None) -> None:
        """Default ports as discovery/v1 does."""
        obj.setdefault("endpoints", None)
        for port in obj.get("ports") or []:
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Judge the address type, the addresses and the ports."""
        family = obj.get("addressType")
        types = ("FQDN", "IPv4", "IPv6")
        if not family:
            return [required("addressType")]
        if family not in types:
            return [unsupported("addressType", family, types)]
        causes: list[Cause] = []
        if old is not None and old.get("addressType") != family:
            causes.append(bad("addressType", family, "field is immutable"))
        endpoints = obj.get("endpoints") or []
        if len(endpoints) > 1000:
            causes.append(
                Cause("FieldValueTooMany", f"Too many: {len(endpoints)}: must have at most 1000 items", "endpoints")
            )
        for index, endpoint in enumerate(endpoints):
            addresses = endpoint.get("addresses") or []
            where = f"endpoints[{index}].addresses"
            if not addresses:
                causes.append(required(where, "must contain at least 1 address"))
            for place, address in enumerate(addresses):
                if family != "FQDN" and not _of_family(address, family):
                    causes.append(bad(f"{where}[{place}]", address, f"must be a valid {family} address"))
        for index, port in enumerate(obj.get("ports") or []):
            if port.get("protocol") not in ("SCTP", "TCP", "UDP"):
                causes.append(unsupported(f"ports[{index}].protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
        return causes


def _of_family(text: Any, family: str) -> bool:
    try:
        return f"IPv{ip_address(str(text)).version}" == family
    except ValueError:
        return False


class WorkloadRule(Plain):
    """Deployments and daemon sets: nobody rolls them out, so their status is what a test writes."""

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Start with an empty status."""
        obj.setdefault("spec", {})
        if old is None:
            obj["status"] = {}

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Require a selector that the template matches, and keep it."""
        selector = obj["spec"].get("selector")
        if not selector:
            return [required("spec.selector")]
        if old is not None and (old.get("spec") or {}).get("selector") != selector:
            return [bad("spec.selector", selector, "field is immutable")]
        template = ((obj["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
        wanted = selector.get("matchLabels") or {}
        if any(template.get(key) != value for key, value in wanted.items()):
            return [bad("spec.template.metadata.labels", template, "`selector` does not match template `labels`")]
        return []


def core_rules() -> dict[str, Rule]:
    """Return the rule of each bucket that has one here."""
    return {
        "namespaces": NamespaceRule(),
        "pods": PodRule(),
        "configmaps": ImmutableData(),
        "secrets": SecretRule(),
        "endpointslices.discovery.k8s.io": EndpointSliceRule(),
        "daemonsets.apps": WorkloadRule(),
        "deployments.apps": WorkloadRule(),
    }

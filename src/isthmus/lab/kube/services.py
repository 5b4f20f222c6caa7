"""Services: defaults, validation and cluster addresses.

Follows k8s.io/kubernetes pkg/apis/core/{v1/defaults.go,validation} and pkg/registry/core/service. Left out: node ports,
session affinity details, traffic distribution, and the ServiceCIDR and IPAddress kinds.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from isthmus.lab.kube.metadata import name_causes
from isthmus.lab.kube.rules import Plain
from isthmus.lab.kube.status import Cause, bad, duplicate, forbidden_field, required, unsupported

Json = dict[str, Any]
Address = IPv4Address | IPv6Address

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_POLICIES = ("Cluster", "Local")
_FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")
_SPEC = frozenset(
    (
        "allocateLoadBalancerNodePorts",
        "clusterIP",
        "clusterIPs",
        "externalIPs",
        "externalName",
        "externalTrafficPolicy",
        "healthCheckNodePort",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
        "loadBalancerClass",
        "loadBalancerIP",
        "loadBalancerSourceRanges",
        "ports",
        "publishNotReadyAddresses",
        "selector",
        "sessionAffinity",
        "sessionAffinityConfig",
        "trafficDistribution",
        "type",
    )
)
_PORT = frozenset(("appProtocol", "name", "nodePort", "port", "protocol", "targetPort"))


def _address(text: Any) -> Address | None:
    try:
        return ip_address(str(text))
    except ValueError:
        return None


class ServiceRule(Plain):
    """Rules of Services over the given service CIDRs; one per family, the first is the default family."""

    def __init__(self, service_cidrs: tuple[str, ...]) -> None:
        self.networks = {f"IPv{network.version}": network for network in map(ip_network, service_cidrs)}
        self._used: dict[Address, tuple[str, str]] = {}
        self._cursor = dict.fromkeys(self.networks, 2)  # .1 belongs to the API server itself

    def changed(self, old: Json | None, new: Json | None) -> None:
        """Follow a change of a Service: its addresses are in use, those of the old one no longer."""
        for service, used in ((old, False), (new, True)):
            if service is None:
                continue
            metadata = service["metadata"]
            for text in (service.get("spec") or {}).get("clusterIPs") or []:
                address = _address(text)
                if address is not None and used:
                    self._used[address] = (metadata["namespace"], metadata["name"])
                elif address is not None:
                    self._used.pop(address, None)

    def clear(self) -> None:
        """Forget what is in use."""
        self._used.clear()

    def unknown(self, obj: Json) -> list[str]:
        """Know the fields of ``spec`` and of its ports."""
        spec = obj.get("spec") or {}
        found = []
        for name, value in spec.items():  # in the order of the document
            if name not in _SPEC:
                found.append(f"spec.{name}")
            elif name == "ports":
                for index, port in enumerate(value or []):
                    found += [f"spec.ports[{index}].{key}" for key in port if key not in _PORT]
        return found

    def prepare(self, obj: Json, old: Json | None) -> None:
        """Fill in defaults and allocate addresses."""
        spec = obj.setdefault("spec", {})
        if old is None:
            obj["status"] = {"loadBalancer": {}}
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or []:
            port.setdefault("protocol", "TCP")
            if port.get("targetPort") in (None, 0, "") and "port" in port:
                port["targetPort"] = port["port"]
        if spec["type"] != "ExternalName":
            spec.setdefault("internalTrafficPolicy", "Cluster")
        outside = spec["type"] in ("LoadBalancer", "NodePort") or bool(spec.get("externalIPs"))
        if outside:
            spec.setdefault("externalTrafficPolicy", "Cluster")
        elif old is not None and spec.get("externalTrafficPolicy") == old["spec"].get("externalTrafficPolicy"):
            spec.pop("externalTrafficPolicy", None)  # dropped with the type, unless the user asked for it anew
        if spec["type"] == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        elif old is not None and old["spec"].get("type") == "LoadBalancer":
            for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
                if spec.get(name) == old["spec"].get(name):
                    spec.pop(name, None)
        self._addresses(spec, (old or {}).get("spec") or {})

    def _addresses(self, spec: Json, before: Json) -> None:
        if spec["type"] == "ExternalName":
            if before.get("type") not in (None, "ExternalName"):
                for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                    spec.pop(name, None)
            return
        if before.get("type") not in (None, "ExternalName"):
            changed = spec.get("clusterIP") not in (None, "", before.get("clusterIP"))
            if changed and spec.get("clusterIPs") in (None, [], before.get("clusterIPs")):
                # The older of the two fields was changed; the newer follows, and is then found not to be changeable.
                spec["clusterIPs"] = [spec["clusterIP"]]
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):  # an update may leave them out
                if not spec.get(name) and before.get(name):
                    spec[name] = before[name]
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        given = list(spec.get("clusterIPs") or [])
        families = self._families(spec, given)
        if given == ["None"]:
            spec["clusterIP"] = "None"
            return
        for family in families[len(given) :]:
            chosen = self._free(family)
            if chosen is not None:
                given.append(str(chosen))
        spec["clusterIPs"] = given
        if given:
            spec["clusterIP"] = given[0]

    def _families(self, spec: Json, given: list[str]) -> list[str]:
        """Default ``ipFamilyPolicy`` and ``ipFamilies``; return the families that need an address."""
        two = len(given) > 1 or len(spec.get("ipFamilies") or []) > 1
        policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if two else "SingleStack")
        families = list(spec.get("ipFamilies") or [])
        if not families:
            families = [f"IPv{address.version}" for text in given if (address := _address(text)) is not None]
        default = list(self.networks) or ["IPv4"]
        families = families or default[:1]
        if policy != "SingleStack":
            families += [family for family in default if family not in families]
        spec["ipFamilies"] = families
        return families

    def _free(self, family: str) -> Address | None:
        network = self.networks.get(family)
        if network is None:
            return None
        last = min(network.num_addresses - 1, 1 << 20)  # the broadcast address, or as far as a lab will ever get
        span = max(last - 2, 1)
        for step in range(span):
            offset = 2 + (self._cursor[family] - 2 + step) % span
            address = network[offset]
            if address not in self._used:
                self._cursor[family] = offset + 1
                return address
        return None

    def check(self, obj: Json, old: Json | None) -> list[Cause]:
        """Judge ports, type, policies and addresses."""
        spec = obj["spec"]
        causes = self._check_ports(spec)
        for name, allowed in (
            ("type", _TYPES),
            ("sessionAffinity", ("ClientIP", "None")),
            ("internalTrafficPolicy", _POLICIES),
            ("externalTrafficPolicy", _POLICIES),
            ("ipFamilyPolicy", _FAMILY_POLICIES),
        ):
            if name in spec and spec[name] not in allowed:
                causes.append(unsupported(f"spec.{name}", spec[name], allowed))
        if spec["type"] == "ExternalName" and not spec.get("externalName"):
            causes.append(required("spec.externalName"))
        causes += self._check_addresses(obj, old)
        return causes + self._check_class(spec, (old or {}).get("spec") or {})

    @staticmethod
    def _check_class(spec: Json, before: Json) -> list[Cause]:
        wanted, had = spec.get("loadBalancerClass"), before.get("loadBalancerClass")
        if spec["type"] != "LoadBalancer":
            detail = "may only be used when `type` is 'LoadBalancer'"
            return [forbidden_field("spec.loadBalancerClass", detail)] if wanted else []
        if before.get("type") == "LoadBalancer" and wanted != had:
            return [bad("spec.loadBalancerClass", wanted, "may not change once set")]
        return []

    @staticmethod
    def _check_ports(spec: Json) -> list[Cause]:
        ports = spec.get("ports") or []
        if not ports and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
            return [required("spec.ports")]
        causes: list[Cause] = []
        names: set[str] = set()
        pairs: set[tuple[Any, Any]] = set()
        for index, port in enumerate(ports):
            where = f"spec.ports[{index}]"
            name, number, target = port.get("name", ""), port.get("port"), port.get("targetPort")
            if len(ports) > 1 and not name:
                causes.append(required(f"{where}.name"))
            elif name:
                causes += name_causes("label", name, f"{where}.name")
                if name in names:
                    causes.append(duplicate(f"{where}.name", name))
                names.add(name)
            if not _is_port(number):
                causes.append(bad(f"{where}.port", number or 0, "must be between 1 and 65535, inclusive"))
            if port["protocol"] not in _PROTOCOLS:
                causes.append(unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS))
            if isinstance(target, int) and not _is_port(target):
                causes.append(bad(f"{where}.targetPort", target, "must be between 1 and 65535, inclusive"))
            if (number, port["protocol"]) in pairs:
                causes.append(duplicate(where, {"protocol": port["protocol"], "port": number}))
            pairs.add((number, port["protocol"]))
        return causes

    def _check_addresses(self, obj: Json, old: Json | None) -> list[Cause]:
        spec, before = obj["spec"], (old or {}).get("spec") or {}
        given = spec.get("clusterIPs") or []
        if spec["type"] == "ExternalName":
            return (
                [forbidden_field("spec.clusterIPs[0]", "may not be set when type is 'ExternalName'")] if given else []
            )
        had = before.get("clusterIPs") or []
        if had and before.get("type") != "ExternalName" and given[:1] != had[:1]:
            return [bad("spec.clusterIPs[0]", given, "may not change once set")]
        if given == ["None"]:
            return []
        if spec.get("clusterIP") and given and spec["clusterIP"] != given[0]:
            return [bad("spec.clusterIPs", given, "first value must match `clusterIP`")]
        wanted = spec["ipFamilies"] if spec["ipFamilyPolicy"] == "RequireDualStack" else spec["ipFamilies"][:1]
        for index, family in enumerate(wanted):
            if family not in self.networks:
                detail = "not configured on this cluster"
                return [bad(f"spec.ipFamilies[{index}]", family, detail)]
        if not given:
            return [bad("spec.clusterIPs", given, "failed to allocate an IP: range is full")]
        owner = (obj["metadata"].get("namespace", ""), obj["metadata"].get("name", ""))
        for index, text in enumerate(given):
            where, address = f"spec.clusterIPs[{index}]", _address(text)
            network = self.networks.get(f"IPv{address.version}") if address else None
            if address is None:
                detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                return [bad(where, text, detail)]
            if network is None or address not in network:
                detail = f"failed to allocate IP {text}: the provided IP ({text}) is not in the valid range"
                return [bad("spec.clusterIPs", given, detail)]
            if self._used.get(address, owner) != owner:
                detail = f"failed to allocate IP {text}: provided IP is already allocated"
                return [bad("spec.clusterIPs", given, detail)]
        return []


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535

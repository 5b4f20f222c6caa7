"""What flanneld reads out of a Node object, and when it bothers to read it. Pure.

Followed closely, quirks included, because they decide whether a foreign Node (the way Isthmus joins a flannel cluster)
is taken up: flannel's pkg/subnet/kube/kube.go (nodeToLease, handleUpdateLeaseEvent) and pkg/backend/vxlan. In words:

- without the annotation ``kube-subnet-manager: "true"`` a Node does not exist for flanneld;
- a dual-stack flanneld ignores a Node that has no usable ``public-ipv6``, IPv4 included;
- an update counts only if the annotations of *every* enabled family changed: a dual-stack Node that changes its IPv4
  MAC alone is not noticed until flanneld restarts;
- the VNI in ``backend-data`` is not used, but has to fit into 16 bits, or the whole annotation is refused;
- a wrong ``backend-data`` is an error in flanneld's log and nothing else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from isthmus.lab.net.topology import Address, Cidr, Family, family_of

PREFIX = "flannel.alpha.coreos.com"
MANAGED = f"{PREFIX}/kube-subnet-manager"
BACKEND_TYPE = f"{PREFIX}/backend-type"
BACKEND_DATA: dict[Family, str] = {"ipv4": f"{PREFIX}/backend-data", "ipv6": f"{PREFIX}/backend-v6-data"}
PUBLIC_IP: dict[Family, str] = {"ipv4": f"{PREFIX}/public-ip", "ipv6": f"{PREFIX}/public-ipv6"}
VNI = 1
PORT = 8472
_MAC = re.compile(r"([0-9A-Fa-f]{2}([:-]))([0-9A-Fa-f]{2}\2){4}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}")


@dataclass(frozen=True, slots=True)
class Remote:
    """One family's share of a lease: the pod CIDR, and the tunnel end that leads to it."""

    subnet: Cidr
    public: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What one Node offers to the others; ``remotes`` in the order of the enabled families."""

    node: str
    remotes: tuple[Remote, ...]

    @property
    def subnets(self) -> tuple[Cidr, ...]:
        """Return what identifies a lease to flanneld: its subnets."""
        return tuple(remote.subnet for remote in self.remotes)


class Ignored(ValueError):
    """A Node that flanneld does not take up, with what it would log (empty if it would not even log)."""


def read_node(node: dict[str, Any], families: tuple[Family, ...]) -> Lease:
    """Return the lease in ``node`` as a flanneld with ``families`` sees it; Ignored with the reason if it sees none."""
    name = str(node["metadata"]["name"])
    notes = _annotations(node)
    if notes.get(MANAGED) != "true":
        raise Ignored("")
    publics = {family: _public(name, notes, family) for family in families}
    subnets = {family: _subnet(name, node, family) for family in families}
    kind = notes.get(BACKEND_TYPE, "")
    if kind != "vxlan":
        raise Ignored(f"{name}: ignoring non-vxlan subnet: type={kind}")
    macs = {family: _vtep(name, notes.get(BACKEND_DATA[family], ""), family) for family in families}
    return Lease(name, tuple(Remote(subnets[family], publics[family], macs[family]) for family in families))


def update_counts(old: dict[str, Any], new: dict[str, Any], families: tuple[Family, ...]) -> bool:
    """Return whether flanneld looks at ``new`` at all, having seen ``old``."""
    before, after = _annotations(old), _annotations(new)
    return all(
        any(before.get(key) != after.get(key) for key in (BACKEND_DATA[family], BACKEND_TYPE, PUBLIC_IP[family]))
        for family in families
    )


def annotations_for(publics: dict[Family, Address], macs: dict[Family, str]) -> dict[str, str]:
    """Return the annotations a flanneld writes on its own Node."""
    notes = {MANAGED: "true", BACKEND_TYPE: "vxlan"}
    for family, public in publics.items():
        notes[BACKEND_DATA[family]] = json.dumps({"VNI": VNI, "VtepMAC": macs[family]}, separators=(",", ":"))
        notes[PUBLIC_IP[family]] = str(public)
    return notes


def _annotations(node: dict[str, Any]) -> dict[str, str]:
    return dict(node["metadata"].get("annotations") or {})


def _public(name: str, notes: dict[str, str], family: Family) -> Address:
    text = notes.get(PUBLIC_IP[family], "")
    try:
        return IPv4Address(text) if family == "ipv4" else IPv6Address(text)
    except ValueError as error:
        raise Ignored(f"{name}: error turning node to lease: {PUBLIC_IP[family]} is {text!r}") from error


def _subnet(name: str, node: dict[str, Any], family: Family) -> Cidr:
    spec = node.get("spec") or {}
    texts = list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))
    if len(texts) > 2:
        raise Ignored(f"{name}: node pod cidrs should be IPv4/IPv6 only or dualstack")
    for text in texts:
        try:
            subnet: IPv4Network | IPv6Network = ip_network(text, strict=False)
        except ValueError as error:
            raise Ignored(f"{name}: invalid CIDR address: {text}") from error
        if family_of(subnet) == family:
            return subnet
    # Here the real one dereferences nil and crashes; the lab's survives and says so.
    raise Ignored(f"{name}: no {family} podCIDR (the real flanneld crashes on this)")


def _vtep(name: str, text: str, family: Family) -> str:
    """Return the MAC in a backend-data annotation, as Go's encoding/json and net.ParseMAC take it."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise Ignored(f"{name}: error decoding {family} subnet lease JSON: {error}") from error
    if not isinstance(data, dict):
        raise Ignored(f"{name}: error decoding {family} subnet lease JSON: not an object")
    fields = {key.lower(): value for key, value in data.items()}
    vni, mac = fields.get("vni", 0), fields.get("vtepmac", "")
    if vni is not None and (not isinstance(vni, int) or isinstance(vni, bool) or not 0 <= vni <= 0xFFFF):
        raise Ignored(f"{name}: error decoding {family} subnet lease JSON: VNI {vni!r} is no uint16")
    if not isinstance(mac, str) or not _MAC.fullmatch(mac):
        raise Ignored(f"{name}: error decoding {family} subnet lease JSON: VtepMAC {mac!r}")
    digits = re.sub("[^0-9a-f]", "", mac.lower())
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))

"""From the older systems' environment to our kinds: one KubeCluster, one EdgeDevice, one ClusterLink.

Three things can be meant, and the variables tell which: an ADC on an overlay of our own (2.x), an ADC as a peer of the
cluster's own flannel (1.x), or, without any ADC, an overlay to something that somebody else configures (the router).

Two choices are ours. The mark on the ADC is made of the VNID, because that is what is unique on an ADC that several clusters
share, and two installations of one mark would delete each other's objects. And no Service is programmed: the old controller
made routes, and whatever programs virtual servers beside it goes on doing so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from isthmus.compat.access import Access, cluster_access
from isthmus.compat.documents import documents
from isthmus.compat.modes import MODES
from isthmus.compat.reading import Reader
from isthmus.compat.variables import PREFIXES, VARIABLES, hint, is_a_services
from isthmus.kube.connection import SERVICE_ACCOUNT
from isthmus.model.kinds import Key, Kind, parse
from isthmus.model.kinds.check import check
from isthmus.model.kinds.parse import FieldPath, field_text
from isthmus.registry.problems import InputWarning, Problem

__all__ = ["Environment", "Mode", "read"]

Mode = Literal["overlay", "flannel", "router"]
ObjectName = tuple[str, str]
"""Namespace and name."""

_CNIS = {
    **{name: name for name in ("flannel", "calico", "canal", "weave", "cilium", "antrea", "kindnet", "kube-router")},
    "ovn": "ovn-kubernetes",
    "ovn-kubernetes": "ovn-kubernetes",
    "openshift-sdn": "openshift-sdn",
}
_PLACES: tuple[tuple[str, str, str], ...] = (
    ("ClusterLink", "spec.overlay.networks", "NETWORK"),
    ("ClusterLink", "spec.overlay.port", "VXLAN_PORT"),
    ("ClusterLink", "spec.overlay.vni", "VNID"),
    ("ClusterLink", "spec.overlay", "TYPE"),
    ("ClusterLink", "spec.policyRoutes", "CLUSTER_NAME"),
    ("ClusterLink", "spec.directReturn", "DSR_IP_RANGE"),
    ("ClusterLink", "spec.podNetworks", "NODE_CNI_CIDR"),
    ("ClusterLink", "spec.flannel.vni", "NS_VXLAN_ID"),
    ("ClusterLink", "spec.flannel.port", "K8S_VXLAN_PORT"),
    ("EdgeDevice", "spec.netscaler.urls", "NS_IP"),
    ("EdgeDevice", "spec.netscaler.certificateSha256", "NS_CERT_SHA256"),
    ("EdgeDevice", "spec.netscaler.caFile", "NS_CA_FILE"),
    ("EdgeDevice", "spec.tunnelAddresses", "REMOTE_VTEPIP"),
)


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment says: the objects, where the switch and the export stand, and what is wrong or odd.

    ``switch`` is none where nothing ever was one (the router); ``cni`` is what the user says of the CNI, empty if nothing.
    """

    mode: Mode
    objects: Mapping[Key, Kind] = field(default_factory=dict)
    switch: ObjectName | None = None
    export: ObjectName = ("kube-system", "kube-chorus-router")
    cni: str = ""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def cluster(self) -> str:
        """Return the name of the one cluster."""
        return next((name for kind, name in self.objects if kind == "KubeCluster"), "")

    @property
    def link(self) -> str:
        """Return the name of the one link."""
        return next((name for kind, name in self.objects if kind == "ClusterLink"), "")

    @property
    def device(self) -> str:
        """Return the name of the one device."""
        return next((name for kind, name in self.objects if kind == "EdgeDevice"), "")


def read(
    environment: Mapping[str, str],
    drivers: Collection[str] | None = None,
    *,
    service_account: Path = SERVICE_ACCOUNT,
    home: Path | None = None,
    mode: Mode | None = None,
) -> Environment:
    """Return what ``environment`` says, with everything that is wrong with it at once.

    ``drivers`` are the known ones; ``service_account`` and ``home`` are where a pod's and a person's credentials lie.
    ``mode`` is what is meant, where the command already says so.
    """
    reader = Reader(environment)
    found = mode or _mode(reader)
    access = cluster_access(reader, service_account, home or _home())
    wishes = MODES[found](reader)
    names = _names(reader, found, access)
    cni = _cni(reader, found)
    _unused(reader, found)
    _unknown(reader)
    objects: dict[Key, Kind] = {}
    # Also with problems: what our kinds do not take in the rest is told in the same run.
    for document in documents(names.base, access or Access(None, ""), wishes, "/".join(names.export)):
        _take(reader, document, drivers, objects, found)
    if not reader.problems:
        _together(reader, objects)
    if reader.problems:
        objects = {}
    return Environment(
        found, objects, names.switch, names.export, cni, tuple(reader.problems), tuple(reader.warnings)
    )


def _home() -> Path:
    """Return this person's directory; a user that is only a number, as in a container, has none."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def _mode(reader: Reader) -> Mode:
    if not any(name.startswith("NS_") and name in VARIABLES for name in reader.names()):
        return "router"
    return (
        "flannel" if "NETWORK" not in reader and ("NODE_CNI_CIDR" in reader or "NS_POD_CIDR" in reader) else "overlay"
    )


# --- what all modes have ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Names:
    base: str
    switch: ObjectName | None
    export: ObjectName


def _names(reader: Reader, mode: Mode, access: Access | None) -> _Names:
    namespace = access.namespace if access is not None else "kube-system"
    said = {
        variable: reader.name(variable, text)
        for variable in ("CNC_CONFIGMAP", "CNC_ROUTER_NAME")
        if (text := reader.text(variable)) is not None
    }
    switch, export = said.get("CNC_CONFIGMAP"), said.get("CNC_ROUTER_NAME")
    if switch is not None and switch == export:
        reader.wrong(
            "CNC_ROUTER_NAME", "is the name of the switch, CNC_CONFIGMAP, too", "give each a name of its own"
        )
    if mode == "router":
        export = export or "kube-chorus-router"
        return _Names(switch or export, (namespace, switch) if switch else None, ("kube-system", export))
    switch = switch or "citrix-node-controller"
    return _Names(switch, (namespace, switch), (namespace, export or "kube-cnc-router"))


def _cni(reader: Reader, mode: Mode) -> str:
    said: dict[str, str] = {}
    for name in ("CNI_TYPE", "K8S_CNI"):
        text = reader.text(name)
        if text is not None and (known := reader.choice(name, text, _CNIS)) is not None:
            said[name] = known
    if len(set(said.values())) > 1:
        reader.wrong("K8S_CNI", f"contradicts CNI_TYPE={reader.text('CNI_TYPE')}", "keep one of them")
    found = next(iter(said.values()), "")
    if mode == "flannel" and found not in ("", "flannel", "canal"):
        reader.wrong(
            next(iter(said)), "is not flannel, and NODE_CNI_CIDR makes the ADC a peer of flannel", "set NETWORK"
        )
    return found


def _unused(reader: Reader, mode: Mode) -> None:
    for variable in VARIABLES.values():
        if variable.name not in reader:
            continue
        if variable.says.startswith(("Not used", "1.x. Not used")):
            if mode == "flannel" or variable.use != "flannel":
                reader.odd(
                    variable.name,
                    variable.says.removeprefix("1.x. ")[:1].lower() + variable.says.removeprefix("1.x. ")[1:-1],
                    "remove it",
                )
        elif mode == "overlay" and variable.use == "flannel" and variable.name not in ("NODE_CNI_CIDR", "K8S_CNI"):
            reader.odd(
                variable.name,
                "is of flannel's own overlay (1.x), and NETWORK says that there is another",
                "remove it",
            )
        elif mode == "flannel" and variable.name in ("VNID", "VXLAN_PORT", "DSR_IP_RANGE", "REMOTE_TUNNEL_ENDPOINT"):
            reader.odd(variable.name, "is of an overlay of our own, and NODE_CNI_CIDR says flannel's", "remove it")


def _unknown(reader: Reader) -> None:
    for name in sorted(reader.names()):
        if name.startswith(PREFIXES) and name not in VARIABLES and not is_a_services(name):
            meant = hint(name)
            reader.odd(name, "is not known", f"did you mean {meant}?" if meant else "remove it")


# --- from documents to kinds ------------------------------------------------------------------------------------


def _take(
    reader: Reader,
    document: dict[str, Any],
    drivers: Collection[str] | None,
    objects: dict[Key, Kind],
    mode: Mode,
) -> None:
    parsed = parse(document, drivers=drivers)
    if parsed.object is not None:
        objects[parsed.object.key] = parsed.object
        return
    for problem in parsed.problems:
        name = _variable(reader, document["kind"], problem.path, mode)
        if name and reader.is_wrong(name):
            continue  # it is told already, in better words
        if name:
            reader.wrong(name, problem.reason, problem.remedy)
        else:
            place = f"environment: {document['kind']} {field_text(problem.path)}"
            reader.problems.append(Problem(place, problem.reason, problem.remedy))


def _variable(reader: Reader, kind: str, path: FieldPath, mode: Mode) -> str:
    """Return the variable that the field at ``path`` comes from, empty if it is one of ours."""
    text = field_text(path)
    found = next((name for of, start, name in _PLACES if of == kind and text.startswith(start)), "")
    others = {
        "REMOTE_VTEPIP": ("REMOTE_TUNNEL_ENDPOINT", "NS_VTEP_IP", "NS_IP"),
        "VXLAN_PORT": ("K8S_VXLAN_PORT",) if mode == "router" else (),
    }
    return next((name for name in (found, *others.get(found, ())) if name in reader or reader.is_wrong(name)), found)


def _together(reader: Reader, objects: Mapping[Key, Kind]) -> None:
    for found in check(objects.values()).findings:
        place = f"environment: {'/'.join(found.key)}: {field_text(found.problem.path)}"
        make, into = (InputWarning, reader.warnings) if found.warning else (Problem, reader.problems)
        into.append(make(place, found.problem.reason, found.problem.remedy))

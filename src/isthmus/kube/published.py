"""From objects as they came to published facts: one function a kind, each tolerant, none raises.

See ``model.published`` for what the facts mean, ``loose`` for how a field that is not what it should be is read, and
``publishing`` for which objects are read at all.
"""

from __future__ import annotations

from typing import Any

from isthmus.core.ground import DEVICE_LABEL
from isthmus.kube.documents import flat
from isthmus.kube.loose import Loose
from isthmus.model.published import (
    CiliumNode,
    ConfigMap,
    Container,
    DaemonSet,
    HostSubnet,
    OpenShiftNetwork,
    PublishedNode,
)
from isthmus.model.resources import IPAddress

__all__ = [
    "cilium_node",
    "config_map",
    "daemon_set",
    "host_subnet",
    "node",
    "openshift_network",
]

_ANNOTATIONS = (
    "flannel.alpha.coreos.com/",
    "projectcalico.org/",
    "network.cilium.io/",
    "io.cilium.network.",
    "k8s.ovn.org/",
    "kube-router.io/",
    "k3s.io/",
    "rke2.io/",
)
_TOO_LONG = 64 * 1024


def node(object: Any) -> PublishedNode:
    """Return what a Node publishes."""
    one = Loose(object)
    spec = "podCIDRs" if one.at("spec", "podCIDRs") else "podCIDR"
    texts = one.items("spec", "podCIDRs") if spec == "podCIDRs" else [one.at("spec", "podCIDR")]
    assigned = [one.network(text, spec) for text in texts if text not in (None, "")]
    labels, annotations = one.mapping("metadata", "labels"), one.mapping("metadata", "annotations")
    os = labels.get("kubernetes.io/os") or one.text("status", "nodeInfo", "operatingSystem")
    return PublishedNode(
        name=one.text("metadata", "name"),
        internal=_internal(one, "InternalIP", "address", "status", "addresses"),
        assigned=tuple(dict.fromkeys(network for network in assigned if network is not None)),
        annotations={
            key: text for key, text in annotations.items() if key.startswith(_ANNOTATIONS) and len(text) < _TOO_LONG
        },
        up=next(
            (
                condition.text("reason")
                for condition in one.parts("status", "conditions")
                if condition.text("type") == "NetworkUnavailable" and condition.text("status") == "False"
            ),
            "",
        ),
        windows=os == "windows" or "Windows" in one.text("status", "nodeInfo", "osImage"),
        device=DEVICE_LABEL in labels,
        problems=tuple(one.problems),
    )


def daemon_set(object: Any) -> DaemonSet:
    """Return what a DaemonSet runs. One of an apps/v1 fixture without a status is taken to run."""
    one = Loose(object)
    pod = Loose(one.at("spec", "template", "spec"), one.problems)
    containers = [_container(part, init=True) for part in pod.parts("initContainers")]
    containers += [_container(part, init=False) for part in pod.parts("containers")]
    mounted = [volume.text("configMap", "name") for volume in pod.parts("volumes")]
    return DaemonSet(
        namespace=one.text("metadata", "namespace"),
        name=one.text("metadata", "name"),
        containers=tuple(containers),
        config_maps=tuple(dict.fromkeys(name for name in mounted if name)),
        scheduled=one.whole("status", "desiredNumberScheduled"),
        windows=pod.mapping("nodeSelector").get("kubernetes.io/os") == "windows",
        problems=tuple(one.problems),
    )


def config_map(object: Any) -> ConfigMap:
    """Return what a ConfigMap says, the documents within it flat."""
    one = Loose(object)
    return ConfigMap(
        namespace=one.text("metadata", "namespace"),
        name=one.text("metadata", "name"),
        values=flat(one.mapping("data"), one.problems),
        problems=tuple(one.problems),
    )


def cilium_node(object: Any) -> CiliumNode:
    """Return what a CiliumNode tells."""
    one = Loose(object)
    ipam = one.at("spec", "ipam") if isinstance(one.at("spec", "ipam"), dict) else {}
    pools = None
    if "pools" in ipam:
        allocated = list(one.parts("spec", "ipam", "pools", "allocated"))
        pools = tuple(dict.fromkeys(network for part in allocated for network in part.networks("cidrs")))
    clouds = {"eni": "eni", "azure": "azure", "alibaba-cloud": "alibabacloud"}
    return CiliumNode(
        name=one.text("metadata", "name"),
        internal=_internal(one, "InternalIP", "ip", "spec", "addresses"),
        own=_internal(one, "CiliumInternalIP", "ip", "spec", "addresses"),
        pod_cidrs=one.networks("spec", "ipam", "podCIDRs") if "podCIDRs" in ipam else None,
        pools=pools,
        cloud=next((cloud for key, cloud in clouds.items() if one.at("spec", key)), ""),
        problems=tuple(one.problems),
    )


def host_subnet(object: Any) -> HostSubnet:
    """Return what a HostSubnet tells; its fields stand at the top of the object."""
    one = Loose(object)
    said = one.at("subnet")
    return HostSubnet(
        name=one.text("host") or one.text("metadata", "name"),
        address=one.optional_address("hostIP"),
        subnet=one.network(said, "subnet") if said not in (None, "") else None,
        problems=tuple(one.problems),
    )


def openshift_network(object: Any) -> OpenShiftNetwork:
    """Return what OpenShift's Network.config tells."""
    one = Loose(object)
    told = "status" if one.at("status", "clusterNetwork") else "spec"
    ranges = [one.network(part.at("cidr"), f"{told}.clusterNetwork") for part in one.parts(told, "clusterNetwork")]
    return OpenShiftNetwork(
        name=one.text("metadata", "name"),
        wanted=one.text("spec", "networkType"),
        runs=one.text("status", "networkType"),
        ranges=tuple(dict.fromkeys(network for network in ranges if network is not None)),
        mtu=one.whole("status", "clusterNetworkMTU"),
        problems=tuple(one.problems),
    )


def _container(one: Loose, *, init: bool) -> Container:
    env, refs = dict[str, str](), dict[str, tuple[str, str]]()
    for variable in one.parts("env"):
        name, key = variable.text("name"), variable.at("valueFrom", "configMapKeyRef")
        if isinstance(key, dict):
            refs[name] = (str(key.get("name", "")), str(key.get("key", "")))
        elif variable.at("valueFrom", "secretKeyRef") is not None or _secret(name):
            refs[name] = ("", "")  # that there is one may tell something; what it says is nobody's business
        elif variable.at("value") is not None:
            env[name] = variable.text("value")
    words = [word for path in ("command", "args") for word in one.items(path) if isinstance(word, str)]
    return Container(one.text("name"), one.text("image"), tuple(words), env, refs, init)


def _secret(name: str) -> bool:
    return any(word in name.upper() for word in ("PASSWORD", "SECRET", "TOKEN", "KEY"))


def _internal(one: Loose, type: str, field: str, *path: str) -> tuple[IPAddress, ...]:
    found = [one.address(part.at(field), type) for part in one.parts(*path) if part.text("type") == type]
    return tuple(dict.fromkeys(address for address in found if address is not None))

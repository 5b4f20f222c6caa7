"""What the environment wishes, as the documents that a person would write: the way over to files of one's own.

The documents hold only what was said and what makes ours do as the older systems did; they hold no secret, only the names of
the variables that do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from isthmus.compat.access import Access
from isthmus.compat.publishing import EXPORT
from isthmus.model.kinds.addresses import IPAddress, IPNetwork
from isthmus.model.kinds.kind import API_VERSION

__all__ = ["Wishes", "documents"]

Document = dict[str, Any]
_PORTS = {"https": 443, "http": 80}


@dataclass(slots=True)
class Wishes:
    """What the variables say, typed; ``external`` means that somebody else configures the device."""

    external: bool = False
    flannel: bool = False
    hosts: tuple[str, ...] = ()
    protocol: str = "https"
    management_port: int | None = None
    credentials: str | None = None
    ca_file: str | None = None
    fingerprint: str | None = None
    ends: tuple[IPAddress, ...] = ()
    networks: tuple[IPNetwork, ...] = ()
    encapsulation: str = "vxlan"
    vni: int | None = None
    port: int | None = None
    mac: str | None = None
    direct_return: tuple[IPNetwork, ...] = ()
    policy_routes: bool = False
    cluster: str = ""


def documents(base: str, access: Access, wishes: Wishes, export: str) -> Iterator[Document]:
    """Yield the documents of cluster, device and link; device and link are called ``base``.

    ``export`` is the ConfigMap (``namespace/name``) that describes an overlay of our own to others.
    """
    cluster = _named(wishes.cluster) or "kubernetes"
    way = {"inCluster": True} if access.kubeconfig is None else {"kubeconfig": {"path": str(access.kubeconfig)}}
    yield _document("KubeCluster", cluster, way)
    yield _document("EdgeDevice", base, _device(base, wishes))
    link = _document("ClusterLink", base, _link(base, cluster, wishes))
    if not wishes.flannel:
        link["metadata"]["annotations"] = {EXPORT: export}
    yield link


def _document(kind: str, name: str, spec: Document) -> Document:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _named(text: str) -> str:
    """Return ``text`` as a name of ours: what cannot stand in one becomes a dash."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def _device(base: str, wishes: Wishes) -> Document:
    ends = {"tunnelAddresses": [str(end) for end in wishes.ends]}
    if wishes.external:
        return {"driver": "external", **ends}
    port = wishes.management_port
    suffix = "" if port is None or port == _PORTS[wishes.protocol] else f":{port}"
    options: Document = {
        "urls": [f"{wishes.protocol}://{host}{suffix}" for host in wishes.hosts],
        "credentials": (
            {"directory": wishes.credentials}
            if wishes.credentials is not None
            else {"environment": {"username": "NS_USER", "password": "NS_PASSWORD"}}
        ),
        "installation": _installation(base, wishes),
    }
    if wishes.protocol == "http":
        options["plainHttp"] = True
    if wishes.ca_file is not None:
        options["caFile"] = wishes.ca_file
    if wishes.fingerprint is not None:
        options["certificateSha256"] = wishes.fingerprint
    if wishes.mac is not None:
        options["tunnelMac"] = wishes.mac
    return {"driver": "netscaler", **ends, "netscaler": options}


def _installation(base: str, wishes: Wishes) -> str:
    """Return the mark of our objects on an ADC: of the VNI, which no two clusters on it can have both."""
    if wishes.flannel:
        return f"flannel{wishes.vni or 1}"
    if wishes.vni is not None:
        return f"vni{wishes.vni}"
    # IPIP has no number of its own on the ADC; its network is nobody else's there.
    told = " ".join([base, *sorted(map(str, wishes.networks))])
    return f"ipip_{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _link(base: str, cluster: str, wishes: Wishes) -> Document:
    link: Document = {"cluster": cluster, "devices": [base], "services": False}
    if wishes.flannel:
        numbers = {"vni": wishes.vni, "port": wishes.port}
        flannel = {key: number for key, number in numbers.items() if number is not None}
        return link | {
            "path": "flannel",
            "podNetworks": [str(network) for network in wishes.networks],
            "flannel": {**flannel, "nodeName": "citrixadc"},
        }
    overlay: Document = {"networks": [str(network) for network in wishes.networks]}
    if wishes.vni is not None:
        overlay["vni"] = wishes.vni
    if wishes.encapsulation == "ipip":
        overlay["encapsulation"] = "ipip"
    elif wishes.port is not None:
        overlay["port"] = wishes.port
    link |= {"path": "overlay", "overlay": overlay}
    if wishes.policy_routes:
        link["policyRoutes"] = {}
    if wishes.direct_return:
        link["directReturn"] = [str(network) for network in wishes.direct_return]
    return link

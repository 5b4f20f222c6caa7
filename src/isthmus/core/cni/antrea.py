"""Antrea: one YAML document in its ConfigMap says it all; with networkPolicyOnly the pod network is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core.cni.evidence import Evidence, number
from isthmus.core.cni.finding import Finding, NodeNetwork
from isthmus.model.published import ConfigMap, DaemonSet

NAME = "antrea"
_PREFIX = "antrea-agent.conf:"
_DEFAULTS = {"trafficEncapMode": "encap", "tunnelType": "geneve", "trafficEncryptionMode": "none"}
_PORTS = {"geneve": 6081, "vxlan": 4789, "stt": 7471}


def find(evidence: Evidence) -> Finding | None:
    """Return what tells of Antrea; sure only with its configuration, for without it nobody knows whose the network is."""
    running = evidence.running(_is_antrea)
    config = _config(evidence)
    seen = [f"{one.place} runs antrea-agent" for one in running]
    if not seen and config is None:
        return None
    if config is None or _PREFIX not in config.values:
        why = "was not seen" if config is None else "has no antrea-agent.conf that can be read"
        where = f"ConfigMap {running[0].namespace}/antrea-config" if config is None else config.place
        seen.append(f"{where} {why}")
        return Finding(NAME, sure=False, mode="", seen=tuple(seen))
    asked = {key: config.values.get(f"{_PREFIX}{key}", "") for key in _DEFAULTS}
    encapsulation, kind, encryption = (value or _DEFAULTS[key] for key, value in asked.items())
    said = f"{config.place} says {_said(asked, 'trafficEncapMode')}"
    if encapsulation == "networkPolicyOnly":
        return Finding(NAME, sure=bool(running), mode="policy only", seen=(*seen, said), network=False)
    if encapsulation not in ("encap", "hybrid"):
        tunnels: tuple[str, ...] = ("none",) if encapsulation == "noEncap" else ()
        return Finding(NAME, bool(running), encapsulation, (*seen, said), tunnels=tunnels, mtu=_mtu(config))
    wireguard = encryption.lower() == "wireguard"
    tunnel = "wireguard" if wireguard else kind
    extra = f" with {encryption}" if encryption.lower() not in ("none", "wireguard") else ""
    return Finding(
        NAME,
        sure=bool(running),
        mode=f"{encapsulation}, {tunnel}{extra}",
        seen=(*seen, f"{said}, {_said(asked, 'tunnelType')}, {_said(asked, 'trafficEncryptionMode')}"),
        tunnels=(tunnel,) if encapsulation == "encap" else ("none", tunnel),
        port=number(config.values.get(f"{_PREFIX}{'wireGuard.port' if wireguard else 'tunnelPort'}"))
        or _PORTS.get(tunnel),
        mtu=_mtu(config),
    )


def node(evidence: Evidence, finding: Finding, name: str) -> NodeNetwork:
    """Return what is known of one node: Antrea gives pods addresses from what Kubernetes assigned it."""
    node, config = evidence.node_by_name.get(name), _config(evidence)
    gateway = config.values.get(f"{_PREFIX}hostGateway", "") if config is not None else ""
    assigned = node.assigned if node is not None else ()
    return NodeNetwork(name, pod_cidrs=assigned or None, interface=gateway or "antrea-gw0", mtu=finding.mtu)


def _is_antrea(daemon_set: DaemonSet) -> bool:
    container = daemon_set.container("antrea-agent")
    return container is not None and not container.init


def _config(evidence: Evidence) -> ConfigMap | None:
    running = evidence.running(_is_antrea)
    return evidence.config_of("antrea-config", running)


def _said(asked: Mapping[str, str], key: str) -> str:
    return f"{key} {asked[key]}" if asked[key] else f"{key} unset (which is {_DEFAULTS[key]})"


def _mtu(config: ConfigMap) -> int | None:
    return number(config.values.get(f"{_PREFIX}defaultMTU"))

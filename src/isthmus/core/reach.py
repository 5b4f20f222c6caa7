"""What to ask to find a black hole, and what the answers mean.

A wrong tunnel MAC or a missing return route on one node costs exactly that node's share of requests, with no error
anywhere; only an echo request from the device shows it. Two things are asked per node and IP version: the node's own end
of the path, which always answers if the path works both ways, and one pod on it, which may have reasons of its own not to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from isthmus.core import attachment
from isthmus.core.desire import path_of
from isthmus.core.ground import Ground
from isthmus.core.paths import PATHS
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import IPAddress

Role: TypeAlias = Literal["node", "pod"]


class Question(msgspec.Struct, frozen=True):
    """Ask whether ``address`` (the node's end of the path, or a pod on it) answers the device's ``source``."""

    node: str
    role: Role
    address: IPAddress
    source: IPAddress


class Answer(msgspec.Struct, frozen=True):
    """Whether it answered, how long that took, or why it did not."""

    reached: bool
    milliseconds: float = 0.0
    why: str = ""


def questions(ground: Ground, node: NodeFacts) -> list[Question]:
    """Return what to ask about ``node``; nothing where the device has no address of its own on the path yet."""
    name = path_of(ground.world, ground.link)
    if name is None:
        return []
    asked = []
    for version in sorted({prefix.version for prefix in node.pod_cidrs}):
        source = PATHS[name].source(ground, version)
        if source is None:
            continue
        end = _end(ground, node, version)
        pod = _pod(ground, node, version)
        if end is not None:
            asked.append(Question(node.name, "node", end, source))
        if pod is not None:
            asked.append(Question(node.name, "pod", pod, source))
    return asked


def verdicts(answers: Mapping[Question, Answer]) -> dict[str, str]:
    """Return what is wrong per node, as a sentence; nodes about which nothing is wrong are not in it.

    A pod that is silent on a node that answers is told as that and no more: a network policy may forbid it.
    """
    found: dict[str, list[str]] = {}
    for question, answer in answers.items():
        if answer.reached:
            continue
        what = "its end of the path" if question.role == "node" else "a pod on it"
        why = f" ({answer.why})" if answer.why else ""
        found.setdefault(question.node, []).append(
            f"{what}, {question.address}, does not answer {question.source}{why}"
        )
    return {node: f"node {node}: {'; '.join(sorted(texts))}" for node, texts in sorted(found.items())}


def _end(ground: Ground, node: NodeFacts, version: int) -> IPAddress | None:
    match path_of(ground.world, ground.link):
        case "overlay":
            try:
                attached = attachment.parse(node.annotations.get(attachment.annotation(ground.link_name), ""))
            except ValueError:
                return None
            return next((address.ip for address in attached.addresses if address.version == version), None)
        case "flannel":
            return next((prefix.network_address for prefix in node.pod_cidrs if prefix.version == version), None)
        case _:
            return node.address(version)


def _pod(ground: Ground, node: NodeFacts, version: int) -> IPAddress | None:
    cluster = ground.cluster
    for key in sorted(cluster.services_on(node.name)):
        for _, facts in sorted(cluster.slices.get(key, {}).items()):
            for endpoint in facts.endpoints:
                ready = endpoint.ready and not endpoint.terminating
                inside = any(prefix.version == version and endpoint.address in prefix for prefix in node.pod_cidrs)
                if endpoint.node == node.name and ready and inside:
                    return endpoint.address
    return None

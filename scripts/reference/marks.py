"""annotations-and-labels.md: everything of ours that can stand on a Kubernetes object.

What there is, is found in the code (every text with ``isthmus.dev/``); what it means is written here, and a mark without a
meaning stops the page from being made.
"""

from __future__ import annotations

import ast

from reference import source
from reference.markdown import code, table

OURS = "isthmus.dev/"
# mark: (what it is, on what object, who writes it, what it means)
MEANINGS: dict[str, tuple[str, str, str, str]] = {
    "isthmus.dev/abandon": (
        "annotation",
        "ClusterLink, EdgeDevice, the switch ConfigMap",
        "you",
        'With the value `"true"` on an object that is being deleted: it goes without being cleaned up.',
    ),
    "isthmus.dev/cleanup": (
        "finalizer",
        "ClusterLink, EdgeDevice, the switch ConfigMap",
        "the controller",
        "Objects of a home cluster stay until what they made has been cleaned up, and so does the switch of `--from-env`.",
    ),
    "isthmus.dev/accept-answer": (
        "annotation",
        "KubeCluster",
        "you",
        "Any value: believe what the API shows now, although it was restored from a backup or lists nothing where there "
        "was something; what it does not show goes. Take it away afterwards.",
    ),
    "isthmus.dev/addresses": (
        "annotation",
        "Service",
        "you",
        "The addresses the Service asks for, comma-separated, at most one that counts per family. They are given or "
        "refused with a reason, never replaced by others. Without it `spec.loadBalancerIP` counts.",
    ),
    "isthmus.dev/adopt": (
        "annotation",
        "EdgeDevice",
        "you",
        "Identities, comma-separated (`route 10.244.1.0/24, vip 203.0.113.10`): where something foreign stands at one of "
        "them, it is taken over, once. In a home cluster it is then taken out; in a file, remove it yourself.",
    ),
    "isthmus.dev/allow-deletes": (
        "annotation",
        "EdgeDevice",
        "you",
        "Any value is consent to the deletions that the guard holds back on this device. Take it away afterwards.",
    ),
    "isthmus.dev/export": (
        "annotation",
        "ClusterLink",
        "you",
        "`namespace/name` of a ConfigMap that describes the link's overlay to whoever builds the other end. It goes when the "
        "link is deleted; taking the annotation away leaves it.",
    ),
    "isthmus.dev/device": (
        "label and taint",
        "Node",
        "the controller",
        "This Node object stands for a device (path flannel); its value is the EdgeDevice's name. It is no member of "
        "anything and no pod is placed on it.",
    ),
    "isthmus.dev/node-agent-trouble": (
        "annotation",
        "Node",
        "the node agent",
        "What the host cannot have and why: its kernel has no IP-in-IP tunnels. The controller takes the node's pods for "
        "unreachable and says so in the ClusterLink's status; it goes when the agent could make them.",
    ),
    "isthmus.dev/epoch": (
        "annotation",
        "Lease",
        "the controller",
        "The number of the holder's term, which rises with each acquisition of the Lease; gateways refuse a lower one.",
    ),
    "isthmus.dev/load-balancer": (
        "loadBalancerClass",
        "Service",
        "you",
        "Services of this class are ours, unless the KubeCluster says another class in `spec.loadBalancer.class`.",
    ),
    "isthmus.dev/overlay.": (
        "annotation",
        "Node",
        "the controller",
        "`isthmus.dev/overlay.<link>`: the node's place on the overlay of that ClusterLink, as JSON: its addresses and "
        "MAC (assigned once and kept here), VNI, port, MTU and the devices. The node's own agent realises it.",
    ),
    "isthmus.dev/pod-cidrs": (
        "annotation",
        "Node",
        "you",
        "Further pod CIDRs of the node, comma-separated: the Node's own field takes one per family.",
    ),
    "isthmus.dev/pool": (
        "annotation",
        "Service",
        "you",
        "The AddressPool that the Service wants its addresses from.",
    ),
    "isthmus.dev/share": (
        "label",
        "Lease",
        "the controller",
        "One of the Leases by which controllers share devices (`--share-devices`); its value says which controllers.",
    ),
    "isthmus.dev/reconcile": (
        "annotation",
        "Event",
        "the controller",
        "The `reconcile` of the log lines that the same look at the object has written.",
    ),
    "isthmus.dev/Served": (
        "condition",
        "Service",
        "the controller",
        "Whether a device serves the Service; see [reasons](reasons.md).",
    ),
}
# No marks: an API group and version, a prefix of others, a name in Events.
_OTHER = {"isthmus.dev/v1alpha1", "isthmus.dev/", "isthmus.dev/isthmus"}


def found() -> set[str]:
    """Return every mark that the code spells, the part before a placeholder where it has one."""
    marks = set()
    for _, tree in source.modules():
        for node in ast.walk(tree):
            text = source.constant(node) if isinstance(node, ast.expr) else None
            if text is not None and text.startswith(OURS) and " " not in text:
                marks.add(text)
    return marks - _OTHER


def page() -> str:
    """Return the page; fail for a mark without a meaning."""
    there = found()
    assert there <= MEANINGS.keys(), f"write down what these mean: {sorted(there - MEANINGS.keys())}"
    rows = [
        (code(mark + "<link>" if mark.endswith(".") else mark), what, place, who, meaning)
        for mark, (what, place, who, meaning) in sorted(MEANINGS.items())
        if mark in there
    ]
    return (
        "# Annotations, labels, conditions\n\n"
        "Everything of ours that can stand on a Kubernetes object.\n\n"
        + table(("Name", "What it is", "On", "Written by", "Meaning"), rows)
        + "\nA Service's status is written by server-side apply with the field manager `isthmus`, a Node's overlay "
        "annotation with `isthmus-<link>`, so that nothing of anybody else's is touched.\n"
    )

"""What users write: one model per kind, from which files, CRDs, REST and the reference docs all come.

``parse`` turns a plain document into an object or into problems with their field paths; ``check`` looks at all objects
together. Nothing here knows where a document came from: files, an API or a request body mean the same.
"""

from __future__ import annotations

from isthmus.model.kinds.cluster import ACCEPT_ANSWER, LOAD_BALANCER_CLASS, KubeCluster
from isthmus.model.kinds.device import ADOPT, ALLOW_DELETES, EdgeDevice
from isthmus.model.kinds.kind import API_VERSION, CATEGORY, GROUP, VERSION, Condition, Key, Kind, Metadata
from isthmus.model.kinds.known import KINDS
from isthmus.model.kinds.link import ClusterLink
from isthmus.model.kinds.parse import FieldProblem, Parsed, parse
from isthmus.model.kinds.pool import AddressPool
from isthmus.model.kinds.vip import Holder, VirtualIP, vip_address, vip_name
from isthmus.model.kinds.wrong import Wrong

__all__ = [
    "ACCEPT_ANSWER",
    "ADOPT",
    "ALLOW_DELETES",
    "API_VERSION",
    "CATEGORY",
    "GROUP",
    "KINDS",
    "LOAD_BALANCER_CLASS",
    "VERSION",
    "AddressPool",
    "ClusterLink",
    "Condition",
    "EdgeDevice",
    "FieldProblem",
    "Holder",
    "Key",
    "Kind",
    "KubeCluster",
    "Metadata",
    "Parsed",
    "VirtualIP",
    "Wrong",
    "parse",
    "vip_address",
    "vip_name",
]

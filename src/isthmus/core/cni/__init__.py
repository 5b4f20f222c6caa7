"""Which CNI makes a cluster's pod network: one file per CNI, each knows what that one publishes; ``decide`` weighs them.

Pure, like all of ``core``: what was published goes in (``model.published``), a decision with its reasons comes out.
"""

from isthmus.core.cni.decide import CNIS, decide, judge, network
from isthmus.core.cni.evidence import Evidence
from isthmus.core.cni.finding import Certainty, Decision, Finding, NodeNetwork, Vtep
from isthmus.core.cni.kept import Home

__all__ = [
    "CNIS",
    "Certainty",
    "Decision",
    "Evidence",
    "Finding",
    "Home",
    "NodeNetwork",
    "Vtep",
    "decide",
    "judge",
    "network",
]

"""What a node's host cannot have, said on its Node, where the controller reads it: the one thing that an agent ever writes.

Only IP-in-IP needs it, since not every kernel has such tunnels, and nobody outside could tell why packets get lost. It takes
the right to ``patch`` nodes, which an agent has where somebody gave it (``components/encapsulation-ipip``); without it the
agent says so in its log alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.core.ipip import TROUBLE
from isthmus.errors import KubeError
from isthmus.kube.client import KubeClient
from isthmus.kube.kinds import NODES
from isthmus.model.facts import NodeFacts
from isthmus.model.resources import AnyResource, IpTunnel
from isthmus.telemetry import get_logger

__all__ = ["Trouble"]

_LONGEST = 400


class Trouble:
    """Keeps the annotation of one Node as it should be."""

    def __init__(self, client: KubeClient, node: str) -> None:
        self._client = client
        self._log = get_logger("agent").bind(node=node)
        self._failed = ""

    async def tell(
        self, facts: NodeFacts | None, wanted: Mapping[str, AnyResource], refused: Mapping[str, str]
    ) -> None:
        """Say which of ``wanted`` are IP-in-IP tunnels that were ``refused``, and why; a failure is only logged."""
        if facts is None:
            return
        tunnels = sorted(identity for identity, one in wanted.items() if isinstance(one, IpTunnel))
        text = "; ".join(f"{identity}: {refused[identity]}" for identity in tunnels if identity in refused)[:_LONGEST]
        if facts.annotations.get(TROUBLE, "") == text:
            return
        annotations = {TROUBLE: text} if text else {}
        metadata = {"name": facts.name, "uid": facts.uid, "annotations": annotations}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
        try:
            await self._client.apply(NODES, node, field_manager="isthmus-node-agent", force=True)
        except KubeError as error:
            if str(error) != self._failed:
                self._failed = str(error)
                self._log.warning("trouble not told", trouble=text, error=self._failed)
        else:
            self._failed = ""

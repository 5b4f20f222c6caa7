"""One line when a cluster is not heard any more, and one when it is heard again, however many watches it has.

Each watch fails and recovers by itself, and when an API goes they all do. What people want to know is about the cluster: the
first watch that fails says why, the last one that is well again ends it.
"""

from __future__ import annotations

from isthmus.errors import KubeError
from isthmus.telemetry import Voice, get_logger

__all__ = ["Hearing"]


class Hearing:
    """What the watches of one API have to say of it, told once."""

    def __init__(self, cluster: str) -> None:
        self._log = get_logger("kube").bind(cluster=cluster)
        self._voice = Voice()
        self._failing: set[str] = set()

    def failed(self, kind: str, error: KubeError) -> None:
        """Take that the watch of ``kind`` ended in ``error``."""
        self._failing.add(kind)
        self._voice.failed(
            lambda: self._log.warning("cluster not heard", kind=kind, reason=str(error), status=error.status)
        )

    def well(self, kind: str) -> None:
        """Take that the watch of ``kind`` shows what is."""
        self._failing.discard(kind)
        if not self._failing:
            self._voice.well(lambda failures: self._log.info("cluster heard again", after=failures))

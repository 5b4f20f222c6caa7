"""The home cluster's objects as they were when they were last good, kept in the state directory of this machine.

A gateway that boots while its home cluster is away must know which device it is and how to reach its clusters; and an object
that was edited into something wrong goes on as it was, also over a restart. Nothing secret is in these objects: credentials
are references to files.

The confusing thing: this is not a second origin. As soon as the home cluster has been read, what is not there is gone from
here, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from isthmus.errors import IsthmusError
from isthmus.model.kinds import Kind, VirtualIP, parse
from isthmus.registry.state import StateDirectory
from isthmus.telemetry import get_logger

__all__ = ["Recollection"]

_SCOPE = "home"


class Recollection:
    """The objects of one home cluster in one state directory."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._kept: dict[str, Any] = {}
        self._log = get_logger("app")

    async def read(self) -> list[Kind]:
        """Return the objects as they were; what does not parse any more (another version wrote it) is left out."""
        self._kept = await self._state.assignments(_SCOPE)
        parsed = [parse(document) for document in self._kept.values()]
        return [one.object for one in parsed if one.object is not None]

    async def keep(self, objects: Iterable[Kind]) -> None:
        """Keep ``objects``, all but claims: those are many, and worth nothing without the store that decides about them."""
        now = {"/".join(one.key): one.document() for one in objects if not isinstance(one, VirtualIP)}
        gone = dict.fromkeys(self._kept.keys() - now.keys())
        new = {key: document for key, document in now.items() if self._kept.get(key) != document}
        if not new and not gone:
            return
        try:
            await self._state.assign(_SCOPE, {**gone, **new})
        except IsthmusError as error:
            self._log.warning("the home cluster's objects are not kept", error=str(error))
            return
        self._kept = now

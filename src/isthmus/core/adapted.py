"""What the planner asks of a device's driver, and no more: how it spells a wish, and what it cannot change in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from isthmus.model.resources import AnyResource

__all__ = ["Adapt", "Spelled", "Spelling"]


class Spelled(Protocol):
    """What adapting comes to: resources as the device spells them, and those it cannot have."""

    @property
    def resources(self) -> Mapping[str, AnyResource]: ...
    @property
    def refused(self) -> Mapping[str, str]: ...


class Spelling(Protocol):
    """The pure part of a driver."""

    def adapt(self, desired: Mapping[str, AnyResource]) -> Spelled: ...
    def replaces(self, before: AnyResource, after: AnyResource) -> str: ...


Adapt: TypeAlias = Callable[[Mapping[str, AnyResource]], Spelled]

"""What the planner asks of a device's driver, and no more: how a device spells what is wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from isthmus.model.resources import AnyResource

__all__ = ["Adapt", "Spelled"]


class Spelled(Protocol):
    """What adapting comes to: resources as the device spells them, and those it cannot have."""

    @property
    def resources(self) -> Mapping[str, AnyResource]: ...
    @property
    def refused(self) -> Mapping[str, str]: ...


Adapt: TypeAlias = Callable[[Mapping[str, AnyResource]], Spelled]

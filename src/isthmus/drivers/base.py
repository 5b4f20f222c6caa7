"""What every driver is: observe, adapt, apply, and two ways to learn that something moved.

A driver reads a device and carries out changes. Which changes, and whether, is decided elsewhere. The one confusing
thing: ``apply`` never raises for a single bad change, it yields an outcome for it; it raises
:class:`~isthmus.errors.DeviceError` only when the device as a whole cannot be used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from isthmus.model.facts import DeviceFacts
from isthmus.model.plan import Change
from isthmus.model.resources import AnyResource, IPAddress

Method: TypeAlias = Literal["echo", "port"]
Result: TypeAlias = Literal["done", "refused", "unknown"]


class Observation(msgspec.Struct, frozen=True):
    """What a device holds: ours (by the owner mark) as resources, foreign things at our kinds of identities as sentences.

    ``identities`` is the part that was asked for; none means everything.
    """

    resources: Mapping[str, AnyResource]
    foreign: Mapping[str, str]
    facts: DeviceFacts
    identities: frozenset[str] | None = None


class Adapted(msgspec.Struct, frozen=True):
    """Desired resources in this device's spelling, and those it cannot have: identity to reason."""

    resources: Mapping[str, AnyResource]
    refused: Mapping[str, str] = {}


class Outcome(msgspec.Struct, frozen=True):
    """How one change ended.

    ``done``: it stands. ``refused``: the device said no, asking again gives the same answer. ``unknown``: no answer,
    read that identity again. ``disturbed`` says that carrying it out took other things along (a tunnel made anew loses
    its routes), so that everything must be looked at again.
    """

    change: Change
    result: Result
    reason: str = ""
    disturbed: bool = False


class ProbeTarget(msgspec.Struct, frozen=True):
    """Ask whether ``address`` answers what is sent from ``source``; ``size`` is the IP packet's length in bytes.

    An ``echo`` request comes back at its own size, so it asks about both directions. Whoever gets a datagram for a
    closed ``port`` answers with a few bytes, whatever its size: that asks about the way there alone.
    """

    address: IPAddress
    source: IPAddress | None = None
    size: int = 84
    interface: str | None = None
    method: Method = "echo"


class ProbeResult(msgspec.Struct, frozen=True):
    """The answer to a probe: how long it took, or why there was none.

    ``fragment`` is the size of the largest piece of an answer that came in pieces: the way back carries no more. ``mtu`` is
    what the way there carries, where somebody on it said so.
    """

    target: ProbeTarget
    reached: bool
    milliseconds: float = 0.0
    why: str = ""
    fragment: int = 0
    mtu: int = 0


@runtime_checkable
class Saving(Protocol):
    """A driver whose device forgets, when it starts anew, what was not saved."""

    @property
    def save_trouble(self) -> str:
        """Return why what it holds cannot be saved; empty while all is well."""


class Driver(Protocol):
    """The device edge. One instance serves one device and is used by one worker at a time."""

    async def open(self) -> None:
        """Check that the device can be used; raise ``DeviceUnsupported`` or ``DeviceUnreachable`` with what is missing."""

    async def prepare(self) -> None:
        """Make the device ready to be written to (a gateway forwards); called before a full pass that may write.

        What it sets has no owner and is never taken back. ``open`` and ``observe`` write nothing, so that looking is safe.
        """

    async def vacate(self) -> None:
        """Remove what only holds our things (a table, a folder) if nothing is in it any more; else do nothing."""

    async def close(self) -> None:
        """Let go of sockets and tasks; the device keeps what it holds."""

    async def observe(self, identities: Collection[str] | None = None) -> Observation:
        """Return what the device holds: everything, or what stands at ``identities`` alone."""

    def adapt(self, desired: Mapping[str, AnyResource]) -> Adapted:
        """Return ``desired`` as this device would read it back, and what it refuses by value; pure."""

    def replaces(self, before: AnyResource, after: AnyResource) -> str:
        """Return what of ``before`` cannot become ``after`` in place, in words (``its VNI``), or an empty text; pure.

        Such a change makes the thing anew, and it is away for a moment: people read so in the plan before it happens.
        """

    def apply(self, changes: Sequence[Change]) -> AsyncIterator[Outcome]:
        """Carry out ``changes`` in order and yield an outcome for each; one bad change hurts itself only."""

    async def drift(self) -> None:
        """Return when the device's state may have moved by somebody else's hand; our own writes do not count."""

    async def probe(self, targets: Sequence[ProbeTarget]) -> Sequence[ProbeResult]:
        """Ask each target from the device and return the answers in order, within two seconds; nothing is fragmented."""

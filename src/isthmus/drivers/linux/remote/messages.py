"""What controller and gateway agent say to each other: paths, messages, limits. One version of it, said in ``hello``.

Resources travel as they are (``kind`` and fields, addresses as text); each side checks what it reads, field by field. A
reader that meets a field it does not know refuses the message: a gateway that left out a part of an order would do something
else than was decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from isthmus.drivers.base import Observation, Outcome, ProbeResult, ProbeTarget, Result
from isthmus.model.facts import DeviceFacts
from isthmus.model.plain import encode_value
from isthmus.model.plan import Action, Change
from isthmus.model.resources import AnyResource

API = 1
"""Rises when the two sides would not understand each other any more."""

PORT = 7441
BEAT = 0.5
"""Seconds between two signs of life of an agent."""
SILENT_BEATS = 4
"""So many beats may be missed before the agent is taken for gone."""

KIB = 1024
MIB = 1024 * KIB
MOST_ASKED = {
    "/v1/apply": 64 * MIB,
    "/v1/observe": 8 * MIB,
    "/v1/probe": MIB,
}
"""How large a request may be; all others :data:`MOST_ASKED_ELSE`."""
MOST_ASKED_ELSE = 64 * KIB
MOST_ANSWERED = 256 * MIB
MOST_ANSWERED_ELSE = MIB

Epoch = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Pem = Annotated[str, msgspec.Meta(max_length=16 * KIB)]
Short = Annotated[str, msgspec.Meta(max_length=256)]
ProblemKind: TypeAlias = Literal[
    "stale-epoch",
    "device-unreachable",
    "device-refused",
    "device-unsupported",
    "bad-request",
    "too-large",
    "not-enrolled",
    "wrong-token",
    "name-taken",
    "too-many-requests",
    "not-found",
    "failed",
]
"""The last part of a problem's ``type`` (RFC 9457): what a program acts on."""
PROBLEM_TYPE = "urn:isthmus:problem:"


_SENTENCE = 2000


class Hello(msgspec.Struct, frozen=True):
    """Who the agent is and what its host can do. ``start`` is another one after each start; ``moves`` counts drift."""

    api: int
    version: str
    start: str
    installation: str
    protocol: int
    announce: tuple[str, ...]
    ipv6: bool
    epoch: Epoch
    moves: int


class Beat(msgspec.Struct, frozen=True):
    """A sign of life, and how often the host has moved by somebody else's hand."""

    start: str
    moves: int


class AskObserve(msgspec.Struct, frozen=True):
    """Look at ``identities``, or at everything."""

    identities: tuple[str, ...] | None = None


class Seen(msgspec.Struct, frozen=True):
    """An observation. ``identities`` is the part that was asked for, as in :class:`~isthmus.drivers.base.Observation`."""

    resources: tuple[AnyResource, ...]
    foreign: Mapping[str, str]
    facts: DeviceFacts
    identities: tuple[str, ...] | None = None


class Step(msgspec.Struct, frozen=True):
    """One change; its identity follows from its value, ``adopts`` is an order to take over what is foreign."""

    action: Action
    before: AnyResource | None = None
    after: AnyResource | None = None
    adopts: str = ""


class AskApply(msgspec.Struct, frozen=True):
    """Carry ``changes`` out in order, on behalf of the writer with ``epoch``."""

    epoch: Epoch
    changes: tuple[Step, ...]


class Line(msgspec.Struct, frozen=True):
    """One line of the answer to ``apply``: how change number ``at`` ended, or (with ``end``) that no more will come.

    An ``end`` with a ``problem`` says why the changes that have no line were not tried.
    """

    at: int = -1
    result: Result | None = None
    reason: str = ""
    disturbed: bool = False
    end: bool = False
    problem: ProblemKind | None = None
    epoch: int = 0


class AskEpoch(msgspec.Struct, frozen=True):
    """Prepare or vacate, on behalf of the writer with ``epoch``."""

    epoch: Epoch


class AskProbe(msgspec.Struct, frozen=True):
    """Send an echo request to each target."""

    targets: tuple[ProbeTarget, ...]


class Probed(msgspec.Struct, frozen=True):
    """The answers, in the order of the targets."""

    results: tuple[ProbeResult, ...]


class AskEnrol(msgspec.Struct, frozen=True):
    """Sign ``csr`` for the client called ``name``; ``token`` and ``secret`` are those of a token that was not used yet."""

    name: Short
    token: Short
    secret: Short
    csr: Pem


class AskRenew(msgspec.Struct, frozen=True):
    """Sign ``csr`` for the client that asks."""

    csr: Pem


class Enrolled(msgspec.Struct, frozen=True):
    """A client's certificate, and the CA that signs it and the agent."""

    certificate: Pem
    ca: Pem


class Authority(msgspec.Struct, frozen=True):
    """The agent's CA, to be compared with the fingerprint in a token before anything secret is sent."""

    ca: Pem


class Problem(msgspec.Struct, frozen=True):
    """What is wrong (RFC 9457): where, why, and the way out."""

    type: str
    title: Short = ""
    status: int = 0
    detail: str = ""
    place: str = ""
    remedy: str = ""
    epoch: int = 0

    @property
    def kind(self) -> str:
        """Return what a program acts on."""
        return self.type.removeprefix(PROBLEM_TYPE)


def encode(message: Any) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message, enc_hook=encode_value)


def spell_changes(changes: Sequence[Change]) -> tuple[Step, ...]:
    """Return changes as they travel: without the scopes, which are the controller's business."""
    return tuple(Step(change.action, change.before, change.after, change.adopts) for change in changes)


def seen_of(observation: Observation) -> Seen:
    """Return an observation as it travels."""
    asked = None if observation.identities is None else tuple(sorted(observation.identities))
    foreign = {identity: shortened(sentence) for identity, sentence in observation.foreign.items()}
    return Seen(tuple(observation.resources.values()), foreign, observation.facts, asked)


def observation_of(seen: Seen) -> Observation:
    """Return what travelled as an observation."""
    asked = None if seen.identities is None else frozenset(seen.identities)
    return Observation({one.identity: one for one in seen.resources}, dict(seen.foreign), seen.facts, asked)


def line_of(at: int, outcome: Outcome) -> Line:
    """Return an outcome as it travels."""
    return Line(at, outcome.result, shortened(outcome.reason), outcome.disturbed)


def shortened(text: str) -> str:
    """Return a sentence in a length that a reader accepts; what a tool printed has none."""
    return text if len(text) <= _SENTENCE else f"{text[: _SENTENCE - 4]} ..."

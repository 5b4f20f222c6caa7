"""A plan: what would change on one device, and why, as a value that can be printed, stored, compared and refused.

A plan decides nothing and does nothing. ``checksum`` covers what would be done, so that a plan made a minute ago can be
recognised as still true. Order matters and is part of the value: creates and updates by rising rank, then deletes by
falling rank (make before break).
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias

import msgspec

from isthmus.model.plain import encode_value, to_builtins
from isthmus.model.resources import AnyResource

Action: TypeAlias = Literal["create", "update", "delete"]
Answer: TypeAlias = Literal["repair", "alert", "ignore"]


class Scope(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """The key a resource comes from: the unit of recompute and of fault isolation.

    ``kind`` is ``link``, ``node`` or ``service``; ``link`` the ClusterLink; ``name`` the node's name or
    ``namespace/name`` of the Service, empty for the link itself.
    """

    kind: Literal["link", "node", "service"]
    link: str
    name: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.link, self.name) if part)


class Change(msgspec.Struct, frozen=True):
    """One step. ``before`` is what stands there (none for a create), ``after`` what should (none for a delete).

    ``adopts`` says which foreign thing the step takes over, by somebody's explicit order; empty for every other step.
    ``replaces`` says what of an update the device cannot change in place: the thing goes for a moment and comes anew.
    """

    action: Action
    identity: str
    before: AnyResource | None
    after: AnyResource | None
    scopes: tuple[Scope, ...] = ()
    adopts: str = ""
    replaces: str = ""

    @property
    def resource(self) -> AnyResource:
        """Return the value the change is about: the wanted one, or for a delete the one that goes."""
        resource = self.after if self.after is not None else self.before
        assert resource is not None, "a change has a before or an after"
        return resource

    def describe(self) -> str:
        if self.adopts:
            return f"> adopt {self.resource.describe()}   (was: {self.adopts})"
        sign = {"create": "+", "update": "~", "delete": "-"}[self.action]
        text = f"{sign} {self.resource.describe()}"
        if self.action == "update" and self.before is not None:
            replaced = f"; replaced: {self.replaces} cannot be changed in place" if self.replaces else ""
            text += f"   (was: {self.before.describe()}{replaced})"
        return text


class Conflict(msgspec.Struct, frozen=True):
    """A wanted identity is taken: by somebody else on the device, or by another scope of ours (``remedy`` says what then)."""

    identity: str
    wanted: str
    holder: str
    scopes: tuple[Scope, ...] = ()
    remedy: str = ""

    def describe(self) -> str:
        return f"! {self.wanted}: taken by {self.holder}; left alone" + (f" ({self.remedy})" if self.remedy else "")


class Refusal(msgspec.Struct, frozen=True):
    """A scope cannot be served as it stands; ``remedy`` is what a person can do about it."""

    scope: Scope
    reason: str
    message: str
    remedy: str = ""

    def describe(self) -> str:
        return f"? {self.scope}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")


class Held(msgspec.Struct, frozen=True):
    """A change that is right but not allowed now: a delete without knowledge or consent, or one the policy leaves out."""

    change: Change
    reason: str

    def describe(self) -> str:
        return f"= {self.change.describe()}   held: {self.reason}"


class Drift(msgspec.Struct, frozen=True, order=True):
    """Something of ours is not as we left it, by somebody else's hand; ``answer`` says what is done about it."""

    identity: str
    was: str
    now: str
    answer: Answer

    def describe(self) -> str:
        told = {"repair": "is put right", "alert": "is left so, and reported", "ignore": "is left so"}[self.answer]
        return f"* drift: was {self.was}, is {self.now or 'gone'}; {told}"


class Plan(msgspec.Struct, frozen=True):
    """What would change on ``device``, in order, and what will not and why."""

    device: str
    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    held: tuple[Held, ...] = ()
    drifts: tuple[Drift, ...] = ()

    @property
    def empty(self) -> bool:
        """Say whether nothing would be written."""
        return not self.changes

    def checksum(self) -> str:
        """Return a short text that changes whenever the changes do."""
        text = msgspec.json.encode((self.device, self.changes), enc_hook=encode_value, order="deterministic")
        return hashlib.sha256(text).hexdigest()[:16]

    def count(self, action: Action) -> int:
        """Return the number of changes of one kind."""
        return sum(1 for change in self.changes if change.action == action)

    def summary(self) -> str:
        """Return one line: what, how much, what is in the way."""
        parts = [
            f"{self.count('create')} to create, {self.count('update')} to update, {self.count('delete')} to delete"
        ]
        if self.conflicts:
            parts.append(f"{len(self.conflicts)} conflict{'' if len(self.conflicts) == 1 else 's'}")
        for label, things in (("refused", self.refusals), ("held", self.held), ("drifted", self.drifts)):
            if things:
                parts.append(f"{len(things)} {label}")
        return f"{self.device}: " + "; ".join(parts)

    def lines(self) -> list[str]:
        """Return the whole plan as text, a line a change, the summary last."""
        things: tuple[Change | Held | Conflict | Refusal | Drift, ...] = (
            *self.changes,
            *self.held,
            *self.conflicts,
            *self.refusals,
            *self.drifts,
        )
        return [*(thing.describe() for thing in things), self.summary()]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data, its checksum with it."""
        data: dict[str, Any] = to_builtins(self)
        return {**data, "checksum": self.checksum(), "summary": self.summary()}

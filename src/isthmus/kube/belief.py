"""What we believe of a complete list: which of the missing objects are gone, and which are kept in doubt.

The one place that lets objects disappear because a list does not show them. It believes a list of the same cluster that
is not empty and not older than what we have seen. Otherwise the missing objects are *held*: they stay in the store, a
sentence says why, and they leave by a DELETED event, by a later list that is to be believed, or because a person said so.

The one confusing thing: the two doubts end differently. An empty list is put right by the next one that is not empty. A
resourceVersion that went back means that the API was restored from a backup; later lists are just as incomplete, so only a
person (or the objects' return) ends that doubt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from isthmus.model.facts import ObjectKey


def went_back(version: str, before: str) -> bool:
    """Say whether resourceVersion ``version`` is older than ``before``.

    Versions compare as whole numbers (Kubernetes' own rule since 1.35, KEP-5504); any other spelling tells nothing.
    """
    return version.isdecimal() and before.isdecimal() and int(version) < int(before)


@dataclass(slots=True)
class Belief:
    """The doubts about one collection. ``suspect`` is a sentence for people, none while there is no doubt."""

    what: str
    highest: str = ""
    held: set[ObjectKey] = field(default_factory=set)
    restored: bool = False
    foreign: str | None = None

    @property
    def suspect(self) -> str | None:
        if self.foreign is not None:
            return self.foreign
        if not self.held:
            return None
        count = f"{len(self.held)} {self.what} that we know"
        if self.restored:
            return f"the API went back to an older state (restored from a backup?) and no longer shows {count}: kept"
        return f"the API shows no {self.what} at all, and so none of the {count}: kept"

    @property
    def suspect_empty(self) -> bool:
        """Say whether the doubt is one that a list with anything in it ends."""
        return bool(self.held) and not self.restored

    def seen(self, version: str) -> None:
        """Remember the newest resourceVersion of this cluster."""
        if version and not went_back(version, self.highest):
            self.highest = version

    def judge(self, known: Collection[ObjectKey], shown: Collection[ObjectKey], version: str) -> set[ObjectKey]:
        """Return which of ``known`` are gone, given a complete list at ``version`` that showed ``shown``; hold the rest."""
        missing = {key for key in known if key not in shown}
        self.restored = bool(missing) and (self.restored or went_back(version, self.highest))
        self.held = missing if self.restored or not shown else set()
        self.highest = version
        return missing - self.held

    def event(self, key: ObjectKey) -> None:
        """Note that ``key`` was shown or deleted by an event: there is no doubt about it any more."""
        self.held.discard(key)
        if not self.held:
            self.restored = False

    def accept(self) -> set[ObjectKey]:
        """End all doubt because a person says so; return what is gone by that."""
        gone, self.held = self.held, set()
        self.restored = False
        self.foreign = None
        self.highest = ""
        return gone

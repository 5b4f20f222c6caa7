"""What a device is: its release and the features that are switched on, read once per session.

The version comes as a sentence: ``NetScaler NS13.1: Build 53.24.nc, Date: ...``. Newer releases than we know are taken as
they are; what cannot be read, or is older than the oldest with all that we use, is refused in words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TypeAlias

from isthmus.drivers.netscaler.nitro.bodies import scrubbed
from isthmus.drivers.netscaler.nitro.results import Row
from isthmus.errors import DeviceUnsupported

__all__ = ["OLDEST", "Release", "features_in", "missing_features", "release_in"]

Release: TypeAlias = tuple[int, int, int]

OLDEST: Release = (11, 1, 0)
"""The first with ``idempotent=yes`` and bulk removal; bridge table entries on a VXLAN and its SNIP bindings are older."""

_VERSION = re.compile(r"\bNS(\d{1,3})\.(\d{1,3})(?:\s*:?\s*Build\s+(\d{1,5}))?")


def release_in(row: Row, place: str, secrets: Collection[str] = ()) -> Release:
    """Return release and build that ``nsversion`` says; raise ``DeviceUnsupported`` for one that cannot be used."""
    said = row.get("version")
    text = said if isinstance(said, str) else ""
    found = _VERSION.search(text)
    if found is None:
        raise DeviceUnsupported(
            f"{place}: its version reads {scrubbed(text, secrets)[:80]!r}, which is none of a NetScaler ADC; is it one?"
        )
    release = (int(found[1]), int(found[2]), int(found[3] or 0))
    if release < OLDEST:
        raise DeviceUnsupported(
            f"{place}: release {release[0]}.{release[1]} is too old, {OLDEST[0]}.{OLDEST[1]} is the oldest that is supported"
        )
    return release


def features_in(row: Row) -> frozenset[str]:
    """Return the features that ``nsfeature`` says are on."""
    said = row.get("feature")
    return frozenset(one for one in said if isinstance(one, str)) if isinstance(said, list) else frozenset()


def missing_features(wanted: Sequence[str], features: frozenset[str]) -> tuple[str, ...]:
    """Return those of ``wanted`` that are off."""
    on = {one.lower() for one in features}
    return tuple(one for one in wanted if one.lower() not in on)

"""The user's objects from up to three origins (files, the environment, a home cluster) as one configuration.

What only shows when all objects are seen together (a link in the home cluster that names a device in a file) is judged over
both. One object has one origin: of two objects of one name the file's counts, whichever came first, because the answer must
be the same after a restart; the other is refused and told so.

The one confusing thing: claims are the other way round. A VirtualIP in the home cluster is the store's own record of who has
the address, so a file that says the same name does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.errors import InputError
from isthmus.model.kinds import Key, Kind
from isthmus.model.kinds.check import Finding, check
from isthmus.model.kinds.parse import field_text
from isthmus.registry.problems import DuplicateObject, InputWarning, Problem
from isthmus.registry.watch import Snapshot

__all__ = ["Configuration", "Origin", "beside", "combined", "files_origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """What stands at one place: good objects, what is wrong with single ones, the wrong ones, and how to call each place."""

    objects: Mapping[Key, Kind] = field(default_factory=dict)
    problems: tuple[InputError, ...] = ()
    broken: frozenset[Key] = frozenset()
    places: Mapping[Key, str] = field(default_factory=dict)
    located: Mapping[tuple[Key, str, str], Problem] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that counts; which objects of the home cluster do not count because a file says them (``refused``).

    ``broken`` objects are written wrong; those of them that are in the snapshot stand as they were before. ``beaten`` are
    written claims that do not count because the home cluster has them.
    """

    snapshot: Snapshot
    refused: Mapping[Key, Problem] = field(default_factory=dict)
    from_files: frozenset[Key] = frozenset()
    broken: frozenset[Key] = frozenset()
    beaten: frozenset[Key] = frozenset()


def files_origin(snapshot: Snapshot) -> Origin:
    """Return what files say, without what was found wrong among them together: that is judged over both origins."""
    # FileRegistry puts its findings about objects together last, one problem each; how many there are does not depend on
    # what else was broken.
    together = len(check(snapshot.objects.values()).findings)
    alone = snapshot.problems[: len(snapshot.problems) - together]
    located = {
        (one.key, one.reason, one.remedy): one
        for one in snapshot.problems[len(alone) :]
        if isinstance(one, Problem) and one.key is not None
    }
    broken = frozenset(
        one.key
        for one in alone
        if isinstance(one, Problem) and one.key is not None and not isinstance(one, InputWarning | DuplicateObject)
    )
    places = {key: f"{origin}: {'/'.join(key)}" for key, origin in snapshot.origins.items()}
    return Origin(snapshot.objects, alone, broken, places, located)


def beside(files: Origin, environment: Origin) -> Origin:
    """Return files and environment as one origin: of two objects of one name the file's counts, for it can say more."""
    twice = files.objects.keys() & environment.objects.keys()
    problems = tuple(
        DuplicateObject(
            environment.places[key], f"stands also in {_file(files, key)}, which counts", "keep one", key=key
        )
        for key in sorted(twice)
    )
    return Origin(
        {**environment.objects, **files.objects},
        (*files.problems, *environment.problems, *problems),
        files.broken | environment.broken,
        {**environment.places, **files.places},
        files.located,
    )


def combined(files: Origin, home: Origin) -> Configuration:
    """Return the one configuration that both origins come to."""
    duplicates = files.objects.keys() & home.objects.keys()
    claims = {key for key in duplicates if key[0] == "VirtualIP"}
    objects = {**home.objects, **files.objects, **{key: home.objects[key] for key in claims}}
    places = {**home.places, **files.places, **{key: home.places[key] for key in claims}}
    refused = {
        key: DuplicateObject(
            home.places[key], f"stands also in {_file(files, key)}, which counts", "keep one", key=key
        )
        for key in sorted(duplicates - claims)
    }
    beaten = [
        DuplicateObject(
            files.places[key], "stands also in the home cluster, which counts for claims", "remove it here"
        )
        for key in sorted(claims)
    ]
    broken = files.broken | (home.broken - refused.keys())
    checked = check(objects.values(), broken)
    together = [_placed(found, places, files.located) for found in checked.findings]
    origins = {key: places[key].removesuffix(f": {'/'.join(key)}") for key in sorted(objects)}
    problems = (*files.problems, *home.problems, *refused.values(), *beaten, *together)
    snapshot = Snapshot({key: objects[key] for key in sorted(objects)}, problems, checked.unusable, origins)
    return Configuration(snapshot, refused, frozenset(files.objects.keys() - claims), broken, frozenset(claims))


def _file(files: Origin, key: Key) -> str:
    return files.places[key].removesuffix(f": {'/'.join(key)}")


def _placed(found: Finding, places: Mapping[Key, str], located: Mapping[tuple[Key, str, str], Problem]) -> Problem:
    problem = found.problem
    known = located.get((found.key, problem.reason, problem.remedy))
    if known is not None:
        return known  # with the line of the very field
    path = field_text(problem.path)
    place = f"{places[found.key]}: {path}" if path else places[found.key]
    return (InputWarning if found.warning else Problem)(place, problem.reason, problem.remedy, key=found.key)

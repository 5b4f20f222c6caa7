"""Where one-time commands take objects and memory from: files, the environment, a home cluster, or all; read once.

It means the same as the controller's own way (``app.origins`` puts both origins together), it only does not follow. The one
confusing thing: a home cluster that cannot be read ends the command, while a cluster that is joined and cannot be read is a
remark. Without the objects there is nothing to say; without one cluster there is still something about the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from isthmus.app.home.claims import reserved
from isthmus.app.home.home import DEFAULT_NAMESPACE
from isthmus.app.home.memory import HomeMemory
from isthmus.app.home.objects import REFERENCES
from isthmus.app.home.objects import read as read_object
from isthmus.app.memory import Addresses, addresses_of, read_only, recorded
from isthmus.app.older import environment_origin
from isthmus.app.origins import Configuration, Origin, beside, combined, files_origin
from isthmus.compat.environment import Environment
from isthmus.core.world import Choice
from isthmus.errors import InputError, KubeNotFound
from isthmus.kube.client import KubeClient
from isthmus.kube.connection import Connection, in_cluster
from isthmus.kube.kubeconfig import load as load_kubeconfig
from isthmus.loop.recorded import Recorded
from isthmus.model.kinds import KINDS, ClusterLink, EdgeDevice, Key, Kind, VirtualIP
from isthmus.model.kinds.parse import field_text
from isthmus.registry.files import load
from isthmus.registry.located import examine
from isthmus.registry.problems import InputWarning, Problem
from isthmus.registry.state import StateDirectory
from isthmus.registry.watch import Snapshot

__all__ = ["Look", "Sources", "look", "sources"]


@dataclass(frozen=True, slots=True)
class Sources:
    """Which directory, environment, home cluster and state directory; ``state`` may be none, or not begun yet."""

    config: Path | None
    state: Path | None
    home: Connection | None = None
    namespace: str = DEFAULT_NAMESPACE
    environment: Environment | None = None


@dataclass(slots=True)
class Look:
    """What stands there now: the configuration, who has which address, and what was chosen and applied before."""

    configuration: Configuration
    doubt: str | None = None
    vips: list[VirtualIP] = field(default_factory=list)
    choices: dict[str, Choice] = field(default_factory=dict)
    addresses: dict[str, Addresses] = field(default_factory=dict)
    uids: Mapping[str, str] = field(default_factory=dict)
    applied: dict[str, Recorded] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[InputError]:
        """Return what is wrong in the configuration; what works in spite of it is among the notes."""
        return [one for one in self.configuration.snapshot.problems if not isinstance(one, InputWarning)]


def sources(
    config: Path | None,
    state: Path | None,
    kubeconfig: Path | None,
    *,
    inside: bool,
    namespace: str | None,
    environment: Environment | None = None,
) -> Sources:
    """Return the sources that a command line names; ``inside`` means that the home cluster is the one whose pod this is."""
    if kubeconfig is None and not inside:
        return Sources(config, state, environment=environment)
    connection = load_kubeconfig(kubeconfig) if kubeconfig is not None else in_cluster()
    own = DEFAULT_NAMESPACE if kubeconfig is not None else connection.namespace
    return Sources(config, state, connection, namespace or own, environment)


async def look(where: Sources, drivers: Collection[str], *, memory: bool = True) -> Look:
    """Read everything once; raises for a home cluster or a state directory that cannot be read.

    Without ``memory`` only the objects are read: whoever cleans up must not be kept from it by a memory that is damaged.
    """
    files, doubt = _files(where.config, drivers)
    if where.environment is not None:
        files = beside(files, environment_origin(where.environment))
    if where.home is None:
        found = Look(combined(files, Origin()), doubt)
    else:
        async with KubeClient(where.home) as client:
            found = await _home(client, where.namespace if memory else None, files, drivers)
        found.doubt = doubt
    snapshot = found.configuration.snapshot
    found.notes += [f"configuration: {one}" for one in snapshot.problems if isinstance(one, InputWarning)]
    for kind, name in snapshot.unusable:
        found.notes.append(f"{kind} {name} cannot be used as it is, and is left out; what it has made stays")
    if where.environment is not None and where.environment.switch is not None:
        switch = "/".join(where.environment.switch)
        found.notes.append(
            f"what the environment says counts while ConfigMap {switch} is there, which is not asked here"
        )
    written = [one for one in snapshot.objects.values() if isinstance(one, VirtualIP)]
    found.vips = [*written, *found.vips]
    if memory:
        _remembered(where, found)
    return found


def _files(config: Path | None, drivers: Collection[str]) -> tuple[Origin, str | None]:
    if config is None:
        return Origin(), None
    loaded = load(config, drivers)
    located = {one.key: one for one in loaded.objects}
    together, unusable = examine(located, loaded.broken)
    objects = {key: located[key].object for key in sorted(located)}
    places = {key: located[key].origin for key in sorted(located)}
    snapshot = Snapshot(objects, (*loaded.problems, *together), unusable, places)
    origin = replace(files_origin(snapshot), broken=loaded.broken)
    return origin, None if loaded.readable else f"{config} cannot be read"


# --- the home cluster -------------------------------------------------------------------------------------------


async def _home(client: KubeClient, namespace: str | None, files: Origin, drivers: Collection[str]) -> Look:
    objects: dict[Key, Kind] = {}
    places: dict[Key, str] = {}
    problems: list[InputError] = []
    broken: set[Key] = set()
    claims: list[VirtualIP] = []
    for kind in KINDS:
        for document in await _listed(client, kind):
            one = read_object(kind, drivers, document)
            place = f"{'/'.join(one.key)} (home cluster)"
            if one.object is not None:
                objects[one.key], places[one.key] = one.object, place
                continue
            broken.add(one.key)
            for wrong in one.problems:
                where = field_text(wrong.path)
                problems.append(
                    Problem(f"{place}: {where}" if where else place, wrong.reason, wrong.remedy, key=one.key)
                )
            if kind == "VirtualIP" and (standing := reserved(one.key[1])) is not None:
                claims.append(standing)
    found = Look(combined(files, Origin(objects, tuple(problems), frozenset(broken), places)), vips=claims)
    if namespace is None:
        return found
    memory = HomeMemory(client, namespace)
    await memory.read()
    found.choices = await memory.choices()
    found.uids = await memory.uids()
    for link in [key[1] for key in found.configuration.snapshot.objects if key[0] == "ClusterLink"]:
        found.addresses[link] = await memory.addresses(link)
    return found


async def _listed(client: KubeClient, kind: str) -> list[dict[str, object]]:
    try:
        pages = [page async for page in client.list_pages(REFERENCES[kind])]
    except KubeNotFound as error:
        raise InputError(
            f"home cluster {client.connection.name}",
            f"knows no {KINDS[kind].PLURAL}",
            "apply what `isthmus crds` prints there first",
        ) from error
    return [dict(item) for page in pages for item in page.items]


# --- what was kept on this machine ------------------------------------------------------------------------------


def _remembered(where: Sources, found: Look) -> None:
    if where.state is None or not StateDirectory.has_begun(where.state):
        if where.home is None:
            found.notes.append("no state is kept yet: addresses and paths are chosen as a fresh start would")
        return
    objects = found.configuration.snapshot.objects.values()
    with StateDirectory.read(where.state) as reader:
        if where.home is None:
            claims, found.choices = read_only(reader)
            found.vips += claims
            found.uids = {name: str(uid) for name, uid in reader.assignments("cluster").items()}
            for link in objects:
                if isinstance(link, ClusterLink):
                    found.addresses[link.name] = addresses_of(reader.assignments(f"overlay/{link.name}"))
        for device in objects:
            if isinstance(device, EdgeDevice):
                found.applied[device.name] = recorded(reader.read_applied(device.name))

"""Which plans there are: one of chance for every seed, and for one story all of them.

Chance finds what nobody thought of; the systematic plans make sure that no point of an ordinary day was left out: each kind
of failure that a point offers, at every point, one at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from faults.outside import BLOCKS, PATHS
from faults.play import Plan, play
from faults.seam import PAUSES, Fault

_MOST_FAULTS = 5
_POINTS = {"memory": 130, "netscaler": 260}
"""About so many points there are until a life falls quiet, by the kind of device."""
_STORM = 25
OPEN: frozenset[int] = frozenset()
"""Seeds whose plans do not come right, or not soon, with the product as it is; see docs/explanation/faults.md."""
CANONICAL = 7
"""The seed whose life the systematic plans are made of."""


_READS = ("nodes", "services", "endpointslices", "namespaces")
_WRONG_LISTS = ("empty", "failed", "stale", "unsent", "expired", "forbidden", "crash-after")
_ENDS = ("expired", "cut", "frozen", "merged", "closed", "crash-before", "crash-after")


def of_chance(seed: int, device: str = "memory") -> Plan:
    """Return the plan that belongs to ``seed``, on a device of that kind.

    No fault, a few anywhere, a storm of one kind, two controllers of which one is stopped, or a list that lies.

    The last is two or three faults in one place, which chance alone would hardly meet: what a process knows is shaken (its
    watch ends, or it dies), and the list by which it wants to find out is wrong.
    """
    source = random.Random(f"plan {seed}")
    path = source.choice(PATHS[device])
    steps = source.randint(3, 12)
    points = _POINTS[device]
    if source.random() < 0.15:
        return Plan(seed, path, _stopped(source, device), steps, True, device)
    if source.random() < 0.05:
        return Plan(seed, path, (), steps, device=device)
    if source.random() < 0.25:
        return Plan(seed, path, _lying(source, points), steps, device=device)
    if source.random() < 0.15:
        first, kind = source.randrange(points), source.randrange(1000)
        faults = [Fault(at, kind) for at in range(first, first + source.randint(5, _STORM))]
    else:
        faults = [
            Fault(int(source.random() ** 1.3 * points), source.randrange(1000))
            for _ in range(source.randint(1, _MOST_FAULTS))
        ]
    return Plan(seed, path, tuple(sorted(faults, key=str)), steps, device=device)


def _stopped(source: random.Random, device: str) -> tuple[Fault, ...]:
    """Stop a leader somewhere, for longer than its Lease lasts: another takes over, and the old one wakes up in between."""
    points = _POINTS[device]
    at: int | str = int(source.random() * points)
    if source.random() < 0.3:
        change = "device.change" if device == "memory" else source.choice(("nitro.post", "nitro.put", "nitro.delete"))
        at = f"{change}#{source.randint(0, 20)}"  # what was decided in its time is written after it
    elif source.random() < 0.3:
        at = f"kube.patch#{source.randint(0, 8)}"
    faults = [Fault(at, source.choice(PAUSES))]
    faults += [Fault(int(source.random() * points), source.randrange(1000)) for _ in range(source.randint(0, 2))]
    return tuple(sorted(faults, key=str))


def _lying(source: random.Random, points: int) -> tuple[Fault, ...]:
    kind, wrong = source.choice(_READS[:3]), source.choice(_WRONG_LISTS)
    faults = [Fault(f"kube.event {kind}#{source.randint(0, 3)}", source.choice(_ENDS))]
    if source.random() < 0.3:
        faults.append(Fault(source.randrange(points), "crash-before"))
    turn = source.randint(0, 2)
    faults += [Fault(f"kube.{how} {kind}#{turn}", wrong) for how in ("list", "stream")]
    return tuple(faults)


def systematic(path: str, device: str = "memory", seed: int = CANONICAL, steps: int = 8) -> Iterator[Plan]:
    """Yield one plan for each failure at each point of one life on one path."""
    calm = play(Plan(seed, path, (), steps, device=device), record=True)
    assert calm.good, f"without any fault: {calm.wrongs}"
    for number, (_, offered) in enumerate(calm.points):
        for kind in offered:
            yield Plan(seed, path, (Fault(number, kind),), steps, device=device)


def about_blocks(seed: int = CANONICAL, steps: int = 6) -> Iterator[Plan]:
    """Yield one plan for each failure at each point at which a cluster with Calico is asked where its pods are."""
    calm = play(Plan(seed, BLOCKS, (), steps), record=True)
    assert calm.good, f"without any fault: {calm.wrongs}"
    for number, (name, offered) in enumerate(calm.points):
        for kind in offered if any(word in name for word in ("ipamblocks", "daemonsets", "discover")) else ():
            yield Plan(seed, BLOCKS, (Fault(number, kind),), steps)

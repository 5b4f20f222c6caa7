"""Which plans there are: one of chance for every seed, and for one story all of them.

Chance finds what nobody thought of; the systematic plans make sure that no point of an ordinary day was left out: each kind
of failure that a point offers, at every point, one at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from faults.outside import PATHS
from faults.play import Plan, play
from faults.seam import Fault

_MOST_FAULTS = 5
_POINTS = 130
"""About so many points there are until a life falls quiet."""
_STORM = 25
CANONICAL = 7
"""The seed whose life the systematic plans are made of."""


def of_chance(seed: int) -> Plan:
    """Return the plan that belongs to ``seed``: a few faults anywhere, or a storm of one kind."""
    source = random.Random(f"plan {seed}")
    path = source.choice(PATHS)
    steps = source.randint(3, 12)
    if source.random() < 0.15:
        first, kind = source.randrange(_POINTS), source.randrange(1000)
        faults = [Fault(at, kind) for at in range(first, first + source.randint(5, _STORM))]
    else:
        faults = [
            Fault(int(source.random() ** 1.3 * _POINTS), source.randrange(1000))
            for _ in range(source.randint(1, _MOST_FAULTS))
        ]
    return Plan(seed, path, tuple(sorted(faults, key=lambda fault: fault.at)), steps)


def systematic(path: str, seed: int = CANONICAL, steps: int = 8) -> Iterator[Plan]:
    """Yield one plan for each failure at each point of one life on one path."""
    calm = play(Plan(seed, path, (), steps), record=True)
    assert calm.good, f"without any fault: {calm.wrongs}"
    for number, (_, offered) in enumerate(calm.points):
        for kind in offered:
            yield Plan(seed, path, (Fault(number, kind),), steps)

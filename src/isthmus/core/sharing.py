"""Which replica writes to which device, when devices are shared over several: decided from who is alive and who has what.

Each device has an order of preference over the replicas, by a hash of both names (rendezvous hashing): who is first may take
it, and one replica more or less moves only the devices that it is first for. A device that nobody took, although its first
in line seems alive, goes to the second after a while, then to the third.

The one confusing thing: preference moves a device only by its holder giving it up. Nobody takes a device from a replica that
is alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

__all__ = ["in_line", "steps"]


def in_line(device: str, replicas: Iterable[str]) -> list[str]:
    """Return ``replicas`` in the order in which ``device`` prefers them."""
    return sorted(replicas, key=lambda replica: (_weight(device, replica), replica), reverse=True)


def steps(
    me: str,
    devices: Iterable[str],
    live: Collection[str],
    holders: Mapping[str, str],
    free_for: Mapping[str, float],
    patience: float,
) -> tuple[list[str], list[str]]:
    """Return the devices that ``me`` takes now, and those that it gives up.

    ``holders`` says who has each device (nobody: empty or missing), ``free_for`` for how many seconds it has been free;
    the next in line waits ``patience`` seconds longer than the one before.
    """
    take, give = [], []
    for device in sorted(devices):
        line = in_line(device, {*live, me})
        holder = holders.get(device, "")
        if holder == me:
            if line[0] != me:
                give.append(device)
        elif holder not in live and free_for.get(device, 0.0) >= line.index(me) * patience:
            take.append(device)
    return take, give


def _weight(device: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{replica}\0{device}".encode(), digest_size=16).digest()

"""Asks the segments of this gateway who else answers for our VIPs: two owners of one address lose half of the packets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.app.doctor.answers import Answer, fail, ok
from isthmus.drivers.linux.kernel import Kernel
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.segment import answering
from isthmus.model.resources import AnyResource, IPAddress, VirtualAddress

__all__ = ["ask_segments", "judge_vips", "vips_by_link"]


def vips_by_link(observed: Mapping[str, AnyResource]) -> dict[str, list[IPAddress]]:
    """Return the VIPs that stand on interfaces with a segment, by interface."""
    found: dict[str, list[IPAddress]] = {}
    for resource in observed.values():
        if isinstance(resource, VirtualAddress) and resource.link not in ("", "lo"):
            found.setdefault(resource.link, []).append(resource.address)
    return found


async def ask_segments(owner: Owner, vips: Mapping[str, list[IPAddress]]) -> dict[IPAddress, str]:
    """Return the VIPs for which somebody else answers, with that one's MAC; the questions change nobody's cache."""
    kernel = Kernel(owner)
    try:
        links = await kernel.links()
    finally:
        kernel.close()
    found: dict[IPAddress, str] = {}
    for link, addresses in vips.items():
        row = links.by_name.get(link)
        if row is not None:
            found |= await answering(row, addresses)
    return found


def judge_vips(device: str, asked: int, others: Mapping[IPAddress, str]) -> Iterator[Answer]:
    """Yield who else answers for VIPs that stand on ``device``."""
    subject = f"device {device}"
    for address, mac in sorted(others.items(), key=lambda item: str(item[0])):
        yield fail(
            subject,
            f"VIP {address} is answered for by {mac}, too",
            "find that machine, or exclude the address from its pool; two owners lose packets in turn",
        )
    if asked and not others:
        yield ok(subject, f"nobody else answers for {_own(asked)}")


def _own(number: int) -> str:
    return "its VIP" if number == 1 else f"its {number} VIPs"

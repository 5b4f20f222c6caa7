"""What stands in the kernel of a device's namespace, as lines of ``ip``, ``bridge`` and ``nft``, and how to change it.

A thing has a key, lines that make it and lines that unmake it. Wanted and made are compared by value, so a change costs its
own lines and no more. The one confusing thing: what stands on a link goes with the link, so such a thing names the line that
made its link, and is another thing when that is another line.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from isthmus.lab.net.command import run
from isthmus.lab.net.netns import path_of, write_sysctls

_log = logging.getLogger(__name__)
Tool = Literal["ip", "ip6", "bridge", "nft"]
Key = tuple[object, ...]
# Links first, then what stands on them; taken down the other way round.
_TOOLS: tuple[Tool, ...] = ("ip", "ip6", "bridge", "nft")
_ARGV: dict[Tool, tuple[str, ...]] = {
    "ip": ("ip", "-force", "-batch", "-"),
    "ip6": ("ip", "-6", "-force", "-batch", "-"),
    "bridge": ("bridge", "-force", "-batch", "-"),
    "nft": ("nft", "-f", "-"),
}
_FAILED = re.compile(r"Command failed -:(\d+)")
_MAIN = 200_000  # where the main table is looked up: below every policy route there can be (priorities go to 81920)
_SILENT = """
table arp adc {
    set silent { type ipv4_addr; }
    chain in { type filter hook input priority 0; arp daddr ip @silent drop; }
}"""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing; ``rank`` orders the makes of one tool, ``over`` says that making replaces what was there."""

    tool: Tool
    rank: int
    make: tuple[str, ...]
    unmake: tuple[str, ...]
    over: bool = False
    on: str = ""


class Kernel:
    """The kernel's tables in one namespace, as far as they were made here."""

    def __init__(self, namespace: str) -> None:
        """Work in ``namespace``; nothing is touched yet."""
        self._namespace = namespace
        self.made: dict[Key, Thing] = {}
        self._told: set[tuple[Key, str]] = set()

    async def open(self) -> None:
        """Make room for policy routes above the main table, and for addresses that do not answer ARP."""
        # Else the first address of a subnet takes the others along when it goes.
        write_sysctls(self._namespace, [("ipv4/conf/all/promote_secondaries", "1")])
        for tool in ("ip", "ip6"):
            await self._lines(tool, [f"rule add pref {_MAIN} lookup main", "rule del pref 32766"])
        await self._lines("nft", ["add table arp adc", "delete table arp adc", _SILENT])

    async def close(self) -> None:
        """Take away all that was made."""
        await self.become({})
        for tool in ("ip", "ip6"):
            await self._lines(tool, ["rule add pref 32766 lookup main", f"rule del pref {_MAIN}"])
        await self._lines("nft", ["delete table arp adc"])

    async def become(self, wanted: Mapping[Key, Thing]) -> list[Key]:
        """Change what is made into what is wanted; return what is new. What the kernel refuses is logged and tried again."""
        gone = [thing for key, thing in self.made.items() if self._goes(thing, wanted.get(key))]
        for tool in reversed(_TOOLS):
            old = sorted((thing for thing in gone if thing.tool == tool), key=lambda thing: -thing.rank)
            await self._lines(tool, [line for thing in old for line in thing.unmake])
        self.made = {key: thing for key, thing in self.made.items() if wanted.get(key) == thing}
        new = {key: thing for key, thing in wanted.items() if key not in self.made}
        for tool in _TOOLS:
            await self._make(
                tool, sorted(((k, t) for k, t in new.items() if t.tool == tool), key=lambda item: item[1].rank)
            )
        return [key for key in new if key in self.made]

    @staticmethod
    def _goes(made: Thing, wanted: Thing | None) -> bool:
        if wanted is None:
            return True
        return wanted != made and not (wanted.over and wanted.tool == made.tool)

    async def _make(self, tool: Tool, things: Sequence[tuple[Key, Thing]]) -> None:
        lines, owners = list[str](), list[Key]()
        for key, thing in things:
            lines += thing.make
            owners += [key] * len(thing.make)
        failed = await self._lines(tool, lines)
        refused = {owners[place]: why for place, why in failed.items() if place < len(owners)}
        for key, thing in things:
            if key not in refused:
                self.made[key] = thing
            elif (key, refused[key]) not in self._told:
                self._told.add((key, refused[key]))
                _log.warning("not realised: %s: %s", "; ".join(thing.make), refused[key])

    async def _lines(self, tool: Tool, lines: Sequence[str]) -> dict[int, str]:
        """Carry out ``lines`` in one process; return what was refused, and why, by line."""
        if not lines:
            return {}
        where = ["nsenter", f"--net={path_of(self._namespace)}", "--"] if self._namespace else []
        done = await run([*where, *_ARGV[tool]], text="\n".join(lines) + "\n", check=False)
        if tool == "nft":
            return dict.fromkeys(range(len(lines)), done.err.strip()) if done.status else {}
        failed, start = dict[int, str](), 0
        for found in _FAILED.finditer(done.err):
            failed[int(found[1]) - 1] = done.err[start : found.start()].strip()
            start = found.end()
        return failed

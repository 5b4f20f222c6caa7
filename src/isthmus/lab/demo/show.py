"""How the demo looks: a line while a step runs, its outcome with the time it took, one table at the end.

In a pipe it is plain text without redrawing. The exit status says it all: 0 every step was observed, 1 one was not, 3 one
could not be tried on this host.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import IsthmusError, LabError
from isthmus.lab.demo.steps import STEPS, Story
from isthmus.lab.joined import JoinedLab
from isthmus.lab.net.topology import Topology

Result = Literal["seen", "NOT SEEN", "not tried"]
PICTURE = """\
  3 nodes with pods ─────── gateway gw1 ──┬── client-near (on the VIP's segment)
  10.244.N.0/24      VXLAN  isthmus       └── router ── client-far (routed)
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """How one step ended."""

    title: str
    result: Result
    text: str
    seconds: float


async def demo() -> int:
    """Run every step and print how it went; return the exit status."""
    print("Isthmus demo: a cluster and a Linux gateway outside it, in network namespaces\n")
    print(PICTURE)
    shown: list[Shown] = []
    began = time.monotonic()
    joined = JoinedLab(Topology(nodes=3, cni="flannel"), "flannel")
    line = _begin("the lab: nodes, pods, clients, gateway, Kubernetes API")
    try:
        await joined.__aenter__()
    except IsthmusError as error:
        _end(shown, Shown(line, "not tried", str(error), time.monotonic() - began))
        _table(shown, began)
        return 3
    try:
        built = (
            f"{len(joined.lab.network.nodes)} nodes with {len(joined.lab.network.pods)} pods, 2 clients, 1 gateway"
        )
        _end(shown, Shown(line, "seen", built, time.monotonic() - began))
        await _steps(Story(joined), shown)
        if any(one.result == "NOT SEEN" for one in shown) and joined.controller is not None:
            print("\nThe controller's last words:\n" + joined.controller.tail(12))
    finally:
        await joined.__aexit__(None, None, None)
    _table(shown, began)
    return 0 if all(one.result == "seen" for one in shown) else 1


async def _steps(story: Story, shown: list[Shown]) -> None:
    for step in STEPS:
        title = _begin(step.title)
        began = time.monotonic()
        try:
            async with asyncio.timeout(30):
                text = await step.do(story)
        except (LabError, TimeoutError, OSError, KeyError) as error:
            text = str(error) or type(error).__name__
            _end(shown, Shown(title, "NOT SEEN", text.splitlines()[0], time.monotonic() - began))
        else:
            _end(shown, Shown(title, "seen", text, time.monotonic() - began))


def _begin(title: str) -> str:
    if sys.stdout.isatty():
        print(f"  … {title}", end="", flush=True)
    return title


def _end(shown: list[Shown], one: Shown) -> None:
    shown.append(one)
    mark = "✓" if one.result == "seen" else "✗"
    if sys.stdout.isatty():
        colour = "32" if one.result == "seen" else "31"
        print(f"\r\033[2K  \033[{colour}m{mark}\033[0m {one.title}: {one.text}", flush=True)
    else:
        print(f"  {mark} {one.title}: {one.text}", flush=True)


def _table(shown: list[Shown], began: float) -> None:
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title="What was observed", title_justify="left")
    for column in ("Step", "Result", "Seen", "Time"):
        drawn.add_column(column, overflow="fold", justify="right" if column == "Time" else "left")
    for one in shown:
        style = "green" if one.result == "seen" else "bold red"
        drawn.add_row(one.title, f"[{style}]{one.result}[/]", one.text, f"{one.seconds:.1f} s")
    print()
    # In a pipe there is no width to ask for; 140 columns keep every row on one line.
    Console(width=None if sys.stdout.isatty() else 140).print(drawn)
    good = sum(1 for one in shown if one.result == "seen")
    print(f"{good} of {len(STEPS) + 1} steps observed in {time.monotonic() - began:.1f} s")

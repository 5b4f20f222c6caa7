"""The tutorial, typed line by line into the lab's own prompt: what it shows is what one sees."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from docs.pages import ROOT, blocks

TUTORIAL = ROOT / "docs" / "tutorial" / "first-steps.md"
PROMPT = "lab$ "


@dataclass
class Line:
    """One line that a person types, and what the page shows after it."""

    place: str
    command: str
    shown: list[str] = field(default_factory=list)


def typed() -> list[Line]:
    """Return what the tutorial has people type at the lab's prompt."""
    lines: list[Line] = []
    for block in blocks(TUTORIAL, "console"):
        inside = False
        for text in block.text.splitlines():
            if text.startswith(PROMPT):
                lines.append(Line(block.place, text.removeprefix(PROMPT)))
                inside = True
            elif inside and text.strip():
                lines[-1].shown.append(text)
    return [line for line in lines if line.command != "exit"]


def plain(text: str) -> str:
    """Return ``text`` without what differs from one run to the next: which pod, how old, which MAC, how wide."""
    text = re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", text)
    text = re.sub(r"pod=\S+ node=\S+", "pod=P node=N", text)
    text = re.sub(r"\b\d+m?s\b", "AGE", text)
    return " ".join(text.split())


class Prompt:
    """The lab's prompt, with a marker after each command by which its end is known."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._count = 0

    async def type(self, command: str) -> list[str]:
        """Run one line; return what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        marker = f"@@{self._count}@@"
        self._process.stdin.write(f"{command}\nprintf '\\n%s\\n' {marker}\n".encode())
        await self._process.stdin.drain()
        printed: list[str] = []
        async with asyncio.timeout(60):
            while (line := (await self._process.stdout.readline()).decode()) != f"{marker}\n":
                assert line, f"the prompt ended at: {command}; {printed}"
                printed.append(line.rstrip("\n"))
        return printed


@asynccontextmanager
async def lab_prompt() -> AsyncIterator[Prompt]:
    """Open `isthmus lab shell` and wait until it answers; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isthmus", "lab", "shell"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        prompt = Prompt(process)
        await prompt.type("true")
        yield prompt
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(30):
            await process.communicate()


async def until_shown(prompt: Prompt, line: Line) -> None:
    """Type the line until the page's own lines come back: some take a second to become true."""
    wanted = {plain(text) for text in line.shown}
    deadline = time.monotonic() + 15
    while True:
        printed = await prompt.type(line.command)
        missing = wanted - {plain(text) for text in printed}
        if not missing:
            return
        assert time.monotonic() < deadline, f"{line.place}: {line.command}: no {missing} in {printed}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="the tutorial uses kubectl, which is not on the PATH")
async def test_the_tutorial_shows_what_one_sees() -> None:
    """Every line of the tutorial can be typed, in order, and prints what the page says."""
    lines = typed()
    assert len(lines) > 15
    async with lab_prompt() as prompt:
        for line in lines:
            await until_shown(prompt, line)

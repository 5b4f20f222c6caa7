"""Long-running processes inside namespaces: start, look at the log, stop, and never forget one.

A process is started by ``ip netns exec``, so it also sees its namespace's own /sys. Its output goes to a file; the last
lines are what a failed test wants to show. Each process leads a session of its own, so that stopping it takes its
children along. The sandbox would end them all in the worst case; this module ends them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import LabError

_TAIL_BYTES = 64 * 1024


@dataclass(slots=True)
class Running:
    """One process of the lab."""

    name: str
    namespace: str
    argv: tuple[str, ...]
    log: Path
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """Return the process id inside the sandbox."""
        return self.process.pid

    @property
    def status(self) -> int | None:
        """Return the exit status, negative for a signal, None while it runs."""
        return self.process.returncode

    def read_log(self) -> str:
        """Return the end of what the process has written to standard output and error (at most 64 KiB)."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 20) -> str:
        """Return the last ``lines`` of the log."""
        return "\n".join(self.read_log().splitlines()[-lines:])

    async def wait_for_log(self, text: str, *, timeout: float = 10.0) -> None:
        """Wait until the log contains ``text``; LabError with the log's end if it does not, or if the process ends."""
        await self.wait_until(lambda: text in self.read_log(), f"says {text!r}", timeout=timeout)

    async def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float = 10.0) -> None:
        """Wait until ``ready()``; LabError with the log's end when time is up or the process ends first."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not ready():
            if self.status is not None:
                raise LabError(f"{self.name} ended with status {self.status} before it {what}:\n{self.tail()}")
            if asyncio.get_running_loop().time() > deadline:
                raise LabError(f"{self.name}: {timeout:g} s passed before it {what}:\n{self.tail()}")
            await asyncio.sleep(0.02)

    async def wait(self, *, timeout: float = 10.0) -> int:
        """Wait for the process to end by itself and return its exit status; LabError with the log's end if it does not."""
        try:
            async with asyncio.timeout(timeout):
                return await self.process.wait()
        except TimeoutError as error:
            raise LabError(f"{self.name} still runs after {timeout:g} s:\n{self.tail()}") from error

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children; nothing happens if it has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def stop(self, *, grace: float = 3.0) -> int:
        """Ask the process to end (SIGTERM), insist after ``grace`` seconds (SIGKILL), return its exit status."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.process.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self.process.wait()


class Processes:
    """All long-running processes of one lab; their logs are files below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Running] = []

    def __iter__(self) -> Iterator[Running]:
        return iter(list(self._started))

    async def start(
        self, namespace: str, argv: Sequence[str], *, name: str = "", env: Mapping[str, str] | None = None
    ) -> Running:
        """Start ``argv`` inside ``namespace`` ("" for the sandbox's root); ``env`` is added to this process's own."""
        name = name or f"{namespace or 'root'}-{Path(argv[0]).name}"
        log = self.directory / f"{len(self._started) + 1:02d}-{name}.log"
        command = ["ip", "netns", "exec", namespace, *argv] if namespace else list(argv)
        with log.open("ab") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except OSError as error:
                raise LabError(f"{argv[0]} cannot be started: {error.strerror}") from error
        running = Running(name, namespace, tuple(argv), log, process)
        self._started.append(running)
        return running

    async def stop_all(self) -> None:
        """Stop every process that still runs, the youngest first."""
        for running in reversed(self._started):
            await running.stop()

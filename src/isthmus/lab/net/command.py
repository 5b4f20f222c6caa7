"""Run short commands (`ip`, `bridge`, `nft`, anything inside a namespace) and say clearly what went wrong.

Commands are argument lists, never a shell's text. Everything has a time-out. Batches go through standard input, one
process per namespace, because a process per change is what makes labs slow.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.errors import LabError
from isthmus.lab.net.netns import path_of

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Output:
    """What a finished command left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


async def run(argv: Sequence[str], *, text: str = "", timeout: float = _SECONDS, check: bool = True) -> Output:
    """Run ``argv`` with ``text`` as its input; LabError on time-out and, with ``check``, on a status other than 0."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise LabError(f"{argv[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(text.encode())
    except TimeoutError as error:
        raise LabError(f"{' '.join(argv)} did not end within {timeout:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None
    done = Output(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    if check and done.status != 0:
        raise LabError(f"{' '.join(argv)}: {done.err.strip() or f'exit status {done.status}'}")
    return done


async def command_in(
    namespace: str, argv: Sequence[str], *, text: str = "", timeout: float = _SECONDS, check: bool = True
) -> Output:
    """Run ``argv`` inside ``namespace`` (network only: files, processes and /sys are this process's own)."""
    return await run(inside(namespace, argv), text=text, timeout=timeout, check=check)


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """Return the argument list that runs ``argv`` inside ``namespace``."""
    return ["nsenter", f"--net={path_of(namespace)}", "--", *argv] if namespace else list(argv)


async def ip_batch(namespace: str, lines: Sequence[str]) -> None:
    """Carry out ``lines`` of ``ip`` in one process; LabError names the first line that was refused."""
    await _batch("ip", namespace, lines)


async def bridge_batch(namespace: str, lines: Sequence[str]) -> None:
    """Carry out ``lines`` of ``bridge`` in one process."""
    await _batch("bridge", namespace, lines)


async def _batch(tool: str, namespace: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    where = ["-n", namespace] if namespace else []
    done = await run([tool, *where, "-batch", "-"], text="\n".join(lines) + "\n", check=False)
    if done.status == 0:
        return
    # "Command failed -:7" is all iproute2 says about where.
    place = done.err.rsplit("Command failed -:", 1)
    number = int(place[1].split()[0]) if len(place) == 2 and place[1].split()[:1] else 0
    line = lines[number - 1] if 0 < number <= len(lines) else "?"
    reason = place[0].strip() or f"exit status {done.status}"
    raise LabError(f"{tool} in {namespace or 'the root namespace'} refused {line!r}: {reason}")

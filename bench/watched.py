"""The controller under a profiler: ``python -m bench.watched time|memory FILE`` and then ``isthmus``'s own arguments.

``time`` writes where the time went when the process ends in good order; ``memory`` writes what the memory holds, by the line
that asked for it, whenever it is sent SIGUSR2. Both make the controller slower and larger: the figures are not to be used.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import signal
import sys
import tracemalloc
from pathlib import Path

from isthmus.cli import main


def by_time(path: Path) -> None:
    """Run the command and write what took the time."""
    profile = cProfile.Profile()
    try:
        profile.runcall(main)
    finally:
        text = io.StringIO()
        stats = pstats.Stats(profile, stream=text)
        stats.sort_stats("tottime").print_stats(40)
        stats.sort_stats("cumulative").print_stats(40)
        path.write_text(text.getvalue())


def by_memory(path: Path) -> None:
    """Run the command, ready to write what the memory holds."""

    def write(*_: object) -> None:
        lines = tracemalloc.take_snapshot().statistics("lineno")
        total = sum(line.size for line in lines)
        shown = [f"{total / 1e6:8.2f} MB of Python's own, beside the interpreter and its libraries"]
        shown += [f"{line.size / 1e6:8.2f} MB {line.count:9d}  {line.traceback[0]}" for line in lines[:60]]
        path.write_text("\n".join(shown) + "\n")

    tracemalloc.start(1)
    signal.signal(signal.SIGUSR2, write)
    main()


if __name__ == "__main__":
    _, mode, file, *arguments = sys.argv
    sys.argv = ["isthmus", *arguments]
    (by_time if mode == "time" else by_memory)(Path(file))

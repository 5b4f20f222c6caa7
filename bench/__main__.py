"""Run the benches that are asked for, print the table, write ``build/bench.json``; exit status 1 if a goal is missed.

    BENCH=nodes-5000,restart   which ones (all)
    BENCH_SCALE=0.1            cut every size, to see that it works; goals are still told, and mean nothing
    BENCH_PROFILE=1            run under a profiler and write build/profile-<name>.txt; the figures then are too high

Each runs in a process of its own, inside a sandbox of its own (fresh network namespaces): no bench inherits another's
memory, and whatever ends one leaves nothing behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.cases import CASES
from bench.row import Row, skipped, table
from isthmus.lab.net.sandbox import probe

_LONGEST = 300.0
_BUILD = Path("build")


def main() -> int:
    """Run and report."""
    asked = [name.strip() for name in os.environ.get("BENCH", "").split(",") if name.strip()] or list(CASES)
    unknown = [name for name in asked if name not in CASES]
    if unknown:
        sys.stderr.write(f"there is no bench called {', '.join(unknown)}; there are {', '.join(CASES)}\n")
        return 64
    _BUILD.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    found = probe()
    rows: list[Row] = []
    for name in asked:
        if CASES[name].packets and not found:
            rows.append(skipped(name, " ".join(found.reasons)))
        else:
            rows += _run(name)
    document = {"load": load, "cpus": os.cpu_count(), "scale": os.environ.get("BENCH_SCALE", "1"), "rows": rows}
    (_BUILD / "bench.json").write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    sys.stdout.write(table(rows))
    noisy = [row.noise for row in rows if row.noise is not None]
    noise = f"; references differ from themselves by {max(noisy):.0%} at most" if noisy else ""
    sys.stdout.write(f"\n{os.cpu_count()} CPUs, load average {load:.2f} at the start{noise}\n")
    return 1 if any(row.ok is False for row in rows) else 0


def _run(name: str) -> list[Row]:
    """Run one bench in a child and return its rows; a child that fails is a missed goal with its last words."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as made:
        answer = Path(made) / "rows.json"
        environment = {**os.environ, "BENCH_NOW": name}
        profile = _BUILD / f"profile-{name}.txt" if os.environ.get("BENCH_PROFILE") else None
        if profile is not None:
            environment["BENCH_PROFILE_TO"] = str(profile.absolute())
        command = [sys.executable, "-m", "bench.child", name, str(answer)]
        if CASES[name].packets:
            # A gateway's controller is real root; in a user namespace the kernel gives netlink smaller buffers.
            mode = ["--mode", "root"] if os.geteuid() == 0 else []
            command = [sys.executable, "-m", "isthmus.lab.net.sandbox", *mode, "--", *command]
        with (Path(made) / "said").open("w+b") as said:
            terminal = sys.stderr.isatty()
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=None if terminal else said,
                    env=environment,
                    timeout=_LONGEST,
                    check=False,
                )
                failed = f"exit status {done.returncode}" if done.returncode or not answer.exists() else ""
            except subprocess.TimeoutExpired:
                failed = f"not done within {_LONGEST:.0f} s"
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
        if terminal:
            sys.stderr.write("\r\x1b[K")
        if failed:
            sys.stderr.write(f"{name}: {failed}\n{_tail(words)}\n")
            last = words.splitlines()[-1] if words else "it said nothing"
            return [Row(name, None, "", None, None, "to run", False, note=f"{failed}: {last}")]
        rows = msgspec.json.decode(answer.read_bytes(), type=list[Row])
    if profile is not None and profile.exists():
        rows = [msgspec.structs.replace(row, profile=str(profile)) for row in rows]
    sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n" if terminal else "")
    return rows


def _tail(words: str) -> str:
    return "\n".join(words.splitlines()[-12:])


if __name__ == "__main__":
    sys.exit(main())

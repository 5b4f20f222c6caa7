"""Plant each bug in a copy of ``src``, run the tests named beside it, and say whether they saw it.

    python -m mutants.run [--jobs N] [--list] [NAME...]

First the named tests run without any bug: a test that fails anyway sees nothing. A bug is *seen* when pytest says that
tests failed (exit status 1); anything else (no test found, an error while collecting) is a broken entry, not a success.
Exit status 0: every bug was seen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants.rows import ROOT, Mutant, mutants

LONGEST = 240.0
"""Seconds after which a run that does not end counts as failed: a bug may well make a test wait for ever."""


def run_tests(source: Path, tests: Sequence[str], *, packets: bool) -> tuple[int, str]:
    """Run ``tests`` against ``source``/src; return pytest's exit status and the end of what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    if packets:
        command = [sys.executable, "-m", "isthmus.lab.net.sandbox", "--", *command]
    environment = os.environ | {"PYTHONPATH": str(source / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, f"did not end within {LONGEST:.0f} s"
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return done.returncode, "\n".join(said[-15:])


def copy_of_source(into: Path) -> Path:
    """Copy ``src`` into a new folder below ``into`` and return that folder."""
    target = Path(tempfile.mkdtemp(dir=into))
    shutil.copytree(ROOT / "src", target / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return target


def try_one(mutant: Mutant, scratch: Path) -> tuple[str, str, float]:
    """Return how a bug fared (``seen``, ``NOT SEEN`` or ``broken``), what was said of it, and the seconds it took."""
    began = time.monotonic()
    try:
        text = mutant.planted(ROOT)
    except (ValueError, OSError) as error:
        return "broken", str(error), 0.0
    source = copy_of_source(scratch)
    try:
        (source / mutant.file).write_text(text)
        status, said = run_tests(source, mutant.tests, packets=mutant.packets)
    finally:
        shutil.rmtree(source)
    fared = {0: "NOT SEEN", 1: "seen"}.get(status, "broken")
    return fared, said, time.monotonic() - began


def unharmed(chosen: Iterable[Mutant], scratch: Path) -> str | None:
    """Run every named test without a bug; return what failed, or none."""
    source = copy_of_source(scratch)
    for packets in (False, True):
        tests = sorted({test for mutant in chosen if mutant.packets is packets for test in mutant.tests})
        if tests:
            status, said = run_tests(source, tests, packets=packets)
            if status != 0:
                return said
    return None


def main(arguments: Sequence[str]) -> int:
    """Run the chosen bugs, all by default."""
    parser = argparse.ArgumentParser(prog="mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="so many at a time")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    parser.add_argument("name", nargs="*", help="only these bugs")
    options = parser.parse_args(arguments)
    known = {mutant.name: mutant for mutant in mutants()}
    if unknown := set(options.name) - known.keys():
        parser.error(f"no bug is called {', '.join(sorted(unknown))}; --list says which there are")
    chosen = [mutant for name, mutant in known.items() if not options.name or name in options.name]
    if options.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="isthmus-mutants-") as folder:
        scratch = Path(folder)
        print(f"{len(chosen)} bugs; first their tests without any", flush=True)
        if (failed := unharmed(chosen, scratch)) is not None:
            print(f"a named test fails without any bug:\n{failed}")
            return 1
        missed = 0
        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, (fared, said, seconds) in zip(
                chosen, pool.map(lambda one: try_one(one, scratch), chosen), strict=True
            ):
                print(f"{fared:9} {seconds:5.1f} s  {mutant.name}", flush=True)
                if fared != "seen":
                    missed += 1
                    print("           " + said.replace("\n", "\n           "))
    print(f"{len(chosen) - missed} of {len(chosen)} bugs seen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

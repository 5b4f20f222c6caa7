"""Plays plans: one as a story, or many with a table.

python -m faults SEED                               tell the plan of chance that belongs to a seed
python -m faults SEED --path P --steps N --faults "65:lost,kube.list nodes#1:empty"   tell that very plan
python -m faults run COUNT [--first N] [--jobs N]   play plans of chance
python -m faults every [--path P] [--jobs N]        play every single fault at every point of one life
python -m faults blocks [--jobs N]                  play every single fault where Calico's blocks are read
python -m faults catch COUNT --mutant NAME          play until the bug that was made on purpose is found

python -m faults outage                             have a NetScaler answer 503 for ten minutes, and count what it is asked

With --device netscaler the device at the edge is the lab's NetScaler, behind the product's client and driver.

Ends with 1 if a law was broken. The order of sets follows the hash seed, so it is fixed first.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from faults import mutants
from faults.outage import outage
from faults.outside import BLOCKS, DEVICES, PATHS
from faults.plans import OPEN, about_blocks, of_chance, systematic
from faults.play import Plan, Verdict, play
from faults.seam import Fault


def main() -> int:
    """Do what the command line says."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable, [sys.executable, "-m", "faults", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__.partition("\n")[0])
    parser.add_argument("what", help="a seed, run, every, blocks, or catch")
    parser.add_argument("count", nargs="?", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--path", choices=sorted({BLOCKS, *(path for paths in PATHS.values() for path in paths)}))
    parser.add_argument("--device", choices=DEVICES, default="memory", help="what stands at the edge")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rivals", action="store_true", help="let two controllers contend for the Lease")
    parser.add_argument("--faults", default=None)
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="break the product on purpose first")
    parser.add_argument("--json", action="store_true", help="say the result as one JSON object")
    parser.add_argument("--stop", action="store_true", help="stop at the first broken law")
    options = parser.parse_args()
    if options.mutant:
        mutants.MUTANTS[options.mutant]()
    if options.what == "catch":
        return _catch(options)
    if options.what == "run":
        return _many(
            (of_chance(seed, options.device) for seed in range(options.first, options.first + options.count)),
            options.count,
            options,
        )
    if options.what == "outage":
        found = [outage(options.first, after) for after in (None, 5)]
        print(json.dumps([vars(one) for one in found]))
        return 1 if any(one.wrongs for one in found) else 0
    if options.what == "blocks":
        plans = list(about_blocks())
        return _many(plans, len(plans), options)
    if options.what == "every":
        plans = [
            plan
            for path in ([options.path] if options.path else PATHS[options.device])
            for plan in systematic(path, options.device)
        ]
        return _many(plans, len(plans), options)
    plan = of_chance(int(options.what), options.device)
    if options.faults is not None:
        faults = [word.partition(":") for word in options.faults.split(",") if word]
        if not all(at and kind for at, _, kind in faults):
            parser.error('--faults: write "point:kind,point:kind", as in docs/explanation/faults.md')
        chosen = tuple(
            Fault(int(at) if at.isdigit() else at, int(kind) if kind.isdigit() else kind) for at, _, kind in faults
        )
        steps = options.steps or plan.steps
        plan = Plan(plan.seed, options.path or plan.path, chosen, steps, options.rivals, options.device)
    return _tell(plan)


def _tell(plan: Plan) -> int:
    print(f"{plan}, {plan.steps} steps")
    verdict = play(plan, print)
    for wrong in verdict.wrongs:
        print("wrong:", wrong)
    print(
        f"{verdict.seconds:.0f} virtual s, {verdict.lives} lives, {verdict.writes} writes, "
        f"well {verdict.cured:.0f} s after quiet"
    )
    return 0 if verdict.good else 1


def _catch(options: argparse.Namespace) -> int:
    """Play what found this mutant before, then plans of chance; end with 0 once it is found."""
    known = [seed for seed in [mutants.FOUND_BY.get(options.mutant)] if seed is not None]
    law = mutants.LAWS.get(options.mutant, "")
    for played, seed in enumerate([*known, *sorted(set(range(options.count)) - OPEN)], 1):
        wrongs = [wrong for wrong in play(of_chance(seed, options.device)).wrongs if law in wrong]
        if wrongs:
            print(f"{options.mutant}: found by seed {seed}, plan number {played}: {wrongs[0][:200]}")
            return 0
    print(f"{options.mutant}: not found by {options.count} plans")
    return 1


def _many(plans: Iterable[Plan], count: int, options: argparse.Namespace) -> int:
    began = time.monotonic()
    struck: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    bad: list[Verdict] = []
    played, virtual, longest = 0, 0.0, 0.0
    for verdict in _verdicts(plans, options.jobs):
        played += 1
        virtual += verdict.seconds
        longest = max(longest, verdict.cured)
        struck += verdict.struck
        if verdict.good:
            survived += verdict.struck
        else:
            bad.append(verdict)
            if not options.json:
                print(f"WRONG {verdict.plan}, {verdict.plan.steps} steps", *verdict.wrongs[:3], sep="\n      ")
        if options.stop and bad:
            break
        if sys.stderr.isatty():
            print(f"\r{played}/{count} plans, {len(bad)} wrong", end="", file=sys.stderr, flush=True)
    took = time.monotonic() - began
    if options.json:
        wrongs = [
            {"plan": str(verdict.plan), "steps": verdict.plan.steps, "wrongs": verdict.wrongs} for verdict in bad
        ]
        print(json.dumps({"played": played, "wrong": wrongs, "struck": struck, "seconds": took}))
        return 1 if bad else 0
    print(f"\n{'failure':34} {'struck':>8} {'came right':>11}")
    for kind in sorted(struck):
        print(f"{kind:34} {struck[kind]:8} {survived[kind]:11}")
    print(
        f"\n{played} plans, {sum(struck.values())} failures, {len(bad)} wrong; {took:.1f} s, "
        f"{played / took * 3600:,.0f} plans an hour with {options.jobs} processes; "
        f"{virtual / 3600:.1f} virtual hours; longest cure {longest:.0f} s after quiet"
    )
    return 1 if bad else 0


def _verdicts(plans: Iterable[Plan], jobs: int) -> Iterator[Verdict]:
    if jobs <= 1:
        yield from map(play, plans)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(play, plans, chunksize=8)


if __name__ == "__main__":
    sys.exit(main())

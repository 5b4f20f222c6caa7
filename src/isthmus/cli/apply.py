"""``isthmus apply``: carry plans out once, by hand; the same plans that the controller would carry out by itself.

The one confusing thing: with ``--plan`` the file decides nothing. The plan is made anew, and carried out if it is what the
file says; else nothing is.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isthmus.cli import EXIT_FAILED, EXIT_PENDING
from isthmus.cli.options import json_option, source_options
from isthmus.cli.plan import chosen, show
from isthmus.cli.render import count, emit_json, note, plan_line
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.applying import Applied
    from isthmus.app.oneshot import Oneshot
    from isthmus.app.planfile import Reviewed
    from isthmus.app.sources import Sources
    from isthmus.model.plan import Plan

_MARKS = {"done": "green", "refused": "red", "unknown": "yellow", "failed": "red"}


@click.command()
@source_options
@json_option
@click.option(
    "--plan",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Carry out what this file of `isthmus plan --out` says, if that is still what is to be done.",
)
@click.option("--device", "only", multiple=True, help="Only this device; may be given several times.")
@click.option(
    "--allow-deletes", is_flag=True, help="Consent to large deletions; also needed for a file made with it."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(
    where: Sources, as_json: bool, file: Path | None, only: tuple[str, ...], allow_deletes: bool, yes: bool
) -> int:
    """Make the plan, show it, ask, and carry it out once; or carry out a plan that was reviewed in a file.

    Drift that spec.drift leaves alone is put right. No controller of this installation may run: it does all this by
    itself, and keeps this command out.

    Exit code 0: all is done. 1: something was refused, or could not be read. 2: nothing was done, because this is not what
    was reviewed, or because nobody said yes.
    """
    setup_logging(level="warning")
    if file is not None and only:
        raise click.UsageError("--plan says which devices; leave --device out")
    if file is None and not yes and (as_json or not sys.stdin.isatty() or not sys.stdout.isatty()):
        raise click.UsageError("there is nobody to ask; give --yes, or --plan with a file that was reviewed")
    from isthmus.app.planfile import read_plans

    reviewed = read_plans(file) if file is not None else None
    if reviewed is not None and reviewed.allow_deletes and not allow_deletes:
        note(f"{file}: was planned with --allow-deletes; say it here, too, if you mean it")
        return EXIT_PENDING
    if file is None and not yes:
        # Asked outside of any turn to write: a person may read for an hour. What was read is then compared, as a file is.
        shown = asyncio.run(_show(where, only, allow_deletes))
        if isinstance(shown, int):
            return shown
        if not click.confirm("Carry this out?"):
            return EXIT_PENDING
        reviewed = shown
    return asyncio.run(_run(where, as_json, reviewed, only, allow_deletes))


async def _show(where: Sources, only: tuple[str, ...], allow_deletes: bool) -> Reviewed | int:
    """Show the plans and return them as what is reviewed; where there is nothing to carry out, the exit code."""
    from isthmus.app.oneshot import Oneshot
    from isthmus.app.planfile import Reviewed

    async with Oneshot(where) as look:
        plans, missing = _plans(look, None, only, allow_deletes)
        show(look, plans)
        if all(plan.empty for plan in plans):
            failed = bool(missing or look.unread or look.problems)
            _end([], [], look, failed=failed, as_json=False)
            return EXIT_FAILED if failed else 0
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return Reviewed(now, {plan.device: plan.changes for plan in plans}, allow_deletes, True)


async def _run(
    where: Sources, as_json: bool, reviewed: Reviewed | None, only: tuple[str, ...], allow_deletes: bool
) -> int:
    from isthmus.app.applying import Applying
    from isthmus.app.holding import hold
    from isthmus.app.oneshot import Oneshot

    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(hold(where))
        look = await stack.enter_async_context(Oneshot(where, wiring=held.wiring))
        plans, missing = _plans(look, reviewed, only, allow_deletes)
        failed = bool(missing or look.unread or look.problems)
        if reviewed is not None and (moved := _moved(look, reviewed, plans)):
            _say_moved(moved, as_json=as_json)
            return EXIT_PENDING
        if not as_json:
            show(look, plans if reviewed is None else [])
        if all(plan.empty for plan in plans):
            _end([], [], look, failed=failed, as_json=as_json)
            return EXIT_FAILED if failed else 0
        applying = Applying(look, held)
        outcomes = []
        async for one in applying.run(plans):
            outcomes.append(one)
            if not as_json:
                _line(one)
        failed = failed or any(one.result != "done" for one in outcomes)
        _end(outcomes, applying.notes, look, failed=failed, as_json=as_json)
        return EXIT_FAILED if failed or applying.notes else 0


def _plans(
    look: Oneshot, reviewed: Reviewed | None, only: tuple[str, ...], allow_deletes: bool
) -> tuple[list[Plan], list[str]]:
    """Return the plans to carry out, and the devices that could not be read."""
    if reviewed is None:
        devices, missing = chosen(look, only)
        return [look.plan(device, allow_deletes=allow_deletes, repair_drift=True) for device in devices], missing
    devices = [device for device in reviewed.changes if device in look.planners]
    repair = reviewed.repair_drift
    return [look.plan(device, allow_deletes=allow_deletes, repair_drift=repair) for device in devices], []


def _moved(look: Oneshot, reviewed: Reviewed, plans: list[Plan]) -> dict[str, list[str]]:
    """Return by device what is not as it was reviewed."""
    from isthmus.app.planfile import differences

    now = {plan.device: plan for plan in plans}
    moved: dict[str, list[str]] = {}
    for device, changes in reviewed.changes.items():
        if device not in now:
            why = look.unread.get(("EdgeDevice", device), "is not in the configuration any more")
            moved[device] = [f"device {device} {why}"]
            continue
        lines = differences(changes, now[device].changes)
        if lines:
            moved[device] = lines
    if moved:
        note(f"planned at {reviewed.made_at}; the world has moved since, so nothing was done")
    return moved


def _say_moved(moved: dict[str, list[str]], *, as_json: bool) -> None:
    if as_json:
        emit_json({"outcomes": [], "moved": moved})
        return
    for device, lines in moved.items():
        for line in lines:
            click.echo(f"{device}: {line}")
    note("make the plan anew, and review it")


def _line(one: Applied) -> None:
    if one.change is None:
        note(f"{one.device}: {one.reason}")
    elif one.result == "done":
        plan_line(f"{one.change.describe()}   done")
    else:
        click.secho(f"{one.change.describe()}   {one.result}: {one.reason}", fg=_MARKS[one.result])


def _end(outcomes: list[Applied], notes: list[str], look: Oneshot, *, failed: bool, as_json: bool) -> None:
    if as_json:
        told: list[dict[str, Any]] = [
            {
                "device": one.device,
                "change": one.change.describe() if one.change is not None else None,
                "identity": one.change.identity if one.change is not None else None,
                "result": one.result,
                "reason": one.reason,
            }
            for one in outcomes
        ]
        problems = [str(problem) for problem in look.problems]
        emit_json({"outcomes": told, "notes": [*look.notes, *notes], "problems": problems})
        return
    for text in notes:
        note(f"note: {text}")
    done = sum(1 for one in outcomes if one.result == "done")
    rest = [f"{number} {result}" for result in _MARKS if (number := _number(outcomes, result)) and result != "done"]
    nothing = "nothing was done; not everything could be read" if failed else "nothing to do"
    click.echo("; ".join([f"{count(done, 'change')} done", *rest]) if outcomes else nothing)


def _number(outcomes: list[Applied], result: str) -> int:
    return sum(1 for one in outcomes if one.result == result)

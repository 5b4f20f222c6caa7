"""``isthmus plan``: what would change, why, and what is in the way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isthmus.cli import EXIT_FAILED, EXIT_PENDING
from isthmus.cli.options import json_option, source_options
from isthmus.cli.render import emit_json, note, plan_line
from isthmus.errors import InputError
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.oneshot import Oneshot
    from isthmus.app.sources import Sources
    from isthmus.model.plan import Plan


@click.command()
@source_options
@json_option
@click.option("--device", "only", multiple=True, help="Only this device; may be given several times.")
@click.option("--allow-deletes", is_flag=True, help="Show the plan as it would be with consent to large deletions.")
@click.option("--repair-drift", is_flag=True, help="Show the plan with drift put right that spec.drift leaves alone.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the plan to this file, too, for `isthmus apply --plan`.",
)
def command(
    where: Sources, as_json: bool, only: tuple[str, ...], allow_deletes: bool, repair_drift: bool, out: Path | None
) -> int:
    """Show what would change on each device and why; change nothing.

    Exit code 0: nothing would change. 2: changes are pending. 1: something could not be read.
    """
    setup_logging(level="warning")
    return asyncio.run(_run(where, as_json, only, allow_deletes, repair_drift, out))


async def _run(
    where: Sources, as_json: bool, only: tuple[str, ...], allow_deletes: bool, repair_drift: bool, out: Path | None
) -> int:
    from isthmus.app.oneshot import Oneshot
    from isthmus.app.planfile import write_plans

    async with Oneshot(where) as look:
        devices, missing = chosen(look, only)
        plans = [look.plan(device, allow_deletes=allow_deletes, repair_drift=repair_drift) for device in devices]
        if out is not None:
            notes = [*map(str, look.problems), *look.notes]
            write_plans(out, plans, notes, now=time.time(), allow_deletes=allow_deletes, repair_drift=repair_drift)
        if as_json:
            result: dict[str, Any] = {
                "plans": [plan.to_json() for plan in plans],
                "clusters": look.networks(),
                "links": look.paths(),
                "notes": look.notes,
                "problems": [str(problem) for problem in look.problems],
            }
            emit_json(result)
        else:
            show(look, plans)
        if missing or look.unread or look.problems:
            return EXIT_FAILED
        return EXIT_PENDING if any(not plan.empty for plan in plans) else 0


def chosen(look: Oneshot, only: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return the devices to look at (all, if none are named), and those of them that could not be read."""
    unknown = set(only) - look.world.devices.keys()
    if unknown:
        for problem in look.problems:  # a device that stands in a file nobody can read is not known either
            note(f"configuration: {problem}")
        there = ", ".join(sorted(look.world.devices)) or "none"
        raise InputError(f"--device {', '.join(sorted(unknown))}", "is not in the configuration", f"there is {there}")
    wanted = sorted(only or look.world.devices)
    return [device for device in wanted if device in look.planners], [d for d in wanted if d not in look.planners]


def show(look: Oneshot, plans: list[Plan]) -> None:
    """Print plans for people, with what could not be read on stderr."""
    for problem in look.problems:
        note(f"configuration: {problem}")
    for text in look.notes:
        note(f"note: {text}")
    for name, network in look.networks().items():
        note(f"cluster {name}: CNI {network['why']}")
    for name, path in look.paths().items():
        note(f"link {name}: path {path['path']}: {path['why']}")
    for plan in plans:
        for line in plan.lines():
            plan_line(line)

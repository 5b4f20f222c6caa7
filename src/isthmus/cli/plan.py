"""``isthmus plan``: what would change, why, and what is in the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from isthmus.cli import EXIT_FAILED, EXIT_PENDING
from isthmus.cli.options import config_option, json_option, state_option
from isthmus.cli.render import emit_json, note, plan_line
from isthmus.telemetry import setup_logging


@click.command()
@config_option
@state_option
@json_option
@click.option("--device", "only", multiple=True, help="Only this device; may be given several times.")
@click.option("--allow-deletes", is_flag=True, help="Show the plan as it would be with consent to large deletions.")
def command(config: Path, state: Path, as_json: bool, only: tuple[str, ...], allow_deletes: bool) -> int:
    """Show what would change on each device and why; change nothing.

    Exit code 0: nothing would change. 2: changes are pending. 1: something could not be read.
    """
    setup_logging(level="warning")
    return asyncio.run(_run(config, state, as_json, only, allow_deletes))


async def _run(config: Path, state: Path, as_json: bool, only: tuple[str, ...], allow_deletes: bool) -> int:
    from isthmus.app.oneshot import Oneshot

    async with Oneshot(config, state) as look:
        unknown = set(only) - look.world.devices.keys()
        if unknown:
            raise click.UsageError(f"no device is called {', '.join(sorted(unknown))}")
        devices = [device for device in sorted(look.planners) if not only or device in only]
        plans = [look.plan(device, allow_deletes=allow_deletes) for device in devices]
        missing = [d for d in (only or look.world.devices) if d not in look.planners]
        if as_json:
            result: dict[str, Any] = {
                "plans": [plan.to_json() for plan in plans],
                "notes": look.notes,
                "problems": [str(problem) for problem in look.problems],
            }
            emit_json(result)
        else:
            for problem in look.problems:
                note(f"configuration: {problem}")
            for text in look.notes:
                note(f"note: {text}")
            for plan in plans:
                for line in plan.lines():
                    plan_line(line)
        unread = any(view.pending for view in look.world.clusters.values())
        if missing or unread or look.problems:
            return EXIT_FAILED
        return EXIT_PENDING if any(not plan.empty for plan in plans) else 0

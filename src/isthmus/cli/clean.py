"""``isthmus clean``: take everything that is ours off a device, because a person says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import json_option, source_options
from isthmus.cli.render import count, emit_json, note, plan_line
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.sources import Sources


@click.command()
@source_options
@click.option("--device", "only", multiple=True, help="Only this device; may be given several times.")
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would go.")
@json_option
def command(where: Sources, only: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Remove everything that carries our owner mark from the configured devices; leave everything else.

    Stop the controller first, or it puts everything back (at a gateway with an agent, a controller that runs writes no more
    until it is started again). Without --yes nothing is changed.

    Exit code 0: done, or shown. 1: something could not be read or removed.
    """
    setup_logging(level="warning")
    return asyncio.run(_run(where, only, yes, as_json))


async def _run(where: Sources, only: tuple[str, ...], yes: bool, as_json: bool) -> int:
    from isthmus.app.cleaning import clean

    outcomes, problems = await clean(where, only, really=yes)
    # A device that stands in a file nobody can read is not cleaned, and that is no success.
    for problem in problems:
        note(f"configuration: {problem}")
    failed = [outcome for outcome in outcomes if outcome.result not in ("done", "pending")]
    if as_json:
        emit_json([{"device": o.device, "change": o.text, "result": o.result, "reason": o.reason} for o in outcomes])
    else:
        for outcome in outcomes:
            plan_line(f"{outcome.text}" + (f"   {outcome.result}: {outcome.reason}" if outcome.reason else ""))
        verb = "removed" if yes else "would be removed; say --yes to do it"
        nothing = "nothing was found to remove" if problems else "nothing of ours is there"
        well = len(outcomes) - len(failed)
        click.echo(f"{count(well, 'thing')} {verb}" if outcomes else nothing)
    if failed:
        note(f"{count(len(failed), 'thing')} could not be removed")
    return EXIT_FAILED if failed or problems else 0

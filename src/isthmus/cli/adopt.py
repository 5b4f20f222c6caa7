"""``isthmus adopt``: order that foreign things on a device be taken over, once."""

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
@click.argument("device")
@click.argument("identities", metavar="IDENTITY...", nargs=-1, required=True)
@source_options
@json_option
@click.option("--dry-run", is_flag=True, help="Only show what would be taken over.")
def command(device: str, identities: tuple[str, ...], where: Sources, as_json: bool, dry_run: bool) -> int:
    """Order that what stands at IDENTITY (as in `isthmus plan`: "route 10.244.1.0/24") on DEVICE be taken over.

    A foreign thing where one of ours should stand is a conflict, and is left alone. After this order it is replaced by ours:
    by a running controller at once, else by the next `isthmus apply` or start. The order is spent when that is done. With a
    home cluster it is written as the annotation isthmus.dev/adopt on the EdgeDevice.

    Exit code 0: ordered, or shown. 1: one of them cannot be taken over; then nothing is ordered.
    """
    setup_logging(level="warning")
    return asyncio.run(_run(device, identities, where, as_json, dry_run))


async def _run(device: str, identities: tuple[str, ...], where: Sources, as_json: bool, dry_run: bool) -> int:
    from isthmus.app.adopting import order, place

    found = await order(where, device, identities)
    if found.refused:
        dry_run = True
    if not dry_run:
        await place(where, device, [change.identity for change in found.changes])
    if as_json:
        taken = [
            {"identity": c.identity, "from": c.adopts, "to": c.after.describe() if c.after else ""}
            for c in found.changes
        ]
        emit_json({"device": device, "adopt": taken, "refused": dict(found.refused), "ordered": not dry_run})
    else:
        for change in found.changes:
            plan_line(change.describe())
        for identity, why in found.refused.items():
            note(f"{identity}: {why}")
        if found.refused:
            note("nothing is ordered")
        elif not dry_run:
            click.echo(f"{count(len(found.changes), 'order')} placed")
    return EXIT_FAILED if found.refused else 0

"""``isthmus explain``: hop by hop, facts to wish to device, with what is wanted beside what is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import json_option, source_options
from isthmus.cli.render import emit_json, note
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.sources import Sources

_SIGNS = {True: ("ok ", "green"), False: ("NO ", "red"), None: ("   ", None)}


@click.command()
@click.argument("subject", metavar="NODE|PODCIDR|POD|VIP|NAMESPACE/SERVICE")
@source_options
@json_option
def command(subject: str, where: Sources, as_json: bool) -> int:
    """Say why a node, pod CIDR, pod address, VIP or Service is as it is, from the cluster to the device.

    Exit code 0: every hop holds. 1: one does not, or nothing of that name is known.
    """
    setup_logging(level="warning")
    return asyncio.run(_run(subject, where, as_json))


async def _run(subject: str, where: Sources, as_json: bool) -> int:
    from isthmus.app.oneshot import Oneshot
    from isthmus.core.explain import Explanation, concerns, explain

    async with Oneshot(where) as look:
        for device in look.planners:
            look.plan(device)
        found = explain(subject, look.world, look.planners)
        proof = await look.probe(found.nodes) if found is not None else []
        for text in (*(str(problem) for problem in look.problems), *look.notes):
            if concerns(text, found):
                note(f"note: {text}")
    if found is None:
        note(f"nothing is known of {subject}: no node, pod CIDR, pod, VIP or Service is called so")
        return EXIT_FAILED
    found = Explanation(found.subject, (*found.hops, *proof))
    if as_json:
        hops = [{"stage": hop.stage, "text": hop.text, "ok": hop.ok} for hop in found.hops]
        emit_json({"subject": found.subject, "holds": found.holds, "hops": hops})
    else:
        for hop in found.hops:
            sign, colour = _SIGNS[hop.ok]
            click.secho(f"{sign} {hop.stage:<8} {hop.text}", fg=colour)
    return 0 if found.holds else EXIT_FAILED

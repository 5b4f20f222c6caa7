"""``isthmus doctor``: check everything that can be in the way, a sentence each, with the way out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import json_option, source_options
from isthmus.cli.render import count, emit_json, note
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.doctor.answers import Answer
    from isthmus.app.sources import Sources

_SIGNS = {"ok": ("ok  ", "green"), "warn": ("WARN", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@source_options
@json_option
@click.option("--quiet", is_flag=True, help="Leave out what is well.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what support asks for into this archive (.tar.gz), too; secrets are left out.",
)
@click.option("--log", type=click.Path(path_type=Path, dir_okay=False), help="A log whose end goes into the bundle.")
def command(where: Sources, as_json: bool, quiet: bool, bundle: Path | None, log: Path | None) -> int:
    """Check this host, the state, the configuration, clusters, devices, links, pools and credentials; change nothing.

    Run it where the controller runs, as root. Exit code 0: nothing failed. 1: something did.
    """
    setup_logging(level="error")
    if log is not None and bundle is None:
        raise click.UsageError("--log is for --bundle")
    return asyncio.run(_run(where, as_json, quiet, bundle, log))


async def _run(where: Sources, as_json: bool, quiet: bool, bundle: Path | None, log: Path | None) -> int:
    from isthmus.app.doctor.bundle import write_bundle
    from isthmus.app.doctor.examine import examine

    found = await examine(where)
    shown = [answer for answer in found.answers if not quiet or answer.level != "ok"]
    if as_json:
        told = [{"subject": a.subject, "level": a.level, "text": a.text, "remedy": a.remedy} for a in shown]
        emit_json({"answers": told, "well": found.well})
    else:
        for answer in shown:
            _line(answer)
        numbers = [sum(1 for one in found.answers if one.level == level) for level in _SIGNS]
        click.echo(f"{numbers[0]} ok, {count(numbers[1], 'warning')}, {count(numbers[2], 'failure')}")
    if bundle is not None:
        names = await write_bundle(where, found, bundle, log)
        note(f"{bundle}: {count(len(names), 'file')}; look through it before you send it")
    return 0 if found.well else EXIT_FAILED


def _line(answer: Answer) -> None:
    sign, colour = _SIGNS[answer.level]
    click.secho(f"{sign} {answer.subject}: {answer.text}", fg=colour)
    if answer.remedy:
        click.echo(f"     -> {answer.remedy}")

"""``isthmus config``: the objects that count, as files of one's own; the way over from the older systems' environment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import json_option, source_options
from isthmus.cli.render import emit_json

if TYPE_CHECKING:
    from isthmus.app.sources import Sources


@click.command()
@source_options
@json_option
def command(where: Sources, as_json: bool) -> int:
    """Print every object that counts as YAML, and what is wrong with others on stderr.

    With --from-env: what the older systems' variables mean, to be kept as a file from now on. No secret is printed.

    Exit code 0: all objects are printed. 1: some are wrong, or could not be read.
    """
    import yaml

    from isthmus.app.drivers import DRIVERS
    from isthmus.app.sources import look

    found = asyncio.run(look(where, set(DRIVERS), memory=False))
    documents = [one.document() for _, one in sorted(found.configuration.snapshot.objects.items())]
    if as_json:
        emit_json(documents)
    else:
        click.echo(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True), nl=False)
    for note in found.notes:
        click.secho(note, fg="yellow", err=True)
    for problem in found.problems:
        click.secho(str(problem), fg="red", err=True)
    return EXIT_FAILED if found.problems or found.doubt else 0

"""``isthmus validate``: check files before anybody uses them."""

from __future__ import annotations

from pathlib import Path

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import json_option
from isthmus.cli.render import emit_json


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@json_option
def command(files: tuple[Path, ...], as_json: bool) -> int:
    """Check FILES (or directories) of our kinds: each on its own, and all of them together.

    Exit code 0: nothing is wrong. 1: each problem is printed with its place, the reason and the way out.
    """
    from isthmus.app.drivers import DRIVERS
    from isthmus.registry.files import validate_files

    problems = validate_files(files, set(DRIVERS))
    if as_json:
        emit_json([{"place": p.place, "reason": p.reason, "remedy": p.remedy} for p in problems])
    else:
        for problem in problems:
            click.secho(str(problem), fg="red", err=True)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        click.echo(count if problems else "nothing is wrong")
    return EXIT_FAILED if problems else 0

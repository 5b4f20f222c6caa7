"""``isthmus validate``: check files before anybody uses them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from isthmus.cli import EXIT_FAILED
from isthmus.cli.options import FROM_ENV, json_option
from isthmus.cli.render import emit_json


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@FROM_ENV
@json_option
def command(files: tuple[Path, ...], from_env: bool, as_json: bool) -> int:
    """Check FILES (or directories) of our kinds: each on its own, and all of them together; or the environment.

    Exit code 0: nothing is wrong. 1: each problem is printed with its place, the reason and the way out.
    """
    from isthmus.app.drivers import DRIVERS
    from isthmus.registry.files import validate_files

    if not files and not from_env:
        raise click.UsageError("Missing argument 'FILES...' (or give --from-env).")
    problems = list(validate_files(files, set(DRIVERS))) if files else []
    if from_env:
        from isthmus.compat.environment import read

        said = read(os.environ, set(DRIVERS))
        problems += said.problems
        for warning in said.warnings:
            click.secho(str(warning), fg="yellow", err=True)
    if as_json:
        emit_json([{"place": p.place, "reason": p.reason, "remedy": p.remedy} for p in problems])
    else:
        for problem in problems:
            click.secho(str(problem), fg="red", err=True)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        click.echo(count if problems else "nothing is wrong")
    return EXIT_FAILED if problems else 0

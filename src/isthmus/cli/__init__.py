"""The command line: thin verbs over ``app``, and the renderers for what people read. No decision is made here.

Exit codes, the same for every command: 0 it is so; 1 it failed; 2 changes are pending (``plan``, ``apply``); 3 something
could not be tried on this host (``lab``); 64 the command line is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXIT_FAILED = 1
EXIT_PENDING = 2
EXIT_UNTRIED = 3
EXIT_USAGE = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    import click

    from isthmus.cli.commands import group
    from isthmus.errors import IsthmusError

    try:
        result = group.main(
            args=None if arguments is None else list(arguments), prog_name="isthmus", standalone_mode=False
        )
    except click.UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_FAILED)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except IsthmusError as error:
        click.secho(f"isthmus: {error}", fg="red", err=True)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
    except OSError as error:
        click.secho(f"isthmus: {error.strerror or error}", fg="red", err=True)
        sys.exit(EXIT_FAILED)
    sys.exit(result if isinstance(result, int) else 0)

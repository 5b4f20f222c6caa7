"""Options that several verbs share, spelled once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONFIG = Path("/etc/isthmus")
DEFAULT_STATE = Path("/var/lib/isthmus")


def config_option(function: F) -> F:
    """Add ``--config DIR``."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_CONFIG,
        show_default=True,
        help="Directory with the user's objects (YAML or JSON).",
    )(function)


def state_option(function: F) -> F:
    """Add ``--state DIR``."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STATE,
        show_default=True,
        help="Directory for claims, choices and the last applied state.",
    )(function)


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def log_option(function: F) -> F:
    """Add ``--log-level``."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="How much is logged (on stderr; JSON in a pipe).",
    )(function)

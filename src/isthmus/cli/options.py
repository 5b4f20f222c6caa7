"""Options that several verbs share, spelled once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isthmus.telemetry import choose_format

if TYPE_CHECKING:
    from isthmus.web.address import Address

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
    """Add ``--log-level`` and ``--log-format``; only the level is handed to the command."""
    level = click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="How much is logged (on stderr).",
    )
    format = click.option(
        "--log-format",
        type=click.Choice(["auto", "console", "json"]),
        default="auto",
        show_default=True,
        expose_value=False,
        callback=lambda _context, _parameter, value: choose_format(value),
        help="How it is written; auto is JSON in a pipe and lines at a terminal.",
    )
    return level(format(function))


def listen_option(port: int) -> Callable[[F], F]:
    """Add ``--listen ADDR:PORT``; ``port`` is the one that our manifests use."""
    return click.option(
        "--listen",
        metavar="ADDR:PORT",
        callback=_address,
        help=f"Serve /healthz, /readyz and /metrics there, to whoever asks, for example 127.0.0.1:{port}."
        " [default: nowhere]",
    )


def _address(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Address | None:
    from isthmus.web.address import Address

    return Address.parse(value) if value else None

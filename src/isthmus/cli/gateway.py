"""``isthmus gateway``: on the controller's machine, how it gets a gateway's agent to let it in."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import click

from isthmus.cli.options import DEFAULT_STATE, spelled
from isthmus.errors import InputError

_MOST = 4096


@click.group()
def command() -> None:
    """Let this machine's controller in at a gateway's agent."""


@command.command(short_help="Get a certificate for a device with its agent's token.")
@click.argument("device")
@click.option("--url", required=True, help="Where the agent listens, like https://gw1.example.org:7441.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token; without it the token is read from standard input.",
)
@click.option("--name", help="What the agent shall call this controller. [default: this host's name]")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STATE / "gateways",
    show_default=True,
    help="Directory of credentials: `gateways` below the controller's state directory, or spec.linux.agent.directory.",
)
def enrol(device: str, url: str, token_file: Path | None, name: str | None, directory: Path) -> None:
    """Get a certificate for the EdgeDevice DEVICE with a token that `isthmus agent gateway token` printed there.

    The agent is recognised by the fingerprint in the token before the token's secret is sent. Run it as the user that the
    controller runs as: it must be able to read the key.
    """
    from isthmus.app.gateway_enrolment import checked
    from isthmus.app.gateway_enrolment import enrol as become_client

    with spelled():
        url = checked(device, url)
    place = str(token_file) if token_file is not None else "standard input"
    called = (name or socket.gethostname()).lower()
    found = asyncio.run(become_client(_token(token_file), device, url, called, directory, place=place))
    click.echo(
        f"enrolled as {found.name}; the key and certificate in {found.folder} hold until {found.until:%Y-%m-%d}"
    )


@command.command(short_help="Show by what we are known at a device, and until when.")
@click.argument("device")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STATE / "gateways",
    show_default=True,
    help="Directory of credentials.",
)
def show(device: str, directory: Path) -> None:
    """Show by what this controller is known at DEVICE, and until when."""
    from isthmus.app.gateway_enrolment import show as shown

    found = shown(device, directory)
    click.echo(f"{found.device}: enrolled as {found.name} until {found.until:%Y-%m-%d %H:%M} UTC, in {found.folder}")


def _token(path: Path | None) -> str:
    if path is None:
        if sys.stdin.isatty():
            return str(click.prompt("Token (not shown)", hide_input=True, err=True))
        return sys.stdin.read(_MOST)
    try:
        with path.open() as file:
            return file.read(_MOST)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from error

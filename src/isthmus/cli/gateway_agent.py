"""``isthmus agent gateway``: on a gateway whose controller runs elsewhere; and the commands that say who may ask it."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isthmus.cli.durations import DURATION
from isthmus.cli.options import json_option, listen_option, log_option, spelled
from isthmus.cli.render import note
from isthmus.errors import InputError
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.gateway_agent import Wanted
    from isthmus.web.address import Address

_STATE = Path("/var/lib/isthmus-gateway")
_state = click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The agent's state directory. [default: that of the agent's own --state, or {_STATE}]",
)


@click.group(invoke_without_command=True, short_help="Serve this host as a gateway to a controller elsewhere.")
@click.option(
    "--listen",
    default=":7441",
    show_default=True,
    metavar="ADDR:PORT",
    help="Where to listen; :PORT is all addresses.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=_STATE,
    show_default=True,
    help="Directory for keys, the list of clients, the epoch and the last applied state.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    help="Another name or address by which controllers reach this host (behind NAT, in DNS); may be repeated.",
)
@click.option(
    "--installation", default="main", show_default=True, help="Marks what is ours: nft table isthmus_<name>."
)
@click.option(
    "--protocol",
    type=click.IntRange(16, 255),
    default=200,
    show_default=True,
    help="Route protocol number that marks what is ours.",
)
@click.option("--announce", multiple=True, help="Interface on which VIPs may be answered for; any if not given.")
@click.option(
    "--member-probe",
    type=DURATION,
    metavar="INTERVAL",
    help="Ask the nodes this often (100ms) whether they answer, and give no new flows to pods on one that missed two; "
    "off if not given.",
)
@click.option(
    "--certificate-lifetime",
    type=DURATION,
    default="90d",
    show_default=True,
    help="How long clients' certificates hold; they renew them themselves after two thirds.",
)
@listen_option(9443, "--metrics")
@log_option
@click.pass_context
def command(
    context: click.Context,
    listen: str,
    state: Path,
    names: tuple[str, ...],
    installation: str,
    protocol: int,
    announce: tuple[str, ...],
    member_probe: float | None,
    certificate_lifetime: float,
    metrics: Address | None,
    log_level: str,
) -> None:
    """Serve this host as a gateway to a controller elsewhere, over HTTPS with certificates of its own.

    Needs NET_ADMIN and NET_RAW. After a reboot the last applied state is put back before any controller is heard. To let a
    controller in: `isthmus agent gateway token` here, `isthmus gateway enrol` there.
    """
    if context.invoked_subcommand is not None:
        return
    setup_logging(level=log_level)
    from isthmus.agents.gateway.listener import address_of
    from isthmus.app.gateway_agent import Wanted

    with spelled():
        if certificate_lifetime < 60:
            raise InputError("--certificate-lifetime", "is too short to be renewed in time", "write 1h or more")
        if member_probe is not None and not 0.01 <= member_probe <= 60:
            raise InputError("--member-probe", "is outside 10ms to 60s", "write a time such as 100ms")
        host, port = address_of(listen)
    lifetime = timedelta(seconds=certificate_lifetime)
    asyncio.run(
        _run(Wanted(state, host, port, names, installation, protocol, announce, lifetime, member_probe, metrics))
    )


async def _run(wanted: Wanted) -> None:
    from isthmus.app.gateway_agent import run_gateway_agent

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_gateway_agent(wanted, stop)


@command.command(short_help="Print a token that lets one controller in.")
@click.option("--ttl", type=DURATION, default="1h", show_default=True, help="How long the token holds.")
@_state
@click.pass_context
def token(context: click.Context, ttl: float, state: Path | None) -> None:
    """Print a token with which one controller can be enrolled, once.

    It is a secret until it is used: pass it on through a pipe or a file, not in an argument.
    """
    from isthmus.app.gateway_agent import new_token

    if not 1 <= ttl <= 7 * 86400:
        raise click.UsageError("--ttl: is not between 1s and 7d (an hour is enough to carry it over)")
    directory = _of(context, state)
    text, first = new_token(directory, timedelta(seconds=ttl))
    if first:
        note(f"note: no agent has started with --state {directory} yet; only one that does will take this token")
    click.echo(text)


@command.command()
@json_option
@_state
@click.pass_context
def clients(context: click.Context, as_json: bool, state: Path | None) -> None:
    """List who is enrolled."""
    import msgspec

    from isthmus.app.gateway_agent import clients as enrolled

    found = enrolled(_of(context, state))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    if not found:
        click.echo("nobody is enrolled; `isthmus agent gateway token` lets somebody in", err=True)
    for name, issued in found.items():
        newest = max(issued, key=lambda one: one.until)
        click.echo(f"{name}   until {newest.until:%Y-%m-%d %H:%M} UTC   serial {newest.serial.lstrip('0')}")


@command.command()
@click.argument("name")
@_state
@click.pass_context
def revoke(context: click.Context, name: str, state: Path | None) -> None:
    """End the client NAME at once; the gateway keeps what it has."""
    from isthmus.app.gateway_agent import revoke as end

    end(_of(context, state), name)
    click.echo(f"{name} is not let in any more")


@command.command("reset-epoch", short_help="Forget which controller was the newest.")
@_state
@click.pass_context
def reset_epoch(context: click.Context, state: Path | None) -> None:
    """Forget which controller was the newest; the agent must be stopped.

    The way out when a controller with a wrong clock has left an epoch in the future, and every right one is refused since.
    See to it first that only one controller runs.
    """
    from isthmus.app.gateway_agent import reset_epoch as reset

    reset(_of(context, state))
    click.echo("the epoch is forgotten; start the agent")


def _of(context: click.Context, state: Path | None) -> Path:
    if state is not None:
        return state
    above = context.parent.params["state"] if context.parent is not None else _STATE
    assert isinstance(above, Path), "click has made it one"
    return above

"""``isthmus agent node``: on a node, with NET_ADMIN; realises the node's place on our overlays.

``isthmus agent gateway`` is in a module of its own.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isthmus.cli import gateway_agent
from isthmus.cli.options import listen_option, log_option
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.web.address import Address


@click.group()
def command() -> None:
    """Run on a node of the cluster, or on a gateway away from the controller."""


command.add_command(gateway_agent.command, "gateway")


@command.command(short_help="Realise this node's place on our overlays.")
@click.option("--node", required=True, envvar="NODE_NAME", help="Name of this node's Node object.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="How to reach the cluster; without it the pod's service account.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/var/lib/isthmus-node"),
    show_default=True,
    help="Directory for the last known state, put back after a reboot.",
)
@click.option(
    "--installation", default="node", show_default=True, help="Marks what is ours: nft table isthmus_<name>."
)
@click.option("--protocol", default=201, show_default=True, help="Route protocol number that marks what is ours.")
@click.option("--clean", is_flag=True, help="Remove everything of ours from this node and exit.")
@listen_option(9442)
@log_option
def node(
    node: str,
    kubeconfig: Path | None,
    state: Path,
    installation: str,
    protocol: int,
    clean: bool,
    listen: Address | None,
    log_level: str,
) -> None:
    """Realise this node's place on our overlays, as its own Node object says; clean up when that goes.

    Needs NET_ADMIN on the host's network, and get, list and watch on nodes.
    """
    setup_logging(level=log_level)
    asyncio.run(_run(node, kubeconfig, state, installation, protocol, clean, listen))


async def _run(
    node: str,
    kubeconfig: Path | None,
    state: Path,
    installation: str,
    protocol: int,
    clean: bool,
    listen: Address | None,
) -> None:
    from isthmus.app.node_agent import run_node_agent

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    removed = await run_node_agent(
        node,
        kubeconfig=kubeconfig,
        state=state,
        installation=installation,
        protocol=protocol,
        stop=stop,
        clean=clean,
        listen=listen,
    )
    if clean:
        click.echo(f"{removed} things removed")

"""``isthmus controller``: run until told to stop."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from isthmus.cli.options import config_option, log_option, state_option
from isthmus.telemetry import setup_logging


@click.command()
@config_option
@state_option
@log_option
@click.option("--allow-deletes", is_flag=True, help="Consent to large deletions on all devices, for this run.")
def command(config: Path, state: Path, log_level: str, allow_deletes: bool) -> None:
    """Keep devices as the clusters and the files in --config want them.

    SIGTERM and Ctrl-C end it gracefully: the change under way finishes, devices keep what they have.
    """
    setup_logging(level=log_level)
    asyncio.run(_run(config, state, allow_deletes))


async def _run(config: Path, state: Path, allow_deletes: bool) -> None:
    from isthmus.app.controller import Controller
    from isthmus.registry.state import StateDirectory

    async with StateDirectory(state) as opened:
        controller = Controller(config, opened, allow_deletes=allow_deletes)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, controller.stop)
        await controller.run()

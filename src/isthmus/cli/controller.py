"""``isthmus controller``: run until told to stop.

The user's objects come from files, from a home cluster, or from both. The one confusing thing is what is kept where: with a
home cluster, claims and the memory of choices live there, and the state directory only keeps what this machine needs after a
reboot, so it may be left out. And with a home cluster several controllers may run: one leads, the others stand by; one that
loses its lead begins anew in the same process, knowing nothing.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from isthmus.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_STATE,
    FROM_ENV,
    environment_said,
    listen_option,
    log_option,
)
from isthmus.telemetry import setup_logging

if TYPE_CHECKING:
    from isthmus.app.controller import Controller
    from isthmus.app.home.home import Home
    from isthmus.app.tenure import Alone
    from isthmus.compat.environment import Environment
    from isthmus.web.address import Address


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Directory with the user's objects (YAML or JSON). [default: {DEFAULT_CONFIG}, or none with a home cluster]",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KUBECONFIG",
    help="Kubeconfig of the home cluster, in which the user's objects stand as custom resources.",
)
@click.option("--in-cluster", is_flag=True, help="The home cluster is the one whose pod this is.")
@click.option(
    "--namespace",
    help="Namespace of our own memory in the home cluster. [default: the pod's own, or isthmus-system]",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Directory for claims, choices and the last applied state. [default: {DEFAULT_STATE}, or none with a home cluster]",
)
@click.option(
    "--leader-election/--no-leader-election",
    default=None,
    help="Contend for a Lease in the home cluster, and write only while it is held. [default: with a home cluster]",
)
@click.option(
    "--lease-profile",
    type=click.Choice(["default", "fast"]),
    help="How fast a leader that died is replaced: within 15 s, or within 3 s (asks the API four times a second). "
    "[default: default]",
)
@click.option(
    "--lease-name",
    help="Name of the Lease; controllers of one installation say the same. [default: isthmus-controller]",
)
@click.option(
    "--share-devices",
    is_flag=True,
    help="Share the devices among all controllers that say so, each writing to its own part; one still leads in all else.",
)
@FROM_ENV
@log_option
@listen_option(9441)
@click.option("--allow-deletes", is_flag=True, help="Consent to large deletions on all devices, for this run.")
def command(
    config: Path | None,
    home: Path | None,
    in_cluster: bool,
    namespace: str | None,
    state: Path | None,
    leader_election: bool | None,
    lease_profile: str | None,
    lease_name: str | None,
    share_devices: bool,
    from_env: bool,
    log_level: str,
    listen: Address | None,
    allow_deletes: bool,
) -> None:
    """Keep devices as the clusters and the user's objects want them.

    Objects are files in --config, custom resources in a home cluster (--home or --in-cluster; `isthmus crds` prints
    what to apply there first), or both. With a home cluster, claims and choices are kept there, and --state only helps this
    machine after a reboot.

    With --from-env the variables of the older node controller or router say what there is, and its ConfigMap is the switch.

    With a home cluster any number of controllers may run: one leads, the others stand by and write nothing.

    SIGTERM and Ctrl-C end it gracefully: the change under way finishes, devices keep what they have.
    """
    if home is not None and in_cluster:
        raise click.UsageError("--home and --in-cluster both say which cluster is home; give one of them")
    at_home = home is not None or in_cluster
    if namespace is not None and not at_home:
        raise click.UsageError("--namespace is of a home cluster; give --home or --in-cluster, too")
    contends = at_home if leader_election is None else leader_election
    if contends and not at_home:
        raise click.UsageError("--leader-election needs a home cluster; give --home or --in-cluster, too")
    if not contends and (lease_profile is not None or lease_name is not None):
        raise click.UsageError("--lease-profile and --lease-name are of a leader election, and there is none")
    if share_devices and not contends:
        raise click.UsageError("--share-devices needs a leader election; give --home or --in-cluster, too")
    lease = (lease_name, lease_profile or "default", share_devices) if contends else None
    said = environment_said(from_env)
    setup_logging(level=log_level)
    if not at_home:
        config, state = config or (None if from_env else DEFAULT_CONFIG), state or DEFAULT_STATE
    asyncio.run(_run(config, home, in_cluster, namespace, state, listen, allow_deletes, lease, said))


async def _run(
    config: Path | None,
    home: Path | None,
    in_cluster: bool,
    namespace: str | None,
    state: Path | None,
    listen: Address | None,
    allow: bool,
    lease: tuple[str | None, str, bool] | None,
    said: Environment | None,
) -> None:
    from isthmus.app.controller import Controller
    from isthmus.app.older import Older
    from isthmus.app.settling import collect_seldom, settle
    from isthmus.app.tenure import next_epoch
    from isthmus.metrics import shown
    from isthmus.registry.state import StateDirectory
    from isthmus.web.health import serving

    collect_seldom()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(StateDirectory(state)) if state is not None else None
        epoch = await next_epoch(opened)
        again = True
        while again:
            turn, at_home = _turn_and_home(home, in_cluster, namespace, lease, epoch)
            older = Older(said) if said is not None else None
            controller = Controller(config, opened, home=at_home, allow_deletes=allow, turn=turn, older=older)
            async with AsyncExitStack() as life:
                life.enter_context(shown(controller.health.readings))
                await life.enter_async_context(serving(listen, controller.health))
                watching = asyncio.create_task(_stop_when(stopping, controller))
                life.callback(watching.cancel)
                settling = asyncio.create_task(settle(controller.health, controller.fleet))
                life.callback(settling.cancel)
                again = await controller.run()


async def _stop_when(stopping: asyncio.Event, controller: Controller) -> None:
    await stopping.wait()
    controller.stop()


def _turn_and_home(
    kubeconfig: Path | None,
    inside: bool,
    namespace: str | None,
    lease: tuple[str | None, str, bool] | None,
    epoch: int,
) -> tuple[Alone, Home | None]:
    from isthmus.app.drivers import DRIVERS
    from isthmus.app.home.home import DEFAULT_NAMESPACE, Home
    from isthmus.app.sharing import Sharing
    from isthmus.app.tenure import LEASE, Alone, Elected
    from isthmus.core.election import PROFILES
    from isthmus.kube.connection import in_cluster
    from isthmus.kube.kubeconfig import load

    if kubeconfig is None and not inside:
        return Alone(epoch), None
    connection = load(kubeconfig) if kubeconfig is not None else in_cluster()
    own = namespace or (DEFAULT_NAMESPACE if kubeconfig is not None else connection.namespace)
    turn = Alone(epoch)
    if lease is not None:
        kind = Sharing if lease[2] else Elected
        turn = kind(connection, own, PROFILES[lease[1]], name=lease[0] or LEASE)
    return turn, Home(connection, set(DRIVERS), namespace=own, turn=turn)

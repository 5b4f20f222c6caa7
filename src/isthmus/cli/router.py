"""``isthmus router create|delete|export``: the old router's verbs, once, from outside of a cluster or from a pod."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from isthmus.cli import EXIT_FAILED, EXIT_PENDING
from isthmus.cli.render import emit_json
from isthmus.telemetry import setup_logging

F = TypeVar("F", bound=Callable[..., Any])

# Each option stands for the variable of the old router that it goes before.
_OPTIONS = {
    "network": ("NETWORK", "Network of the overlay, like 192.168.254.0/24; an IPv6 one may follow after a comma."),
    "vni": ("VNID", "VXLAN network identifier."),
    "port": ("VXLAN_PORT", "UDP port of the overlay, not the CNI's."),
    "endpoint": ("REMOTE_VTEPIP", "The device's end of the overlay."),
    "type": ("TYPE", "VXLAN or IPIP."),
    "name": ("CNC_ROUTER_NAME", "Name of the ConfigMap, in kube-system."),
    "cni": ("CNI_TYPE", "The cluster's CNI, for the key VTEP of the ConfigMap."),
}


def _settings(function: F) -> F:
    @functools.wraps(function)
    def with_settings(kubeconfig: Path | None, **rest: Any) -> Any:
        settings = dict(os.environ)
        for option, (variable, _) in _OPTIONS.items():
            said = rest.pop(option)
            if said is not None:
                settings[variable] = said
        if kubeconfig is not None:
            settings["KUBECONFIG"] = str(kubeconfig.absolute())
        setup_logging(level="warning")
        if not _told(settings):
            return EXIT_FAILED
        return function(settings, **rest)

    wrapped: Any = with_settings
    for option, (variable, text) in reversed(_OPTIONS.items()):
        wrapped = click.option(f"--{option}", help=f"{text} [default: {variable}]")(wrapped)
    wrapped = click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path, dir_okay=False),
        help="How to reach the cluster. [default: KUBECONFIG, the pod's own, or ~/.kube/config]",
    )(wrapped)
    return cast("F", wrapped)


def _told(settings: Mapping[str, str]) -> bool:
    """Tell everything that is wrong with ``settings`` at once; say whether nothing is."""
    from isthmus.compat.environment import read

    found = read(settings, ("external",), mode="router")
    for problem in found.problems:
        click.secho(str(problem), fg="red", err=True)
    for warning in found.warnings:
        click.secho(str(warning), fg="yellow", err=True)
    return not found.problems


@click.group()
def command() -> None:
    """Build an overlay from the nodes to a device that somebody else configures, once.

    Variables of the old router count where an option is not given. To follow nodes that come and go, run `isthmus
    controller --from-env` instead. On the nodes, `isthmus agent node` must run.
    """


@command.command()
@_settings
def create(settings: Mapping[str, str]) -> int:
    """Give every node its place on the overlay and publish the ConfigMap.

    Exit code 0: every node has its place. 2: some wait, and it is said why. 1: it failed.
    """
    from isthmus.compat import router

    built = asyncio.run(router.create(settings))
    for why in built.waiting:
        click.secho(why, fg="yellow", err=True)
    click.echo(f"{len(built.nodes)} nodes are on the overlay; ConfigMap {built.configmap} describes it")
    return EXIT_PENDING if built.waiting else 0


@command.command()
@_settings
def delete(settings: Mapping[str, str]) -> int:
    """Take the overlay away from every node, and the ConfigMap with it.

    Exit code 0: it is gone. 1: it failed.
    """
    from isthmus.compat import router

    built = asyncio.run(router.delete(settings))
    click.echo(f"{len(built.nodes)} nodes have been taken off the overlay; ConfigMap {built.configmap} is gone")
    return 0


@command.command()
@_settings
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of ConfigMaps.")
def export(settings: Mapping[str, str], as_json: bool) -> int:
    """Print the ConfigMap that describes the overlay as it is assigned now; write nothing.

    Exit code 0: it is printed. 1: it failed.
    """
    import yaml

    from isthmus.compat import router

    documents = asyncio.run(router.export(settings))
    if as_json:
        emit_json(documents)
    else:
        click.echo(yaml.safe_dump_all(documents, sort_keys=True, width=10_000), nl=False)
    return 0

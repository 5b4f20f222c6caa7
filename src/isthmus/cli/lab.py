"""``isthmus lab``: a network on one machine, without cluster, appliance or Docker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from isthmus.cli import EXIT_UNTRIED
from isthmus.cli.options import F, json_option, spelled

_FAMILIES: dict[str, tuple[Literal["ipv4", "ipv6"], ...]] = {
    "ipv4": ("ipv4",),
    "ipv6": ("ipv6",),
    "dual": ("ipv4", "ipv6"),
}


_nodes_option = click.option(
    "--nodes", default=3, show_default=True, type=click.IntRange(1, 200), help="Number of nodes."
)


Device = Literal["linux", "netscaler"]
_device_option = click.option(
    "--device",
    default="linux",
    show_default=True,
    type=click.Choice(["linux", "netscaler"]),
    help="A Linux gateway, or a NetScaler that carries packets.",
)


def _path_option(default: str) -> Callable[[F], F]:
    return click.option(
        "--path",
        default=default,
        show_default=True,
        type=click.Choice(["auto", "direct", "flannel", "overlay"]),
        help="How packets get from the gateway to the pods.",
    )


@click.group()
def command() -> None:
    """Nodes, pods, clients, a gateway and a small Kubernetes API in network namespaces on this machine.

    It runs in a sandbox of its own (without root where the host allows that), and leaves nothing behind, however it ends.
    """


@command.command()
def demo() -> int:
    """Show the main job with real packets, step by step.

    Exit code 0: every step was observed. 1: one was not. 3: it could not be tried on this host.
    """
    return _in_sandbox(["lab", "demo"], _demo)


def _demo() -> int:
    from isthmus.lab.demo.show import demo as show

    return asyncio.run(show())


@command.command(short_help="Build a lab, join it, print who reaches whom.")
@_nodes_option
@_path_option("auto")
@_device_option
@click.option(
    "--families",
    default="dual",
    show_default=True,
    type=click.Choice(list(_FAMILIES)),
    help="IP versions of the pods.",
)
@json_option
def run(nodes: int, path: str, device: Device, families: str, as_json: bool) -> int:
    """Build a lab, join it, and print who reaches whom; exit code 0 only if every pair was reached.

    With --device netscaler the gateway is an appliance that speaks NITRO and carries packets; what of a real one it does not
    imitate: docs/explanation/lab.md.

    1: a pair was not reached. 3: it could not be tried on this host.
    """
    arguments = ["lab", "run", "--nodes", str(nodes), "--path", path, "--device", device, "--families", families]

    def inside() -> int:
        from isthmus.lab.run import run as run_lab

        result = asyncio.run(run_lab(nodes, path, _FAMILIES[families], device))
        if as_json:
            click.echo(json.dumps(result.to_json(), indent=2, sort_keys=True))
        else:
            from isthmus.cli.render import table

            header, *rows = result.matrix_rows
            table(f"{nodes} nodes, path {path}: milliseconds", header, rows)
            for line in result.lines:
                click.echo(line)
        return 0 if result.ok else 1

    return _in_sandbox([*arguments, *(["--json"] if as_json else [])], inside)


@command.command(short_help="A joined lab with a prompt; leaving ends it.")
@_nodes_option
@_path_option("flannel")
@_device_option
def shell(nodes: int, path: str, device: Device) -> int:
    """Leave a joined lab up and open a prompt in it; leaving the prompt removes every trace."""

    def inside() -> int:
        from isthmus.lab.prompt import prompt

        return asyncio.run(prompt(nodes, path, device))

    return _in_sandbox(["lab", "shell", "--nodes", str(nodes), "--path", path, "--device", device], inside)


@command.command(short_help="A joined lab in the background.")
@_nodes_option
@_path_option("flannel")
@_device_option
@json_option
def up(nodes: int, path: str, device: Device, as_json: bool) -> int:
    """Bring a joined lab up in the background; `lab enter` opens a prompt in it, `lab down` ends it.

    Exit code 0: it is up. 1: it did not come up. 3: it could not be tried on this host.
    """
    from isthmus.lab.background import start

    return start(nodes, path, device, as_json=as_json)


@command.command(hidden=True)
@_nodes_option
@_path_option("flannel")
@_device_option
@click.option("--at", required=True, type=click.Path(path_type=Path))
def hold(nodes: int, path: str, device: Device, at: Path) -> int:
    """Be the lab that `lab up` starts."""

    def inside() -> int:
        from isthmus.lab.background import hold as hold_lab

        return asyncio.run(hold_lab(nodes, path, device, at))

    arguments = ["lab", "hold", "--nodes", str(nodes), "--path", path, "--device", device, "--at", str(at)]
    return _in_sandbox(arguments, inside)


@command.command(
    short_help="A prompt or one command in the lab of `up`.", context_settings={"ignore_unknown_options": True}
)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def enter(argv: tuple[str, ...]) -> int:
    """Open a prompt (or run a command) in the lab that `lab up` left running."""
    from isthmus.lab.background import enter as enter_lab

    return enter_lab(list(argv))


@command.command(short_help="End the lab of `up`.")
@json_option
def down(as_json: bool) -> int:
    """End the lab that `lab up` left running, and every trace of it."""
    from isthmus.lab.background import stop

    return stop(as_json=as_json)


@command.command(short_help="The lab's small Kubernetes API alone.")
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="TCP port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--cluster-cidr", multiple=True, help="Give Nodes their pod CIDRs out of this range (one per family).")
def kube(port: int, host: str, cluster_cidr: tuple[str, ...]) -> None:
    """Run the lab's small Kubernetes API alone; prints the path of a kubeconfig. Ctrl-C ends it.

    Left out: controllers (only pod CIDRs are allocated and deleted namespaces emptied), garbage collection, admission, roles,
    kubelet (no logs, exec, scale), protobuf answers, storage on disk.
    """
    from isthmus.lab.kube.server import run_kube_api

    def ready(kubeconfig: Path) -> None:
        click.echo(str(kubeconfig))
        sys.stdout.flush()
        if sys.stdout.isatty():
            click.echo(f"try:  export KUBECONFIG={kubeconfig}; kubectl get nodes      Ctrl-C here ends it", err=True)

    run_kube_api(port, host, ready, cluster_cidrs=cluster_cidr)


@command.command(short_help="A NetScaler's NITRO API alone.")
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, metavar="ADDR:PORT", help="Where; port 0 takes a free one."
)
@click.option("--peer", metavar="ADDR:PORT", help="Where the second node of a pair listens; none without it.")
@click.option("--tls", is_flag=True, help="HTTPS with a certificate of its own; the path of its CA is printed.")
@click.option(
    "--admin",
    type=click.IntRange(0, 65534),
    help="Port on loopback for ordering faults, the next one for those of a peer; 0 takes free ones.",
)
@click.option("--release", help="The version it calls itself.")
@click.option("--latency", type=click.FloatRange(0), default=0, show_default=True, help="Seconds for each request.")
@click.option(
    "--per-item", type=click.FloatRange(0), default=0, show_default=True, help="Seconds more for each item."
)
@click.option("--save-takes", type=click.FloatRange(0), default=0, show_default=True, help="Seconds for a save.")
@click.option("--fail-every", type=click.IntRange(0), default=0, help="Answer every n-th request with 503.")
@click.option("--drop-every", type=click.IntRange(0), default=0, help="Do every n-th request and do not answer it.")
@click.option("--disk-full", is_flag=True, help="Refuse to save.")
@json_option
def nitro(
    listen: str,
    peer: str | None,
    tls: bool,
    admin: int | None,
    release: str | None,
    latency: float,
    as_json: bool,
    **faults: float,
) -> None:
    """Run the API of a NetScaler alone, without packets and without root: user and password `nsroot`. Ctrl-C ends it.

    Prints its URL. What it does not imitate: docs/explanation/lab.md.
    """
    from isthmus.lab.nitro import Appliance
    from isthmus.lab.nitro.server import Endpoint, Place, run_nitro
    from isthmus.web.address import Address

    devices: list[tuple[Appliance, Place]] = []
    for number, (option, text) in enumerate((("--listen", listen), ("--peer", peer))):
        if text is None:
            continue
        with spelled():
            where = Address.parse(text, option)
        device = Appliance(address=f"192.0.2.{10 + number}")
        device.release = release or device.release
        device.faults.set(**faults)
        device.faults.delay(latency)
        devices.append((device, Place(where.host, where.port, admin if not number or not admin else admin + 1)))
    if len(devices) == 2:
        Appliance.paired(devices[0][0], devices[1][0])

    def ready(endpoints: list[Endpoint]) -> None:
        shown = [{"url": at.url, "ca": str(at.ca_path or ""), "admin": at.admin_url} for at in endpoints]
        if as_json:
            click.echo(json.dumps(shown))
        else:
            for at in shown:
                click.echo("  ".join([at["url"], *(f"{word}: {at[word]}" for word in ("ca", "admin") if at[word])]))
        sys.stdout.flush()
        if sys.stdout.isatty() and not as_json:
            trust = f" --cacert {shown[0]['ca']}" if tls else ""
            click.echo(f"try:  curl -u nsroot:nsroot{trust} {shown[0]['url']}/nitro/v1/config/nsip", err=True)
            click.echo("Ctrl-C here ends it", err=True)

    run_nitro(devices, ready, tls=tls)


def _in_sandbox(arguments: list[str], inside: Callable[[], int]) -> int:
    """Run ``inside`` here if this is the lab's sandbox, else run this very command again in a fresh one."""
    from isthmus.lab.net.sandbox import in_sandbox, probe, run_in_sandbox

    # An ordinary user's PATH on Debian lacks sbin, where ip, bridge and nft live.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"

    if in_sandbox():
        return inside()
    found = probe()
    if not found:
        click.secho("This could not be tried on this host:", fg="red", err=True)
        for reason in found.reasons:
            click.echo(f"  {reason}", err=True)
        return EXIT_UNTRIED
    return run_in_sandbox([sys.executable, "-m", "isthmus", *arguments])

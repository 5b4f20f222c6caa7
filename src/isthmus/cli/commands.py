"""The list of verbs. A verb's own module is imported only when it runs, so that ``isthmus --help`` starts at once."""

from __future__ import annotations

import importlib

import click

import isthmus

_VERBS = {
    "agent": ("agent", "Run on a node or on a gateway away from the controller."),
    "adopt": ("adopt", "Take over what is somebody else's on a device, by order."),
    "apply": ("apply", "Carry a plan out once, by hand."),
    "clean": ("clean", "Remove everything that is ours from devices."),
    "completion": ("completion", "Print the shell completion script."),
    "config": ("config", "Print the objects that count, as files of one's own."),
    "controller": ("controller", "Run the controller."),
    "crds": ("crds", "Print the CustomResourceDefinitions."),
    "doctor": ("doctor", "Check everything that can be in the way; make a support bundle."),
    "explain": ("explain", "Say hop by hop why a node, pod CIDR or VIP is as it is."),
    "gateway": ("gateway", "Let this machine's controller in at a gateway's agent."),
    "lab": ("lab", "A network on one machine: nodes, pods, clients, a gateway, a Kubernetes API."),
    "plan": ("plan", "Show what would change and why; change nothing."),
    "router": ("router", "Build an overlay to a device that somebody else configures, and describe it."),
    "status": ("status", "Show how everything stands."),
    "validate": ("validate", "Check files before anybody uses them."),
}


class Verbs(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"isthmus.cli.{_VERBS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command), "every verb's module has its command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in sorted(_VERBS.items())])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ISTHMUS"})
@click.version_option(isthmus.__version__, prog_name="isthmus")
def group() -> None:
    """Join Kubernetes clusters to the load balancers and gateways outside them.

    Exit codes: 0 done, 1 failed, 2 changes are pending (plan, apply), 3 something could not be tried here (lab), 64
    wrong usage.
    """

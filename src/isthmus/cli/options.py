"""Options that several verbs share, spelled once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from isthmus.cli import EXIT_FAILED
from isthmus.errors import InputError
from isthmus.telemetry import choose_format

if TYPE_CHECKING:
    from isthmus.app.sources import Sources
    from isthmus.compat.environment import Environment
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


def source_options(function: F) -> F:
    """Add where objects and memory come from; the command gets it as ``where``."""

    @functools.wraps(function)
    def with_sources(
        config: Path | None,
        home: Path | None,
        in_cluster: bool,
        namespace: str | None,
        state: Path | None,
        from_env: bool,
        **rest: Any,
    ) -> Any:
        return function(where=_sources(config, home, in_cluster, namespace, state, from_env), **rest)

    wrapped: Any = with_sources
    for option in reversed(_SOURCES):
        wrapped = option(wrapped)
    return cast("F", wrapped)


FROM_ENV = click.option(
    "--from-env",
    is_flag=True,
    help="Take objects from the environment, as the older node controller and router had them (NS_IP, NETWORK, ...).",
)
"""``--from-env``; the command gets it as ``from_env``."""

_SOURCES = (
    FROM_ENV,
    click.option(
        "--config",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Directory with the user's objects (YAML or JSON). [default: {DEFAULT_CONFIG}, or none with a home cluster]",
    ),
    click.option(
        "--home",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="KUBECONFIG",
        help="Kubeconfig of the home cluster, in which the user's objects stand as custom resources.",
    ),
    click.option("--in-cluster", is_flag=True, help="The home cluster is the one whose pod this is."),
    click.option(
        "--namespace",
        help="Namespace of our own memory in the home cluster. [default: the pod's own, or isthmus-system]",
    ),
    click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Directory for claims, choices and the last applied state. [default: {DEFAULT_STATE}, or none with a home "
        "cluster]",
    ),
)


def environment_said(wanted: bool) -> Environment | None:
    """Return what the environment says, if it is wanted; tell all that is wrong with it at once and end, if anything is."""
    if not wanted:
        return None
    import os

    from isthmus.app.drivers import DRIVERS
    from isthmus.compat.environment import read

    found = read(os.environ, set(DRIVERS))
    for problem in found.problems:
        click.secho(str(problem), fg="red", err=True)
    if found.problems:
        click.get_current_context().exit(EXIT_FAILED)
    return found


def _sources(
    config: Path | None,
    home: Path | None,
    in_cluster: bool,
    namespace: str | None,
    state: Path | None,
    from_env: bool,
) -> Sources:
    from isthmus.app.sources import sources

    if home is not None and in_cluster:
        raise click.UsageError("--home and --in-cluster both say which cluster is home; give one of them")
    at_home = home is not None or in_cluster
    if namespace is not None and not at_home:
        raise click.UsageError("--namespace is of a home cluster; give --home or --in-cluster, too")
    said = environment_said(from_env)
    if not at_home:
        config, state = config or (None if from_env else DEFAULT_CONFIG), state or DEFAULT_STATE
    return sources(config, state, home, inside=in_cluster, namespace=namespace, environment=said)


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


@contextmanager
def spelled() -> Iterator[None]:
    """Tell an ``InputError`` about what stands on the command line as wrong usage, with that exit code."""
    try:
        yield
    except InputError as error:
        raise click.UsageError(str(error)) from error


def listen_option(port: int, flag: str = "--listen") -> Callable[[F], F]:
    """Add ``--listen ADDR:PORT``, or the same under another name; ``port`` is the one that our manifests use."""
    return click.option(
        flag,
        metavar="ADDR:PORT",
        callback=_address,
        help=f"Serve /healthz, /readyz and /metrics there, to whoever asks, for example 127.0.0.1:{port}."
        " [default: nowhere]",
    )


def _address(_context: click.Context, parameter: click.Parameter, value: str | None) -> Address | None:
    from isthmus.web.address import Address

    with spelled():
        return Address.parse(value, parameter.opts[0]) if value is not None else None

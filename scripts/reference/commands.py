"""commands.md: every verb with its arguments, options, defaults, environment variables and exit codes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from typing import Any

import click

from isthmus import cli
from isthmus.cli.commands import group
from reference.markdown import code, prose, table

_INTRO = """# Commands

`isthmus VERB [OPTIONS]`. `-h` and `--help` work everywhere, `isthmus --version` prints the version. Every option can be set
by an environment variable, named in the last column; what is written on the command line goes first. Results are on standard
output, remarks and logs on standard error.

## Exit codes

"""


def page() -> str:
    """Return the page."""
    codes = table(("Code", "Means"), [(str(number), prose(meaning)) for number, meaning in exit_codes()])
    return _INTRO + codes + "\n" + "\n".join(_verb(path, command) for path, command in verbs())


def exit_codes() -> list[tuple[int, str]]:
    """Return the exit codes and what they mean, out of the command line's own docstring; each constant must be there."""
    text = " ".join((cli.__doc__ or "").split())
    clauses = text.partition("the same for every command: ")[2].partition(".")[0].split("; ")
    found = {int(number): meaning for number, _, meaning in (clause.partition(" ") for clause in clauses)}
    constants = {value for name, value in vars(cli).items() if name.startswith("EXIT_")}
    missing = constants - found.keys()
    assert not missing, f"the docstring of isthmus.cli does not explain exit codes {missing}"
    return sorted({**found, 130: "stopped by Ctrl-C"}.items())


def verbs() -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is not hidden, with the words that call it; groups before what is in them."""
    yield from _below("isthmus", group)


def _below(path: str, parent: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(parent)
    for name in parent.list_commands(context):
        command = parent.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from _below(f"{path} {name}", command)


def _verb(path: str, command: click.Command) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    text = f"## {path}\n\n```text\n{path} {usage}\n```\n\n{prose(inspect.cleandoc(command.help or ''))}\n"
    prefix = path.upper().replace(" ", "_").replace("-", "_")
    rows = [_option(option, prefix) for option in command.params if isinstance(option, click.Option)]
    if rows:
        text += "\n" + table(("Option", "Value", "Default", "Meaning", "Environment"), rows)
    return text


def _option(option: click.Option, prefix: str) -> tuple[str, str, str, str, str]:
    variable = option.envvar if isinstance(option.envvar, str) else f"{prefix}_{option.name}".upper()
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    several = " (several times)" if option.multiple else ""
    return names, _value(option) + several, _default(option), prose(option.help), code(variable)


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    kind: Any = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(code(str(choice)) for choice in kind.choices)
    if isinstance(kind, click.IntRange):
        return f"{kind.min} to {kind.max}"
    if isinstance(kind, click.Path):
        return "file" if not kind.dir_okay else "directory" if not kind.file_okay else "path"
    return {"integer": "number", "text": "text"}.get(kind.name, str(kind.name))


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    # click marks "no default" with a value of its own, which is no text for people.
    says_something = isinstance(option.default, str | int | float | os.PathLike)
    return code(str(option.default)) if says_something and not option.is_flag and not option.multiple else ""

"""What the documentation shows can be used: objects are valid, commands and jobs exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from docs.pages import PAGES, ROOT, Block, anchors, blocks, inline, links, name_of
from isthmus.cli.commands import group
from isthmus.model.kinds.parse import parse
from isthmus.registry.files import validate_files

JOBS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
EVERY_PAGE = pytest.mark.parametrize("page", [pytest.param(path, id=name_of(path)) for path in PAGES])


@EVERY_PAGE
def test_yaml_can_be_used(page: Path) -> None:
    """YAML blocks parse, and objects of ours in them are valid, field by field."""
    for block in blocks(page, "yaml"):
        for document in yaml.safe_load_all(block.text):
            if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith("isthmus.dev"):
                parsed = parse(document, drivers={"external", "linux", "netscaler"})
                assert not parsed.problems, f"{block.place}: {parsed.problems}"


@EVERY_PAGE
def test_commands_exist(page: Path) -> None:
    """Every `isthmus` command has the verbs and options that are shown, every `make` job exists."""
    for place, words in commands(page):
        if words[0] == "make":
            assert {job for job in words[1:] if job.isalpha()} <= JOBS, f"{place}: {words}"
        else:
            check(place, words[1:])


def test_the_example_configuration_is_whole() -> None:
    """The example files make one configuration in which nothing is wrong."""
    assert validate_files([ROOT / "packaging" / "examples"], {"linux"}) == []


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    """Links inside the repository point at files, and at headings that are there."""
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name_of(page)}: {link}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{name_of(page)}: {link}"


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every command of ours in shell blocks and inline code: its place and its words."""
    for block in blocks(page, "sh", "console"):
        for line in shell_lines(block):
            yield from ours(block.place, line)
    for text in inline(page):
        yield from ours(f"{name_of(page)}: `{text}`", text)


def shell_lines(block: Block) -> Iterator[str]:
    """Yield what a person types: all lines of sh, those after a prompt in console."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "sh":
            yield line
        elif match := re.match(r"^(?:lab)?[$#] (.*)", line):
            yield match[1]


def ours(place: str, line: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the parts of a line, cut at pipes and the like, that call isthmus or make."""
    for part in re.split(r"\||&&|;|(?<!\w)>", line):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue
        while words and (re.match(r"^[A-Z_]+=", words[0]) or words[0] in ("sudo", "exec")):
            words = words[1:]
        if words and (words[0] == "make" or Path(words[0]).name == "isthmus") and len(words) > 1:
            yield place, words


def check(place: str, words: list[str]) -> None:
    """Assert that ``words`` are a verb of ours with options it knows; placeholders in capitals pass as arguments."""
    command: click.Command = group
    context = click.Context(command)
    for index, word in enumerate(words):
        if isinstance(command, click.Group) and not word.startswith("-"):
            if word.isupper() or word in ("…", "..."):
                return
            found = command.get_command(context, word)
            assert found is not None, f"{place}: isthmus {' '.join(words)}: there is no {word}"
            command = found
        elif word.startswith("--"):
            known = {name for option in command.get_params(click.Context(command)) for name in option.opts}
            assert word.partition("=")[0] in known, f"{place}: {command.name} has no {word}"
        elif word == "--" or index > 8:
            return

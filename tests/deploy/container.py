"""A Containerfile as a list of instructions, and what must be true of ours: one function for each rule, as in ``policy``.

No image is built in tests: there is no builder where they run. So this reads the file, hadolint (where it is installed) reads
it, too, and ``test_wheel`` does by hand what the build stage does.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["RULES", "Instruction", "broken", "packages", "parse", "stages"]


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word in capitals, and the rest with continued lines joined."""

    word: str
    text: str


Rule = Callable[[list[Instruction]], Iterator[str]]


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a Containerfile, without comments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(line.split(None, 1)[0].upper(), line.split(None, 1)[1]) for line in joined.splitlines()]


def stages(instructions: list[Instruction]) -> list[list[Instruction]]:
    """Return the instructions of each stage; the last one is the image."""
    found: list[list[Instruction]] = []
    for one in instructions:
        if one.word == "FROM":
            found.append([])
        found[-1].append(one)
    return found


def packages(stage: list[Instruction]) -> set[str]:
    """Return the Debian packages that a stage installs."""
    found: set[str] = set()
    for one in stage:
        for command in one.text.split("&&") if one.word == "RUN" else ():
            words = [word for word in shlex.split(command) if "=" not in word]
            if words[:2] == ["apt-get", "install"]:
                found |= {word for word in words[2:] if not word.startswith("-")}
    return found


def _of(stage: list[Instruction], word: str) -> list[str]:
    return [one.text for one in stage if one.word == word]


def bases_named(instructions: list[Instruction]) -> Iterator[str]:
    """Every base is named with its registry and a version, and the stages share one."""
    bases = {text.split()[0] for text in _of(instructions, "FROM")}
    for base in bases:
        if not re.fullmatch(r"[a-z0-9.-]+\.[a-z]+/[a-z0-9./-]+:\d[\w.-]*(@sha256:[0-9a-f]{64})?", base):
            yield f"{base} does not say which registry and version"
    if len(bases) != 1:
        yield f"what is built on one base runs on another: {sorted(bases)}"


def nobody_in_particular(instructions: list[Instruction]) -> Iterator[str]:
    """The image runs as a user by number, which a kubelet can see is not root; nothing is done after that as another."""
    users = _of(stages(instructions)[-1], "USER")
    if len(users) != 1 or not re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", users[0]):
        yield f"the user is {users}"


def no_shell(instructions: list[Instruction]) -> Iterator[str]:
    """The program is started by itself, from a full path; there is no shell between a signal and it."""
    starts = _of(stages(instructions)[-1], "ENTRYPOINT")
    try:
        (argv,) = (json.loads(text) for text in starts)
    except ValueError:
        argv = []
    if argv != ["/opt/isthmus/bin/isthmus"] or _of(stages(instructions)[-1], "CMD"):
        yield f"it is started by {starts}"


def kubelets_ask(instructions: list[Instruction]) -> Iterator[str]:
    """Health is a kubelet's question."""
    if _of(stages(instructions)[-1], "HEALTHCHECK") != ["NONE"]:
        yield "there is a health check, or none is switched off"


def labelled(instructions: list[Instruction]) -> Iterator[str]:
    """The image says what it is, in which version, under which licence."""
    labels = dict(
        word.partition("=")[::2] for text in _of(stages(instructions)[-1], "LABEL") for word in shlex.split(text)
    )
    for key in ("title", "description", "version", "licenses"):
        if not labels.get(f"org.opencontainers.image.{key}"):
            yield f"there is no label {key}"


def nothing_unverified(instructions: list[Instruction]) -> Iterator[str]:
    """Nothing is fetched but packages by version and hash; nothing is added from a URL, and no secret is built in."""
    for one in instructions:
        if one.word == "ADD" or re.search(r"\b(curl|wget)\b|https?://", one.text):
            yield f"{one.word} {one.text} fetches something"
        if one.word in ("ARG", "ENV") and re.search(r"(?i)password|token|secret", one.text):
            yield f"{one.word} {one.text} may be a secret"
        for command in one.text.split("&&") if one.word == "RUN" else ():
            if "pip install" in command and not re.search(r"==\d|--require-hashes|--no-deps", command):
                yield f"{command.strip()} takes what it gets"


def only_built(instructions: list[Instruction]) -> Iterator[str]:
    """Of the sources nothing is in the image but what the build stage made of them."""
    for text in _of(stages(instructions)[-1], "COPY"):
        if text != "--from=build /opt/isthmus /opt/isthmus":
            yield f"COPY {text}"


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (bases_named, nobody_in_particular, no_shell, kubelets_ask, labelled, nothing_unverified, only_built)
}


def broken(text: str) -> dict[str, list[str]]:
    """Return the rules that a Containerfile breaks, each with what breaks it."""
    found = {name: list(rule(parse(text))) for name, rule in RULES.items()}
    return {name: complaints for name, complaints in found.items() if complaints}

"""The image that packaging/Containerfile makes: a plain user, nothing that is not needed, every program that is called."""

from __future__ import annotations

import ast
import fnmatch
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.container import RULES, broken, packages, parse, stages
from deploy.manifests import ROOT, documents, only, pod_of
from isthmus import __version__

FILE = ROOT / "packaging" / "Containerfile"
TEXT = FILE.read_text("utf-8")

# Every program that we call outside the lab: where, the Debian package that has it, and whether the image needs it.
CALLED = {
    "nft": ("drivers/linux", "nftables", "the node agent programs its host"),
    "ip": ("app/doctor", "iproute2", ""),  # a bundle's view of a Linux gateway, on which the doctor runs
    "bridge": ("app/doctor", "iproute2", ""),
}

SEEDED = [
    ("bases_named", "python:3.13-slim-trixie AS build", "python:latest AS build"),
    ("bases_named", "docker.io/library/python:3.13-slim-trixie\n", "docker.io/library/python:3.12-slim-bookworm\n"),
    ("nobody_in_particular", "USER 64410:64410\n", ""),
    ("nobody_in_particular", "USER 64410:64410", "USER root"),
    ("nobody_in_particular", "USER 64410:64410", "USER isthmus"),
    ("no_shell", 'ENTRYPOINT ["/opt/isthmus/bin/isthmus"]', "ENTRYPOINT isthmus"),
    ("kubelets_ask", "HEALTHCHECK NONE", "HEALTHCHECK CMD isthmus status"),
    ("labelled", "org.opencontainers.image.licenses", "licenses"),
    ("nothing_unverified", "uv==0.13.8", "uv"),
    ("nothing_unverified", "--require-hashes ", ""),
    ("nothing_unverified", "COPY src src", "ADD https://example.org/isthmus.tar.gz src"),
    ("nothing_unverified", "PYTHONDONTWRITEBYTECODE=1", "NS_PASSWORD=nsroot"),
    ("only_built", "COPY --from=build /opt/isthmus /opt/isthmus", "COPY --from=build / /"),
]


def test_ours_keeps_all_rules() -> None:
    """Bases, user, start, labels and contents are as they should be."""
    assert broken(TEXT) == {}


@pytest.mark.parametrize(("rule", "old", "new"), SEEDED)
def test_a_rule_sees_what_breaks_it(rule: str, old: str, new: str) -> None:
    """One edit for the worse is seen by the rule that is meant, and by no other."""
    assert old in TEXT
    assert set(broken(TEXT.replace(old, new))) == {rule}


def test_every_rule_can_be_broken() -> None:
    """No rule is there for show."""
    assert {rule for rule, _, _ in SEEDED} == RULES.keys()


def hadolint() -> str:
    """Return hadolint, or skip the test."""
    found = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("hadolint is not installed; `make setup` does that on Linux on x86-64")
    return found


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("", "", ""), (":3.13-slim-trixie AS", " AS", "DL3006"), ("rm -rf /var/lib/apt/lists/*", "true", "DL3009")],
)
def test_a_linter_agrees(tmp_path: Path, old: str, new: str, code: str) -> None:
    """hadolint has nothing to say of ours, and has of worse."""
    copy = tmp_path / "Containerfile"
    copy.write_text(TEXT.replace(old, new) if old else TEXT)
    done = subprocess.run(
        [hadolint(), "--no-color", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode == 0) == (code == "")
    assert code in done.stdout
    assert code or done.stdout == ""


def test_it_is_the_version_and_the_user_of_the_manifests() -> None:
    """The label is our version, the user the one that the Deployment names."""
    image = stages(parse(TEXT))[-1]
    (labels,) = (one.text for one in image if one.word == "LABEL")
    assert f'org.opencontainers.image.version="{__version__}"' in labels
    security = pod_of(only(documents("base/controller"), "Deployment"))["securityContext"]
    (user,) = (one.text for one in image if one.word == "USER")
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_what_is_copied_gets_past_the_ignore_file() -> None:
    """Every path that is copied from the sources is there and let through; what must stay out does."""
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for one in stages(parse(TEXT))[0]:
        if one.word == "COPY":
            copied |= set(one.text.split()[:-1])
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert not [name for name in (".git", ".venv", "tests") if any(fnmatch.fnmatch(name, one) for one in allowed)]


def programs(path: Path) -> Iterator[str]:
    """Yield the names of programs in a module: the first words of tuples and lists of words, and what is looked for."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("which")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)
        if isinstance(node, ast.Tuple | ast.List) and len(node.elts) > 1:
            words = [one.value for one in node.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            if len(words) == len(node.elts) and any(word.startswith("-") for word in words[1:]):
                yield words[0]


def test_every_program_that_is_called_is_known() -> None:
    """What modules outside the lab start is in the table, from the places it says, and the image has what it needs."""
    source = ROOT / "src" / "isthmus"
    found: dict[str, set[str]] = {}
    starting = ("create_subprocess", "subprocess.run", "Popen", "shutil.which", "host_facts")
    for path in source.rglob("*.py"):
        text = path.read_text("utf-8")
        if "lab" in path.relative_to(source).parts or not any(word in text for word in starting):
            continue
        for name in programs(path):
            found.setdefault(name, set()).add(str(path.relative_to(source).parent))
    assert found == {name: {place} for name, (place, _, _) in CALLED.items()}
    assert packages(stages(parse(TEXT))[-1]) == {package for _, package, why in CALLED.values() if why}

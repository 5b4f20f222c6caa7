"""The wheel: built, installed into an environment that has nothing else, and used there as people use it.

The commands are those of the build stage in packaging/Containerfile. They need packages from PyPI or from uv's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deploy.container import parse
from deploy.manifests import ROOT
from isthmus import __version__
from isthmus.model.schema import crds

SOURCE = ROOT / "src" / "isthmus"
OUT_OF_REACH = ("error sending request", "dns error", "Failed to fetch", "client error", "timed out")


def uv(*arguments: str) -> str:
    """Run uv as the build stage does and return what it says; skip the test where no package can be had."""
    program = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("uv is not installed; `make setup` does that")
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=170, env=environment, cwd=ROOT
    )
    if done.returncode and any(words in done.stderr for words in OUT_OF_REACH):
        pytest.skip(f"PyPI cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Made:
    """A wheel, and an environment with it and what it needs."""

    wheel: Path
    environment: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, knowing of nothing else."""
        program, *rest = arguments
        environment = {"PATH": "/nonexistent", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [str(self.environment / "bin" / program), *rest]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=environment, cwd="/")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder))
    (wheel,) = folder.glob("*.whl")
    environment, requirements = folder / "environment", folder / "requirements.txt"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    uv("export", "--frozen", "--quiet", "--no-dev", "--no-emit-project", "--output-file", str(requirements))
    install = ("pip", "install", "--quiet", "--python", str(environment / "bin" / "python"))
    uv(*install, "--require-hashes", "--requirement", str(requirements))
    uv(*install, "--no-deps", str(wheel))
    yield Made(wheel, environment)
    shutil.rmtree(folder, ignore_errors=True)


def test_the_image_is_built_by_the_same_commands() -> None:
    """What this test does is what the build stage does."""
    said = " ".join(one.text for one in parse((ROOT / "packaging" / "Containerfile").read_text("utf-8")))
    for words in (
        "uv export --frozen --quiet --no-dev --no-emit-project --output-file",
        "--require-hashes --requirement",
        "--wheel --out-dir",
        "--no-deps",
    ):
        assert words in said


def test_it_has_every_file_and_no_other(made: Made) -> None:
    """All modules and data files of the package are in it; no test, no cache, no manifest."""
    wanted = {
        str(Path("isthmus") / path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in zipfile.ZipFile(made.wheel).namelist() if ".dist-info/" not in name}
    assert names == wanted
    assert [name for name in names if name.endswith(".json")], "the lab's data"
    assert "isthmus/py.typed" in names


def test_it_says_its_version(made: Made) -> None:
    """`isthmus --version` works where nothing but the locked packages is installed."""
    done = made.run("isthmus", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout
    assert made.wheel.name == f"isthmus-{__version__}-py3-none-any.whl"


def test_it_prints_the_definitions(made: Made) -> None:
    """`isthmus crds` prints what is in deploy/."""
    done = made.run("isthmus", "crds")
    assert done.returncode == 0, done.stderr
    assert list(yaml.safe_load_all(done.stdout)) == crds()
    assert list(yaml.safe_load_all((ROOT / "deploy/base/definitions/crds.yaml").read_text("utf-8"))) == crds()


@pytest.mark.parametrize(
    "command", [("controller",), ("agent", "node"), ("agent", "gateway"), ("lab", "nitro"), ("doctor",)]
)
def test_each_role_starts(made: Made, command: tuple[str, ...]) -> None:
    """Every role's modules can be imported there: nothing that only tests or developers have is needed."""
    done = made.run("isthmus", *command, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_module_can_be_imported(made: Made) -> None:
    """What a command imports only when it runs is there, too."""
    walk = (
        "import importlib, pkgutil, isthmus\n"
        "for one in pkgutil.walk_packages(isthmus.__path__, 'isthmus.'):\n"
        "    if not one.name.endswith('__main__'): importlib.import_module(one.name)\n"
    )
    done = made.run("python", "-c", walk)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_labs_data_is_found(made: Made) -> None:
    """The emulated NetScaler reads its data from the installed package."""
    done = made.run(
        "python",
        "-c",
        "from importlib.resources import files; print(*(p.name for p in files('isthmus.lab.nitro.data').iterdir()))",
    )
    assert "kinds.json" in done.stdout, done.stderr

"""A controller whose objects come from files alone: what it keeps, what it says, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.home.rig import node, thing, until
from isthmus.app import controller as controller_module
from isthmus.app.controller import Controller
from isthmus.app.oneshot import Oneshot
from isthmus.app.sources import Sources
from isthmus.drivers.base import Observation
from isthmus.drivers.memory import MemoryDriver
from isthmus.lab.kube import KubeApi
from isthmus.registry.state import StateDirectory


class Files:
    """A configuration directory, a state directory and a cluster."""

    def __init__(self, directory: Path, kubeconfig: Path) -> None:
        self.config = directory / "config"
        self.state = directory / "state"
        self.driver = MemoryDriver()
        self.config.mkdir()
        self.write("KubeCluster", "prod", {"kubeconfig": {"path": str(kubeconfig)}})
        self.write("EdgeDevice", "gw1", {"driver": "memory", "tunnelAddresses": ["192.0.2.1"]})
        self.write("ClusterLink", "main", {"cluster": "prod", "devices": ["gw1"], "path": "direct"})

    def write(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Write one object."""
        (self.config / f"{kind}-{name}.json").write_text(json.dumps(thing(kind, name, spec)))

    def said(self) -> dict[tuple[str, str], Any]:
        """Return the statuses in the state directory."""
        with StateDirectory.read(self.state) as reader:
            return {key: entry.value for key, entry in reader.read_status().items()}

    @asynccontextmanager
    async def controller(self, driver: Callable[[], MemoryDriver] | None = None) -> AsyncIterator[asyncio.Task[None]]:
        """Run a controller."""
        async with StateDirectory(self.state) as state:
            made = driver or (lambda: self.driver)
            running = Controller(self.config, state, drivers={"memory": lambda kind, wiring: made()})
            task = asyncio.create_task(running.run())
            try:
                yield task
            finally:
                running.stop()
                await asyncio.wait({task}, timeout=15)


@pytest.fixture
async def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Files]:
    monkeypatch.setattr(controller_module, "_TELL", 0.05)
    api = KubeApi(tls=False)
    api.put(node(1))
    async with api.serving() as endpoint:
        yield Files(tmp_path, endpoint.kubeconfig_path)


async def test_the_last_status_is_the_truth(files: Files) -> None:
    """What is written at the end says how devices were left, not that nobody runs them any more."""
    async with files.controller():
        await until(
            lambda: files.state.exists() and files.said().get(("EdgeDevice", "gw1"), {}).get("inSync") is True
        )
    left = files.said()
    assert left["Controller", "controller"]["running"] is False
    assert left["EdgeDevice", "gw1"]["inSync"] is True
    assert left["KubeCluster", "prod"]["reachable"] is True


async def test_what_is_gone_leaves_the_status(files: Files) -> None:
    """An object that was removed while nobody ran is not shown by the next controller."""
    files.write("AddressPool", "old", {"ranges": ["198.51.100.0/28"]})
    async with files.controller():
        await until(lambda: files.state.exists() and ("AddressPool", "old") in files.said())
    (files.config / "AddressPool-old.json").unlink()
    async with files.controller():
        await until(lambda: ("AddressPool", "old") not in files.said())


async def test_an_error_of_ours_is_one_devices_trouble(files: Files) -> None:
    """A device's worker that trips over a bug says so in its status and tries again; the process goes on."""

    class Broken(MemoryDriver):
        left = 2

        async def observe(self, identities: Any = None) -> Observation:
            if self.left:
                self.left -= 1
                raise LookupError("a bug")
            return await super().observe(identities)

    broken = Broken()
    async with files.controller(lambda: broken) as task:
        await until(lambda: files.state.exists() and ("EdgeDevice", "gw1") in files.said())
        await until(lambda: "LookupError('a bug')" in files.said()["EdgeDevice", "gw1"]["message"])
        await until(lambda: files.said()["EdgeDevice", "gw1"]["inSync"] is True)
        assert not task.done()


async def test_a_missing_kubeconfig_is_waited_for(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster whose kubeconfig is not there says which file is missing, and is joined when it appears."""
    monkeypatch.setattr(controller_module, "_AGAIN", 0.1)
    good = json.loads((files.config / "KubeCluster-prod.json").read_text())["spec"]["kubeconfig"]["path"]
    late = tmp_path / "late"
    files.write("KubeCluster", "prod", {"kubeconfig": {"path": str(late)}})
    async with files.controller():
        await until(lambda: files.state.exists() and ("KubeCluster", "prod") in files.said())
        await until(lambda: str(late) in files.said()["KubeCluster", "prod"]["message"])
        late.write_bytes(Path(good).read_bytes())
        await until(lambda: files.said()["KubeCluster", "prod"]["inSync"] is True)


async def test_a_plan_leaves_out_what_a_controller_would(files: Files) -> None:
    """A link that cannot be used is in no plan; a warning is a note and no failure."""
    overlay = {"networks": ["172.31.0.0/24"]}
    spec = {"cluster": "prod", "devices": ["gw1"], "path": "overlay"}
    files.write("ClusterLink", "one", {**spec, "overlay": overlay})
    files.write("ClusterLink", "two", {**spec, "overlay": {**overlay, "vni": 7701}})
    files.write("AddressPool", "pool", {"ranges": ["198.51.100.0/28"], "clusters": ["elsewhere"]})
    async with Oneshot(Sources(files.config, None)) as look:
        assert set(look.world.links) == {"main", "one"}
        (problem,) = look.problems
        assert "overlaps 172.31.0.0/24 of ClusterLink one" in str(problem)
        assert any("ClusterLink two cannot be used" in note for note in look.notes)
        assert any('no KubeCluster is called "elsewhere"' in note for note in look.notes)
        assert look.plan("gw1").count("create") > 0

"""``--from-env`` on the command line: everything that is wrong at once, the way over to files, and a plan of the whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from isthmus.cli.commands import group

from .rig import OLD, Cluster


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Take away what a shell may have set, and the home directory."""
    for name in (*OLD, "KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, arguments, standalone_mode=False)


@pytest.mark.parametrize("verb", ["controller", "plan", "config", "validate", "explain"])
def test_everything_that_is_wrong_is_told_at_once(clean: pytest.MonkeyPatch, verb: str) -> None:
    """Each verb tells all of it before it does anything, ends with the code of a failure, and shows no secret."""
    for name, text in {**OLD, "VNID": "0", "NETWORK": "nonsense", "NS_IP": ""}.items():
        clean.setenv(name, text)
    found = run(verb, *(["10.244.1.7"] if verb == "explain" else []), "--from-env")
    assert found.return_value == 1 or found.exit_code == 1, found
    for name in ("VNID", "NETWORK", "NS_IP", "KUBECONFIG"):
        assert f"environment: {name}" in found.output, found.output
    assert "planted" not in found.output


def test_the_way_over_to_files(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What config prints is a file that validates, and says the same objects without the environment; no secret is in it."""
    (tmp_path / "kubeconfig").write_text("")
    for name, text in {**OLD, "KUBECONFIG": str(tmp_path / "kubeconfig")}.items():
        clean.setenv(name, text)
    printed = run("config", "--from-env", "--state", str(tmp_path / "state"))
    assert printed.return_value == 0, printed
    assert "planted" not in printed.stdout
    files = tmp_path / "files"
    files.mkdir()
    (files / "all.yaml").write_text(printed.stdout)
    assert run("validate", str(files)).return_value == 0
    again = run("config", "--config", str(files), "--state", str(tmp_path / "state"))
    assert list(yaml.safe_load_all(again.stdout)) == list(yaml.safe_load_all(printed.stdout))
    assert run("validate", "--from-env").return_value == 0


async def test_a_plan_says_what_somebody_elses_device_must_have(cluster: Cluster, clean: pytest.MonkeyPatch) -> None:
    """For a router's environment the plan lists the tunnel, the addresses, and an entry and a route per node."""
    variables = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "NETWORK": "192.168.254.0/24",
        "VNID": "200",
        "VXLAN_PORT": "7000",
        "REMOTE_VTEPIP": "192.0.2.60",
    }
    for name, text in variables.items():
        clean.setenv(name, text)
    found = await asyncio.to_thread(run, "plan", "--from-env", "--state", str(cluster.directory / "none"))
    assert found.return_value == 2, found.output
    for text in ("isth200", "192.168.254.254/24", "route 10.244.1.0/24", "route 10.244.2.0/24", "192.0.2.101"):
        assert text in found.output, found.output
    assert cluster.api.faults.writes == 0

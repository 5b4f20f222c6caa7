"""What scripts rely on: exit codes, what is on which stream, and that nothing is passed over in silence."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from isthmus.cli import main

POOL = "apiVersion: isthmus.dev/v1alpha1\nkind: AddressPool\nmetadata: {name: a}\nspec: {ranges: [203.0.113.0/24]}\n"
GATEWAY = "apiVersion: isthmus.dev/v1alpha1\nkind: EdgeDevice\nmetadata: {name: gw}\nspec: {driver: memory}\n"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def config(tmp_path: Path) -> Path:
    place = tmp_path / "config"
    place.mkdir()
    (place / "gw.yaml").write_text(GATEWAY)
    return place


def test_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Good files end with 0; a bad one with 1, the place, the reason and the way out."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(POOL)
    bad.write_text(POOL.replace("113.0/24", "113.7/24"))
    assert run("validate", str(good)) == 0
    assert run("validate", str(bad)) == 1
    out, err = capsys.readouterr()
    assert out == "nothing is wrong\n1 problem\n"
    assert err.endswith('spec.ranges[0]: "203.0.113.7/24" has host bits set (write 203.0.113.0/24)\n')
    assert run("validate", "--json", str(bad)) == 1
    assert [sorted(one) for one in json.loads(capsys.readouterr().out)] == [["place", "reason", "remedy"]]


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A word or option nobody knows ends with 64 and says where help is."""
    for arguments in (("frobnicate",), ("plan", "--frob"), ("lab", "run", "--path", "teleport")):
        assert run(*arguments) == 64
        assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("controller",), ("agent", "node", "--node", "n1")])
def test_a_wrong_address_to_listen_on(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """It is wrong usage, with one that would be right."""
    assert run(*verb, "--listen", "9441") == 64
    assert "write for example 127.0.0.1:9441" in capsys.readouterr().err


def test_plan_of_what_cannot_be_read(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that does not answer makes a plan end with 1, though nothing would change: nobody knows that."""
    arguments = ("plan", "--config", str(config), "--state", str(tmp_path / "state"))
    assert run(*arguments) == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # nobody answers there once it is closed
    (config / "cluster.yaml").write_text(
        "apiVersion: isthmus.dev/v1alpha1\nkind: KubeCluster\nmetadata: {name: c}\n"
        f"spec: {{server: {{url: 'https://127.0.0.1:{port}'}}}}\n"
    )
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "gw: 0 to create, 0 to update, 0 to delete"
    assert "cluster c cannot be read" in err


def test_clean_of_what_cannot_be_read(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`clean` says when nothing is there; a file or directory that cannot be read makes it end with 1."""
    assert run("clean", "--config", str(config)) == 0
    assert capsys.readouterr().out == "nothing of ours is there\n"
    assert run("clean", "--config", str(tmp_path / "nowhere")) == 1
    assert "cannot be read" in capsys.readouterr().err
    (config / "gw2.yaml").write_text("kind: [")
    assert run("clean", "--config", str(config)) == 1


def test_no_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` without a controller's state ends with 1 and says so."""
    assert run("status", "--state", str(tmp_path / "nowhere")) == 1
    err = capsys.readouterr().err
    assert "does not exist" in err
    assert "kubectl get isthmus" in err


def test_the_wrong_directory_for_a_gateway_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no agent has been, no epoch is forgotten, and a token is given with a word that it is the first thing there."""
    assert run("agent", "gateway", "reset-epoch", "--state", str(tmp_path)) == 1
    assert "no agent has kept its state there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    token = ("agent", "gateway", "token", "--state", str(tmp_path / "state"))
    assert run(*token) == 0
    out, err = capsys.readouterr()
    assert (out.startswith("isthmus1."), "no agent has started" in err) == (True, True)
    assert run(*token) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("agent", "gateway", "--listen", "nowhere"), "--listen nowhere: has no port"),
        (("agent", "gateway", "--metrics", "9443"), "--metrics '9443': is no address with a port"),
        (("agent", "gateway", "--certificate-lifetime", "1s"), "--certificate-lifetime: is too short"),
        (("agent", "gateway", "token", "--ttl", "30d"), "--ttl: is not between"),
        (("gateway", "enrol", "gw1", "--url", "192.0.2.1:7441"), "--url 192.0.2.1:7441: is not a URL"),
        (("gateway", "enrol", "../gw1", "--url", "https://192.0.2.1:7441"), "DEVICE ../gw1"),
    ],
)
def test_wrong_values_of_options(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that can never be right is wrong usage, named with its own option."""
    assert run(*arguments) == 64
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("plan",), ("apply", "--yes"), ("clean",)])
def test_a_device_nobody_knows(
    verb: tuple[str, ...], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong --device is told with the right ones."""
    arguments = ("--config", str(config), "--state", str(tmp_path / "state"), "--device", "gw9")
    assert run(*verb, *arguments) == 1
    assert "--device gw9: is not in the configuration (there is gw)" in capsys.readouterr().err


def test_apply_of_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the configuration cannot be read, nobody says that there is nothing to do; JSON holds the reason, too."""
    arguments = ("apply", "--yes", "--config", str(tmp_path / "nowhere"), "--state", str(tmp_path / "state"))
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == "nothing was done; not everything could be read\n"
    assert "nowhere: cannot be read" in err
    assert "name another by --config" in err
    assert run(*arguments, "--json") == 1
    assert "nowhere: cannot be read" in json.loads(capsys.readouterr().out)["problems"][0]


@pytest.mark.parametrize("group", [(), ("agent",), ("agent", "gateway"), ("gateway",), ("lab",)])
def test_lists_of_commands_say_whole_sentences(group: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """No group's help cuts off what a command is for."""
    assert run(*group, "--help") == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]

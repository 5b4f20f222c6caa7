"""What we hand out to install: the unit, the manifests and the image ask for what exists, and for no more than is needed."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.pages import ROOT
from docs.test_examples import check

READING = {"get", "list", "watch"}


def manifest(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "deploy" / name).read_text("utf-8")))


def only(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


@pytest.fixture(scope="module", params=["isthmus-controller.service", "isthmus-gateway-agent.service"])
def unit(request: pytest.FixtureRequest) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "packaging" / request.param)
    return parser


def test_the_unit_runs_a_command_that_exists(unit: configparser.ConfigParser) -> None:
    """ExecStart is a verb of ours with options it knows."""
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[0].endswith("/isthmus")
    check("ExecStart", words[1:])


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """No line of them is a slip, as far as the systemd here can tell; the program itself need not be installed."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    for path in (ROOT / "packaging").glob("*.service"):
        copy = tmp_path / path.name
        copy.write_text(path.read_text("utf-8").replace("/opt/isthmus/bin/isthmus", "/bin/true"))
        done = subprocess.run([verify, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), path.name


def test_the_unit_gives_two_capabilities(unit: configparser.ConfigParser) -> None:
    """What runs on a gateway has NET_ADMIN and NET_RAW, and the socket families it uses."""
    service = unit["Service"]
    assert set(service["CapabilityBoundingSet"].split()) == {"CAP_NET_ADMIN", "CAP_NET_RAW"}
    assert {"AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"} <= set(service["RestrictAddressFamilies"].split())


def test_the_agent_has_net_admin_alone() -> None:
    """The DaemonSet's container drops every capability but NET_ADMIN and cannot gain any."""
    pod = only(manifest("node-agent.yaml"), "DaemonSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["hostNetwork"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    check("node-agent.yaml", [str(word) for word in container["args"]])


def test_the_agent_reads_nodes_and_nothing_else() -> None:
    """Its ClusterRole allows reading Nodes only."""
    role = only(manifest("node-agent.yaml"), "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}]


def test_the_controller_writes_only_what_it_owns() -> None:
    """Its ClusterRole never allows everything, and Services and their endpoints are only read."""
    rules = only(manifest("controller-access.yaml"), "ClusterRole")["rules"]
    for rule in rules:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
    for resource in ("services", "endpointslices", "namespaces"):
        assert {verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]} == READING


def test_the_namespace_is_one() -> None:
    """Everything namespaced that we install is in one namespace, which the first manifest makes."""
    documents = [*manifest("controller-access.yaml"), *manifest("node-agent.yaml")]
    made = only(documents, "Namespace")["metadata"]["name"]
    assert {document["metadata"].get("namespace", made) for document in documents} == {made}

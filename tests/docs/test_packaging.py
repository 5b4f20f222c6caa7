"""What we hand out to install: the unit, the manifests and the image ask for what exists, and for no more than is needed."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.manifests import PARTS, documents, only
from deploy.rights import rights
from docs.pages import ROOT
from docs.test_examples import check

READING = {"list", "watch"}


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
    pod = only(documents("base/node-agent"), "DaemonSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["hostNetwork"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    check("base/node-agent", [str(word) for word in container["args"]])


def test_the_agent_reads_nodes_and_nothing_else() -> None:
    """Its ClusterRole allows reading Nodes only."""
    role = only(documents("base/node-agent"), "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}]


def test_services_and_endpoints_are_only_read() -> None:
    """No rule lets the controller write a Service's or an endpoint slice's own fields, or a namespace."""
    given = [one for one in rights(documents(*PARTS)) if one.resource in ("services", "endpointslices", "namespaces")]
    assert {one.verb for one in given if not one.name} == READING
    assert {(one.verb, one.resource, one.name) for one in given if one.name} == {("get", "namespaces", "kube-system")}

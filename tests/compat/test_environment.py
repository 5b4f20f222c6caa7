"""Every variable of the older systems: what comes of it, and what is said when it is missing, malformed or contradicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus.app.drivers import DRIVERS
from isthmus.compat.environment import Environment, read
from isthmus.compat.variables import VARIABLES
from isthmus.model.kinds import ClusterLink, EdgeDevice, parse

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "compat" / "environment.yaml").read_text("utf-8"))
NOWHERE = Path("/nonexistent")
DRIVER_NAMES = {*DRIVERS, "netscaler"}

ADC = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "NS_IP": "10.0.0.10",
    "NS_USER": "planted-user",
    "NS_PASSWORD": "planted-password",
}
BASES = {
    "overlay": ADC
    | {
        "NETWORK": "172.16.3.0/24",
        "REMOTE_VTEPIP": "10.0.0.11",
        "VXLAN_PORT": "3267",
        "VNID": "300",
        "CNI_TYPE": "calico",
    },
    "flannel": ADC
    | {"NODE_CNI_CIDR": "10.244.0.0/16", "NS_VTEP_IP": "10.0.0.12", "NS_VTEP_MAC": "AA:BB:CC:DD:EE:02"},
    "router": {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "NETWORK": "192.168.254.0/24",
        "VNID": "200",
        "K8S_VXLAN_PORT": "7000",
        "REMOTE_VTEPIP": "10.102.33.209",
    },
}


def environment(mode: str, changes: dict[str, str | None] | None = None) -> dict[str, str]:
    """Return the base of ``mode`` with ``changes``; none takes a variable away."""
    laid = {**BASES[mode], **(changes or {})}
    return {name: text for name, text in laid.items() if text is not None}


def taken(variables: dict[str, str]) -> Environment:
    """Return what ``variables`` say, in no pod and without a home directory."""
    return read(variables, DRIVER_NAMES, service_account=NOWHERE, home=NOWHERE)


def at(document: Any, path: str) -> Any:
    """Return what stands at a dotted path."""
    for step in path.split("."):
        document = document[step]
    return document


@pytest.mark.parametrize("case", CASES, ids=[case["says"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    """What an environment comes to is what the case says: objects, problems and warnings, nothing else."""
    found = taken(environment(case["mode"], case.get("set")))
    told = sorted(str(one).removeprefix("environment: ") for one in found.problems)
    odd = sorted(str(one).removeprefix("environment: ") for one in found.warnings)
    assert found.mode == case["mode"]
    assert told == sorted(case.get("problems", []))
    assert odd == sorted(case.get("warnings", []))
    assert bool(found.objects) is not bool(told)
    documents = {kind: one.document() for (kind, _), one in found.objects.items()}
    for kind, fields in case.get("has", {}).items():
        for path, value in fields.items():
            assert at(documents[kind], path) == value, path


def test_every_variable_is_in_a_case() -> None:
    """No variable is only in the table: each stands in some case, or in the base of one."""
    said = {name for case in CASES for name in case.get("set", {})} | {
        name for base in BASES.values() for name in base
    }
    assert set(VARIABLES) - said <= {
        "POD_NAMESPACE",
        "KUBECONFIG",
        "DSR_IP_RANGE",
        "CLUSTER_NAME",
        "REMOTE_TUNNEL_ENDPOINT",
    }


@pytest.mark.parametrize("mode", ["overlay", "flannel"])
def test_no_secret_is_ever_said(mode: str) -> None:
    """Neither objects, nor problems, nor warnings hold what NS_USER and NS_PASSWORD say, whatever else is wrong."""
    for changes in ({}, {"NS_IP": "nonsense"}, {"NS_CREDENTIALS_DIRECTORY": "/"}, {"NS_USERNAME": "planted-again"}):
        found = taken(environment(mode, dict(changes)))
        said = f"{found!r} {[one.document() for one in found.objects.values()]}"
        assert "planted" not in said + " ".join(str(one) for one in (*found.problems, *found.warnings))


def test_inside_and_outside_of_a_cluster(tmp_path: Path) -> None:
    """A pod uses its service account and namespace; outside it is KUBECONFIG, or the one in the home directory."""
    (tmp_path / "namespace").write_text("citrix\n")
    inside = read(environment("overlay"), DRIVER_NAMES, service_account=tmp_path, home=NOWHERE)
    assert (inside.switch, inside.export) == (("citrix", "citrix-node-controller"), ("citrix", "kube-cnc-router"))
    named = read(
        environment("overlay", {"POD_NAMESPACE": "adc"}), DRIVER_NAMES, service_account=tmp_path, home=NOWHERE
    )
    assert named.switch == ("adc", "citrix-node-controller")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text("")
    outside = {"KUBERNETES_SERVICE_HOST": None}
    home = read(environment("overlay", outside), DRIVER_NAMES, service_account=NOWHERE, home=tmp_path)
    assert home.objects["KubeCluster", "kubernetes"].document()["spec"] == {
        "kubeconfig": {"path": str(tmp_path / ".kube" / "config")}
    }
    said = read(
        environment("overlay", {**outside, "KUBECONFIG": str(tmp_path / "namespace")}),
        DRIVER_NAMES,
        service_account=NOWHERE,
        home=NOWHERE,
    )
    assert said.switch == ("kube-system", "citrix-node-controller")
    assert said.cluster == "kubernetes"
    assert (said.device, said.link) == ("citrix-node-controller", "citrix-node-controller")


def test_the_router_has_no_switch_unless_one_is_named() -> None:
    """The old router ran as long as it was there; with CNC_CONFIGMAP it gets a switch like the controller's."""
    assert taken(environment("router")).switch is None
    named = taken(environment("router", {"CNC_CONFIGMAP": "overlay-switch"}))
    assert named.switch == ("kube-system", "overlay-switch")
    assert named.export == ("kube-system", "kube-chorus-router")


def test_the_documents_say_it_all_again() -> None:
    """What is printed for files of one's own means the same objects when it is read again."""
    for mode in BASES:
        for one in taken(environment(mode)).objects.values():
            again = parse(one.document(), drivers=DRIVER_NAMES).object
            assert isinstance(one, EdgeDevice | ClusterLink) or one.key[0] == "KubeCluster"
            assert again == one


@given(
    st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.text(max_size=40), max_size=12),
    st.sampled_from(sorted(BASES)),
)
def test_nothing_that_stands_in_the_environment_ends_the_process(changes: dict[str, str], mode: str) -> None:
    """Any text in any variable is objects or problems, never an error of ours."""
    clean = {name: text.replace("\0", "") for name, text in changes.items()}
    found = taken(environment(mode, dict(clean)))
    assert bool(found.objects) is not bool(found.problems)

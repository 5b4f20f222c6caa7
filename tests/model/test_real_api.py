"""What a real API server makes of our definitions: it takes what the models take, and refuses what they refuse.

Nothing is stored: every object is sent as a dry run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.model.kinds import KINDS, parse
from isthmus.model.schema import crds
from realapi import RealApi
from realapi.reaching import Reach, Refused

from .kinds.cases import DRIVERS, document
from .test_schema import GOOD, PLAIN, nodes, root

CLUSTER = {"inCluster": True}
NETSCALER = {"urls": ["https://192.0.2.10"], "credentials": {"directory": "/etc/adc"}}
LINK = {"cluster": "east", "devices": ["gw1"]}
# Each rule in CEL by its message, with an object that breaks it and no other.
BREAKS: dict[str, dict[str, Any]] = {
    "say exactly one of inCluster, kubeconfig and server": document(
        "KubeCluster", "a", CLUSTER | {"kubeconfig": {"path": "/etc/kubeconfig"}}
    ),
    "clientCertificateFile and clientKeyFile belong together": document(
        "KubeCluster", "a", {"server": {"url": "https://192.0.2.1:6443", "clientCertificateFile": "/etc/client.crt"}}
    ),
    "the block netscaler belongs to driver netscaler, which needs it": document(
        "EdgeDevice", "a", {"driver": "netscaler"}
    ),
    "say exactly one of directory, secret and environment in credentials": document(
        "EdgeDevice", "a", {"driver": "netscaler", "netscaler": NETSCALER | {"credentials": {}}}
    ),
    "say at most one of ca, caFile and certificateSha256": document(
        "EdgeDevice",
        "a",
        {"driver": "netscaler", "netscaler": NETSCALER | {"caFile": "/etc/ca.pem", "certificateSha256": "00" * 32}},
    ),
    "ports 4789 and 8472 belong to the cluster's CNI": document(
        "ClusterLink", "a", LINK | {"overlay": {"networks": ["10.1.0.0/24"], "port": 8472}}
    ),
    "path overlay needs the block overlay with its networks": document(
        "ClusterLink", "a", LINK | {"path": "overlay"}
    ),
    "sources of policy routes are for path direct; a tunnel has an address of its own": document(
        "ClusterLink", "a", LINK | {"path": "flannel", "policyRoutes": {"sources": ["192.0.2.2"]}}
    ),
    "say exactly one of holder and reservation: true": document("VirtualIP", "192.0.2.1", {"address": "192.0.2.1"}),
}


@pytest.fixture(scope="module")
def reach(real_api: RealApi) -> Iterator[Reach]:
    """Return a way to a server that has our definitions."""
    made = Reach(real_api.endpoint)
    for definition in crds():
        made.put(definition)
    deadline = time.monotonic() + 20
    for written in GOOD:  # right after a definition is made the server may not take its objects yet
        while time.monotonic() < deadline:
            try:
                send(made, written)
                break
            except Refused as refused:
                if refused.status != 404:
                    break
                time.sleep(0.05)
    yield made
    made.close()


def send(reach: Reach, written: dict[str, Any], **options: str) -> dict[str, Any]:
    """Return what the server would store; raise Refused."""
    query = "&".join(f"{name}={value}" for name, value in ({"dryRun": "All"} | options).items())
    plural = KINDS[written["kind"]].PLURAL
    return reach.ask("POST", f"/apis/isthmus.dev/v1alpha1/{plural}?{query}", written)


@pytest.mark.parametrize("written", GOOD, ids=lambda one: "/".join((one["kind"], one["metadata"]["name"])))
def test_good_objects_are_taken(reach: Reach, written: dict[str, Any]) -> None:
    """No field is unknown to the server, and with its defaults filled in the object still means the same to us."""
    stored = send(reach, written, fieldValidation="Strict")
    found = parse(stored, drivers=DRIVERS)
    expected = parse(written, drivers=DRIVERS).object
    assert found.problems == ()
    assert found.object is not None
    assert expected is not None
    assert found.object.spec == expected.spec


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case["says"])
def test_what_a_schema_can_refuse_is_refused(reach: Reach, case: dict[str, Any]) -> None:
    """Bounds, choices, types and missing fields never get in; unknown fields do not where the client wants to know."""
    with pytest.raises(Refused) as refused:
        send(reach, document(case["kind"], "x", case["spec"]), fieldValidation="Strict")
    assert refused.value.status in (400, 422)


def test_unknown_fields_are_pruned(reach: Reach) -> None:
    """A field that a newer version may know is dropped, not kept, where nobody asked for strictness."""
    written = document("ClusterLink", "x", LINK | {"warp": 9})
    assert "warp" not in send(reach, written, fieldValidation="Ignore")["spec"]


@pytest.mark.parametrize("message", BREAKS)
def test_rules_between_fields(reach: Reach, message: str) -> None:
    """What no schema can say is said by a rule, in its own words."""
    with pytest.raises(Refused) as refused:
        send(reach, BREAKS[message])
    assert refused.value.status == 422
    assert message in str(refused.value)


def test_every_rule_is_broken_once() -> None:
    """The table above names each rule in the definitions."""
    found = {
        one["message"]
        for model in KINDS.values()
        for node in nodes(root(model))
        for one in node.get("x-kubernetes-validations", ())
    }
    assert found == set(BREAKS)

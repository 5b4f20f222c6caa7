"""What is read of a cluster's network: the table of objects, and fields that are not what they should be."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from isthmus.kube.documents import flat
from isthmus.kube.loose import Loose
from isthmus.kube.publishing import SOURCES, read
from isthmus.model.published import Published


def node(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, **fields}


def test_every_source_fills_a_field() -> None:
    """What the table says is read has a place among the published facts, and CRDs may be missing."""
    fields = {field.name for field in msgspec.structs.fields(Published)}
    assert {source.field for source in SOURCES} <= fields
    assert all(source.optional == ("." in source.kind.group) for source in SOURCES if source.kind.group != "apps")


def test_config_maps_are_read_by_name_only() -> None:
    """A ConfigMap of another name is passed over, whatever is in it; one named after its contents is read."""
    maps = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "x"}, "data": {"a": "b"}}
        for name in ("cilium-config", "antrea-config-9ct2f7ff96", "passwords", "my-cilium-config")
    ]
    assert [one.name for one in read(maps).config_maps] == ["cilium-config", "antrea-config-9ct2f7ff96"]


def test_secrets_in_variables_are_not_kept() -> None:
    """Of a variable that looks like a secret only its name is kept."""
    env = [
        {"name": "WEAVE_PASSWORD", "value": "hunter2"},
        {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "WEAVE_MTU", "value": "1376"},
        {"name": "BACKEND", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "b"}}},
    ]
    pod = {"containers": [{"name": "weave", "image": "weave", "env": env}]}
    one = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "w", "namespace": "x"},
        "spec": {"template": {"spec": pod}},
    }
    found = read([one])
    container = found.daemon_sets[0].containers[0]
    assert container.env == {"WEAVE_MTU": "1376"}
    assert container.refs == {"WEAVE_PASSWORD": ("", ""), "API_TOKEN": ("", ""), "BACKEND": ("c", "b")}
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(
    ("spec", "assigned", "problem"),
    [
        ({"podCIDR": "10.1.0.0/24"}, "10.1.0.0/24", None),
        (
            {"podCIDRs": "10.1.0.0/24"},
            "10.1.0.0/24",
            "spec.podCIDRs is no list, taken for a list of one: '10.1.0.0/24'",
        ),
        (
            {"podCIDR": "10.1.0.9/24"},
            "10.1.0.0/24",
            "podCIDR: 10.1.0.9/24 has bits beyond its prefix, taken for 10.1.0.0/24",
        ),
        ({"podCIDR": "0.0.0.0/0"}, None, "podCIDR: 0.0.0.0/0 cannot be a network of pods"),
        ({"podCIDR": 7}, None, "podCIDR: 7 is no network"),
        ({"podCIDR": None, "podCIDRs": None}, None, None),
        (["podCIDR"], None, None),
    ],
)
def test_pod_cidrs(spec: Any, assigned: str | None, problem: str | None) -> None:
    """A pod CIDR that is not one costs itself, and is said."""
    found = read([node(spec=spec)]).nodes[0]
    assert found.assigned == ((ip_network(assigned),) if assigned else ())
    assert found.problems == ((problem,) if problem else ())


def test_a_bad_address_costs_itself() -> None:
    """A node with one good and three bad addresses has the good one, and three problems."""
    texts = ["192.0.2.1", "<HIDDEN>", "0.0.0.0", 5]
    addresses = [{"type": "InternalIP", "address": text} for text in texts] + [{"type": "Hostname", "address": "a"}]
    found = read([node(status={"addresses": addresses})]).nodes[0]
    assert found.internal == (ip_address("192.0.2.1"),)
    assert len(found.problems) == 3


def test_a_nameless_object_and_a_stranger_are_passed_over() -> None:
    """An object without a name is nobody's, and a kind that tells nothing of a network is not read."""
    nameless = {"apiVersion": "v1", "kind": "Node", "metadata": {}}
    stranger = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    assert read([nameless, stranger]) == Published()
    assert read([7, {}]).problems == ("an object has no apiVersion and kind", "something is no object: int")


def test_documents_are_made_flat() -> None:
    """JSON with placeholders and YAML become paths; what cannot be read is said, and is no values."""
    problems: list[str] = []
    values = flat(
        {
            "plain": "1",
            "cni_network_config": '{"plugins": [{"mtu": __CNI_MTU__, "ipam": {"type": "host-local"}, "on": true}]}',
            "antrea-agent.conf": "tunnelType: geneve\ntunnelPort: 0\n",
            "net-conf.json": "{",
        },
        problems,
    )
    assert values == {
        "plain": "1",
        "cni_network_config:": "read",
        "cni_network_config:plugins.0.ipam.type": "host-local",
        "cni_network_config:plugins.0.on": "true",
        "antrea-agent.conf:": "read",
        "antrea-agent.conf:tunnelType": "geneve",
        "antrea-agent.conf:tunnelPort": "0",
    }
    assert len(problems) == 1
    assert problems[0].startswith("net-conf.json cannot be read: ")


def test_a_document_that_would_be_endless_is_refused() -> None:
    """YAML whose aliases multiply is not read at all."""
    problems: list[str] = []
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    assert flat({"antrea-agent.conf": bomb}, problems) == {}
    assert problems == ["antrea-agent.conf cannot be read: aliases are not read"]


@pytest.mark.parametrize(
    ("found", "text"), [("x", "x"), (5, "5"), (True, "true"), (None, ""), ([], ""), ({}, "")], ids=repr
)
def test_text(found: Any, text: str) -> None:
    """Numbers and truth values are texts as they would be written; lists and maps are none."""
    assert Loose({"a": found}).text("a") == text

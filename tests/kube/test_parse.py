"""What we read in Nodes, Services, EndpointSlices and Namespaces, and what becomes a problem of that object alone."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from isthmus.kube import wire
from isthmus.kube.parse import parse_namespace, parse_node, parse_service, parse_slice
from isthmus.model.facts import Endpoint, NodeFacts, ServiceFacts, ServicePort, SliceFacts


def node(metadata: dict[str, Any] | None = None, **fields: Any) -> NodeFacts:
    return parse_node(msgspec.convert({"metadata": {"name": "n1"} | (metadata or {}), **fields}, wire.Node))


def service(metadata: dict[str, Any] | None = None, **fields: Any) -> ServiceFacts:
    head = {"name": "web", "namespace": "shop"} | (metadata or {})
    return parse_service(msgspec.convert({"metadata": head, **fields}, wire.Service))


def endpoint_slice(**fields: Any) -> SliceFacts:
    head = {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}}
    return parse_slice(msgspec.convert({"metadata": head, "addressType": "IPv4"} | fields, wire.Slice))


def test_a_whole_node() -> None:
    """Addresses keep their order, both pod CIDRs count, and only annotations that some path reads are kept."""
    found = node(
        {
            "uid": "u1",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"kubernetes.io/os": "linux"},
            "annotations": {
                "flannel.alpha.coreos.com/backend-type": "vxlan",
                "projectcalico.org/IPv4Address": "10.0.0.1/24",
                "network.cilium.io/ipv4-cilium-host": "10.244.1.7",
                "k3s.io/internal-ip": "10.0.0.1",
                "kubectl.kubernetes.io/last-applied-configuration": "{...}",
            },
        },
        spec={"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "2001:db8:1::/64"]},
        status={
            "addresses": [
                {"type": "Hostname", "address": "n1"},
                {"type": "InternalIP", "address": "2001:db8::1"},
                {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "ExternalIP", "address": "203.0.113.1"},
            ],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:06Z"}],
            "images": [{"sizeBytes": 1}],
        },
    )
    assert found.addresses == (ip_address("2001:db8::1"), ip_address("192.0.2.1"))
    assert found.pod_cidrs == (ip_network("10.244.1.0/24"), ip_network("2001:db8:1::/64"))
    assert set(found.annotations) == {
        "flannel.alpha.coreos.com/backend-type",
        "projectcalico.org/IPv4Address",
        "network.cilium.io/ipv4-cilium-host",
        "k3s.io/internal-ip",
    }
    assert (found.name, found.uid, found.created) == ("n1", "u1", "2026-01-02T03:04:05Z")
    assert found.not_ready_since is None
    assert found.problems == ()


def test_a_node_with_nothing() -> None:
    """A Node that nobody has filled in yet is empty and has no problem."""
    assert node() == NodeFacts(name="n1")
    assert node(spec=None, status=None, metadata={"labels": None}) == NodeFacts(name="n1")


def test_the_old_field_alone() -> None:
    """``podCIDR`` counts where ``podCIDRs`` is missing."""
    assert node(spec={"podCIDR": "10.244.1.0/24"}).pod_cidrs == (ip_network("10.244.1.0/24"),)


def test_more_pod_cidrs_by_annotation() -> None:
    """Further pod CIDRs that the API has no field for come by our annotation, checked like all others."""
    found = node(
        {"annotations": {"isthmus.dev/pod-cidrs": "10.244.7.0/24, 10.244.1.0/24,0.0.0.0/0,"}},
        spec={"podCIDRs": ["10.244.1.0/24"]},
    )
    assert found.pod_cidrs == (ip_network("10.244.1.0/24"), ip_network("10.244.7.0/24"))
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    "text", ["10.244.1.1/24", "garbage", "10.244.1.0/33", "", "0.0.0.0/0", "::/0", "127.0.0.0/8", "224.0.0.0/24"]
)
def test_a_bad_pod_cidr_is_a_problem(text: str) -> None:
    """Host bits, garbage and networks that would draw foreign traffic are left out and named; the good one stays."""
    found = node(spec={"podCIDRs": [text, "10.244.2.0/24"]})
    assert found.pod_cidrs == (ip_network("10.244.2.0/24"),)
    assert len(found.problems) == 1
    assert "podCIDR" in found.problems[0]


@pytest.mark.parametrize("text", ["n1.example", "127.0.0.1", "0.0.0.0", "fe80::1%eth0", "224.0.0.5"])
def test_a_bad_node_address_is_a_problem(text: str) -> None:
    """An InternalIP that no other host can reach is left out and named."""
    addresses = [{"type": "InternalIP", "address": text}, {"type": "InternalIP", "address": "192.0.2.9"}]
    found = node(status={"addresses": addresses})
    assert found.addresses == (ip_address("192.0.2.9"),)
    assert text.split("%")[0] in found.problems[0]


@pytest.mark.parametrize("state", ["False", "Unknown"])
def test_not_ready_has_a_moment(state: str) -> None:
    """Unknown counts as not ready; the moment is the condition's last transition."""
    conditions = [{"type": "Ready", "status": state, "lastTransitionTime": "2026-01-01T00:00:10Z"}]
    assert node(status={"conditions": conditions}).not_ready_since == 1767225610.0


def test_not_ready_without_a_moment_is_taken_as_ready() -> None:
    """A condition without a time cannot tell a blip from a dead node, so the node stays and the problem is named."""
    found = node(status={"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": None}]})
    assert found.not_ready_since is None
    assert "Ready" in found.problems[0]


def test_a_whole_service() -> None:
    """Every field that decides about a VIP is there."""
    found = service(
        {
            "uid": "u",
            "labels": {"app": "web"},
            "deletionTimestamp": "2026-01-02T03:04:05Z",
            "annotations": {"isthmus.dev/addresses": "192.0.2.10, 2001:db8::10", "isthmus.dev/pool": " edge "},
        },
        spec={
            "type": "LoadBalancer",
            "loadBalancerClass": "isthmus.dev/edge",
            "loadBalancerIP": "192.0.2.99",
            "ipFamilies": ["IPv6", "IPv4"],
            "sessionAffinity": "ClientIP",
            "externalTrafficPolicy": "Local",
            "publishNotReadyAddresses": True,
            "ports": [
                {"name": "http", "port": 80},
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "sig", "port": 2905, "protocol": "SCTP"},
            ],
        },
        status={"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}, {"hostname": "lb.example"}]}},
    )
    assert found.type == "LoadBalancer"
    assert found.load_balancer_class == "isthmus.dev/edge"
    assert found.requested == (ip_address("192.0.2.10"), ip_address("2001:db8::10")), "the annotation wins"
    assert found.pool == "edge"
    assert found.families == (6, 4)
    assert found.ports == (
        ServicePort("http", "tcp", 80),
        ServicePort("dns", "udp", 53),
        ServicePort("sig", "sctp", 2905),
    )
    assert found.ingress == (ip_address("192.0.2.10"),)
    assert found.session_affinity
    assert found.local_traffic_only
    assert found.publish_not_ready
    assert found.deleting
    assert found.problems == ()


def test_our_own_condition_on_a_service() -> None:
    """What we said in a Service's status is read back, so that a restart writes nothing."""
    mine = {
        "type": "isthmus.dev/Served",
        "status": "False",
        "reason": "NoAddress",
        "message": "pool edge is used up",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    found = service(status={"conditions": [{"type": "Other", "status": "True"}, mine]})
    assert found.served == ("False", "NoAddress", "pool edge is used up")
    assert found.served_since == "2026-01-02T03:04:05Z"
    assert service(status={"conditions": None}).served is None


def test_the_old_way_to_ask_for_an_address() -> None:
    """``spec.loadBalancerIP`` asks where no annotation does."""
    assert service(spec={"loadBalancerIP": "192.0.2.9"}).requested == (ip_address("192.0.2.9"),)


def test_bad_ports_and_addresses_are_left_out_and_named() -> None:
    """An unknown protocol, a port out of range and an address that is none cost themselves alone."""
    found = service(
        {"annotations": {"isthmus.dev/addresses": "192.0.2.1,nonsense,"}},
        spec={
            "ports": [{"name": "odd", "port": 1, "protocol": "QUIC"}, {"name": "zero", "port": 0}, {"port": 443}],
            "ipFamilies": ["IPv4", "IPX"],
        },
    )
    assert found.ports == (ServicePort("", "tcp", 443),)
    assert found.requested == (ip_address("192.0.2.1"),)
    assert found.unreadable_request == "annotation isthmus.dev/addresses: 'nonsense' is not an IP address"
    assert found.families == (4,)
    assert len(found.problems) == 4
    assert any("odd" in problem and "QUIC" in problem for problem in found.problems)


def test_a_service_of_an_old_api_has_its_address_family() -> None:
    """Without ``ipFamilies`` the cluster IP tells the family."""
    assert service(spec={"clusterIP": "2001:db8::1"}).families == (6,)
    assert service(spec={"clusterIP": "None"}).families == (4,)
    assert service().families == (4,)


def test_a_whole_slice() -> None:
    """Ports by name and protocol; endpoints by their first address, node and conditions."""
    found = endpoint_slice(
        ports=[{"name": "http", "protocol": "TCP", "port": 8080}, {"name": "all", "port": None}],
        endpoints=[
            {"addresses": ["10.244.1.5", "10.244.1.6"], "nodeName": "n1", "conditions": {"ready": True}},
            {"addresses": ["10.244.1.7"], "conditions": {"ready": False, "serving": True, "terminating": True}},
            {"addresses": ["10.244.1.8"], "conditions": {}},
            {"addresses": ["10.244.1.9"]},
        ],
    )
    assert found.service == "web"
    assert found.ports == (("http", "tcp", 8080),)
    assert found.endpoints == (
        Endpoint(ip_address("10.244.1.5"), "n1"),
        Endpoint(ip_address("10.244.1.7"), None, ready=False, serving=True, terminating=True),
        Endpoint(ip_address("10.244.1.8")),
        Endpoint(ip_address("10.244.1.9")),
    ), "a condition that is not there is ready, serving, not terminating"
    assert found.problems == ()


def test_null_lists_are_none() -> None:
    """Null ports and endpoints are none, as controllers write them for Services without pods."""
    assert endpoint_slice(ports=None, endpoints=None) == SliceFacts("shop", "web-x", "web")


def test_bad_endpoints_are_left_out_and_named() -> None:
    """An endpoint without an address, with garbage or of the other family costs itself alone."""
    found = endpoint_slice(
        endpoints=[
            {"addresses": []},
            {"addresses": ["pod.example"]},
            {"addresses": ["2001:db8::5"]},
            {"addresses": ["10.0.0.1"]},
        ]
    )
    assert [str(endpoint.address) for endpoint in found.endpoints] == ["10.0.0.1"]
    assert len(found.problems) == 3


def test_a_slice_of_names_is_skipped() -> None:
    """An FQDN slice has a problem and no endpoints."""
    found = endpoint_slice(addressType="FQDN", endpoints=[{"addresses": ["a.example"]}])
    assert found.endpoints == ()
    assert "FQDN" in found.problems[0]


def test_a_namespace() -> None:
    """A Namespace is its uid and labels."""
    found = parse_namespace(msgspec.convert({"metadata": {"name": "kube-system", "uid": "u"}}, wire.Namespace))
    assert (found.name, found.uid, found.labels) == ("kube-system", "u", {})

"""Services: defaults, and what may not be."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from lab.kube.talking import SERVICES, Client, Json, service


async def test_defaults(client: Client) -> None:
    """A bare Service is filled in as the real server fills it in."""
    code, made = await client.post(SERVICES, service("s"))
    assert code == 201
    address = made["spec"]["clusterIP"]
    assert ip_address(address) in ip_network("10.96.0.0/16")
    assert made["spec"] == {
        "clusterIP": address,
        "clusterIPs": [address],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    assert made["status"] == {"loadBalancer": {}}


async def test_load_balancer_defaults_come_and_go_with_the_type(client: Client) -> None:
    """externalTrafficPolicy and allocateLoadBalancerNodePorts belong to LoadBalancer and leave with it."""
    _, made = await client.post(SERVICES, service("s", type="LoadBalancer", loadBalancerClass="lab.dev/lb"))
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"
    assert made["spec"]["allocateLoadBalancerNodePorts"] is True
    _, changed = await client.patch(f"{SERVICES}/s", {"spec": {"type": "ClusterIP"}})
    gone = {"externalTrafficPolicy", "allocateLoadBalancerNodePorts", "loadBalancerClass"}
    assert changed["spec"].keys() & gone == set()


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"ports": []}, "spec.ports", "FieldValueRequired"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port", "FieldValueInvalid"),
        ({"ports": [{"port": 65536}]}, "spec.ports[0].port", "FieldValueInvalid"),
        ({"ports": [{"port": 80, "targetPort": 70000}]}, "spec.ports[0].targetPort", "FieldValueInvalid"),
        ({"ports": [{"port": 80, "protocol": "ICMP"}]}, "spec.ports[0].protocol", "FieldValueNotSupported"),
        ({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}, "spec.ports[0].name", "FieldValueRequired"),
        (
            {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
            "spec.ports[1].name",
            "FieldValueDuplicate",
        ),
        ({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}, "spec.ports[1]", "FieldValueDuplicate"),
        ({"type": "Magic"}, "spec.type", "FieldValueNotSupported"),
        ({"clusterIP": "192.0.2.1"}, "spec.clusterIPs", "FieldValueInvalid"),
        ({"clusterIP": "x"}, "spec.clusterIPs[0]", "FieldValueInvalid"),
        ({"loadBalancerClass": "x/y"}, "spec.loadBalancerClass", "FieldValueForbidden"),
    ],
)
async def test_what_is_invalid(client: Client, spec: Json, field: str, reason: str) -> None:
    """A Service that the real server refuses is refused, with its field and reason."""
    code, said = await client.post(SERVICES, service("s", **spec))
    assert (code, said["reason"], said["details"]["kind"]) == (422, "Invalid", "Service")
    assert (said["details"]["causes"][0]["field"], said["details"]["causes"][0]["reason"]) == (field, reason)


async def test_what_may_not_change(client: Client) -> None:
    """The first cluster address and the class stay once set, in the real words."""
    await client.post(SERVICES, service("s", type="LoadBalancer", loadBalancerClass="a/b"))
    code, said = await client.put(
        f"{SERVICES}/s", service("s", type="LoadBalancer", loadBalancerClass="a/b", clusterIP="10.96.0.9")
    )
    assert code == 422
    assert said["message"] == (
        'Service "s" is invalid: spec.clusterIPs[0]: Invalid value: []string{"10.96.0.9"}: may not change once set'
    )
    code, said = await client.patch(f"{SERVICES}/s", {"spec": {"loadBalancerClass": "c/d"}})
    assert said["message"] == (
        'Service "s" is invalid: spec.loadBalancerClass: Invalid value: "c/d": may not change once set'
    )


async def test_two_services_cannot_have_one_address(client: Client) -> None:
    """An address that is in use is refused to a second Service."""
    await client.post(SERVICES, service("a", clusterIP="10.96.1.1"))
    code, said = await client.post(SERVICES, service("b", clusterIP="10.96.1.1"))
    assert code == 422
    assert "provided IP is already allocated" in said["message"]


async def test_unknown_fields_of_built_in_kinds(client: Client) -> None:
    """A misspelt field of a Service is an error when Strict, and a warning by default."""
    wrong = service("s", ports=[{"port": 80, "tragetPort": 1}], prots=[])
    code, said = await client.post(SERVICES, wrong, fieldValidation="Strict")
    assert code == 400
    assert said["message"].endswith('unknown field "spec.ports[0].tragetPort", unknown field "spec.prots"')
    assert (await client.post(SERVICES, wrong))[0] == 201

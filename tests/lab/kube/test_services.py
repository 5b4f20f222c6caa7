"""Services: defaults, addresses, and what may not be."""

from __future__ import annotations

import pytest

from isthmus.lab.kube import ApiError, KubeApi
from lab.kube.talking import SERVICES, Client, Json, service

DUAL = {"service_cidrs": ("10.96.0.0/16", "fd00:96::/112"), "tls": False}


async def test_defaults(client: Client) -> None:
    """A bare Service is filled in as the real server fills it in."""
    code, made = await client.post(SERVICES, service("s"))
    assert code == 201
    assert made["spec"] == {
        "clusterIP": "10.96.0.2",
        "clusterIPs": ["10.96.0.2"],
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


def test_addresses_are_unique_kept_and_given_back() -> None:
    """Every Service gets an address of its own, keeps it over updates, and frees it when it goes."""
    api = KubeApi(service_cidrs=("10.96.0.0/29",), tls=False)
    given = [api.put(service(f"s{number}"))["spec"]["clusterIP"] for number in range(5)]
    assert given == [f"10.96.0.{last}" for last in range(2, 7)]
    with pytest.raises(ApiError, match="range is full"):
        api.put(service("s5"))
    assert api.put(service("s1", selector={"a": "b"}))["spec"]["clusterIP"] == "10.96.0.3"
    api.delete("Service", "s3")
    assert api.put(service("s5"))["spec"]["clusterIP"] == "10.96.0.5"


def test_a_restored_backup_frees_and_takes_addresses() -> None:
    """After a restore the addresses in use are those of the Services in the backup."""
    api = KubeApi(tls=False)
    api.put(service("a", clusterIP="10.96.0.2"))
    backup = api.backup()
    api.delete("Service", "a")
    api.put(service("b", clusterIP="10.96.0.2"))
    api.restore(backup)
    with pytest.raises(ApiError, match="already allocated"):
        api.put(service("c", clusterIP="10.96.0.2"))


@pytest.mark.parametrize(
    ("spec", "families", "count"),
    [
        ({}, ["IPv4"], 1),
        ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"], 2),
        ({"ipFamilyPolicy": "RequireDualStack"}, ["IPv4", "IPv6"], 2),
        ({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}, ["IPv6", "IPv4"], 2),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"], 1),
    ],
)
def test_families(spec: Json, families: list[str], count: int) -> None:
    """Policy and families decide together which addresses a Service gets."""
    made = KubeApi(**DUAL).put(service("s", **spec))["spec"]
    assert (made["ipFamilies"], len(made["clusterIPs"])) == (families, count)
    assert made["clusterIP"] == made["clusterIPs"][0]


def test_dual_stack_on_a_single_stack_cluster() -> None:
    """Preferring two families is fine with one; requiring them is not."""
    api = KubeApi(tls=False)
    assert api.put(service("a", ipFamilyPolicy="PreferDualStack"))["spec"]["ipFamilies"] == ["IPv4"]
    with pytest.raises(ApiError, match="not configured on this cluster"):
        api.put(service("b", ipFamilies=["IPv6"]))


def test_headless_and_external_names_get_no_address() -> None:
    """``None`` stays None, an ExternalName has no address at all."""
    api = KubeApi(tls=False)
    assert api.put(service("h", clusterIP="None"))["spec"]["clusterIPs"] == ["None"]
    external = api.put(service("e", type="ExternalName", externalName="example.org", ports=[]))["spec"]
    assert "clusterIP" not in external
    with pytest.raises(ApiError, match=r"spec\.externalName: Required value"):
        api.put(service("f", type="ExternalName"))


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
    wrong = service("s", prots=[], ports=[{"port": 80, "tragetPort": 1}])
    code, said = await client.post(SERVICES, wrong, fieldValidation="Strict")
    assert code == 400
    assert said["message"].endswith('unknown field "spec.prots", unknown field "spec.ports[0].tragetPort"')
    assert (await client.post(SERVICES, wrong))[0] == 201

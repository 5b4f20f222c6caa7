"""Services: defaults, addresses, and what may not be."""

from __future__ import annotations

import pytest

from isthmus.lab.kube import ApiError, KubeApi
from lab.kube.talking import Json, service

DUAL = {"service_cidrs": ("10.96.0.0/16", "fd00:96::/112"), "tls": False}


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

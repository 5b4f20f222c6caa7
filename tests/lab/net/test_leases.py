"""What the emulated flanneld takes up, and what it ignores, quirks included."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.lab.net.leases import BACKEND_DATA, MANAGED, PUBLIC_IP, Ignored, read_node, update_counts

BOTH = ("ipv4", "ipv6")


def node(**changes: Any) -> dict[str, Any]:
    """Return a good dual-stack Node; an annotation changed to None is removed."""
    notes: dict[str, Any] = {
        MANAGED: "true",
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        BACKEND_DATA["ipv4"]: '{"VNI":1,"VtepMAC":"0e:3c:00:00:00:04"}',
        BACKEND_DATA["ipv6"]: '{"VNI":1,"VtepMAC":"0e:3c:00:00:00:06"}',
        PUBLIC_IP["ipv4"]: "192.0.2.9",
        PUBLIC_IP["ipv6"]: "2001:db8:1::9",
    }
    cidrs = changes.pop("cidrs", ["10.244.9.0/24", "fd00:10:244:9::/64"])
    notes.update({f"flannel.alpha.coreos.com/{key.replace('_', '-')}": value for key, value in changes.items()})
    annotations = {key: value for key, value in notes.items() if value is not None}
    return {"metadata": {"name": "n", "annotations": annotations}, "spec": {"podCIDRs": cidrs}}


def test_a_good_node_is_a_lease_of_both_families() -> None:
    """Subnet, public address and MAC of each family are read."""
    lease = read_node(node(), BOTH)  # type: ignore[arg-type]
    assert [(str(one.subnet), str(one.public), one.mac) for one in lease.remotes] == [
        ("10.244.9.0/24", "192.0.2.9", "0e:3c:00:00:00:04"),
        ("fd00:10:244:9::/64", "2001:db8:1::9", "0e:3c:00:00:00:06"),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kube_subnet_manager": None}, ""),
        ({"kube_subnet_manager": "True"}, ""),
        ({"public_ipv6": None}, "public-ipv6 is ''"),
        ({"public_ip": "gateway.example"}, "public-ip is 'gateway.example'"),
        ({"backend_type": "host-gw"}, "ignoring non-vxlan"),
        ({"backend_data": "{'VtepMAC':'0e:3c:00:00:00:04'}"}, "error decoding ipv4 subnet lease JSON"),
        ({"backend_data": None}, "error decoding ipv4 subnet lease JSON"),
        ({"backend_data": '{"VNI":70000,"VtepMAC":"0e:3c:00:00:00:04"}'}, "VNI 70000 is no uint16"),
        ({"backend_v6_data": '{"VtepMAC":"0e:3c"}'}, "VtepMAC '0e:3c'"),
        ({"cidrs": []}, "no ipv4 podCIDR"),
        ({"cidrs": ["10.244.9.0/24"]}, "no ipv6 podCIDR"),
        ({"cidrs": ["10.244.9.0/24", "10.245.9.0/24", "fd00::/64"]}, "IPv4/IPv6 only or dualstack"),
    ],
)
def test_a_bad_node_is_ignored_with_flannels_reason(changes: dict[str, Any], reason: str) -> None:
    """What the real one logs is the reason; what it skips in silence has none."""
    with pytest.raises(Ignored) as ignored:
        read_node(node(**changes), BOTH)  # type: ignore[arg-type]
    assert reason in str(ignored.value)
    assert bool(reason) == bool(str(ignored.value))


@pytest.mark.parametrize("mac", ["0E-3C-00-00-00-04", "0e3c.0000.0004", "0e:3c:00:00:00:04"])
def test_macs_are_read_as_go_reads_them(mac: str) -> None:
    """Dashes, dots and capitals are fine; keys match in any case; a missing VNI is fine."""
    lease = read_node(node(backend_data=f'{{"vtepmac":"{mac}"}}'), ("ipv4",))
    assert lease.remotes[0].mac == "0e:3c:00:00:00:04"


def test_an_update_counts_only_if_every_family_changed() -> None:
    """One family's new MAC is enough in a single-stack cluster and not in a dual-stack one."""
    four = node(backend_data='{"VNI":1,"VtepMAC":"0e:3c:00:00:00:0a"}')
    both = node(backend_data='{"VNI":1,"VtepMAC":"0e:3c:00:00:00:0a"}', public_ipv6="2001:db8:1::a")
    assert update_counts(node(), four, ("ipv4",))
    assert not update_counts(node(), four, BOTH)  # type: ignore[arg-type]
    assert update_counts(node(), both, BOTH)  # type: ignore[arg-type]


def test_a_pod_cidr_that_comes_later_is_not_noticed() -> None:
    """A Node annotated before it had its podCIDR stays unknown: assigning the CIDR changes no annotation."""
    assert not update_counts(node(cidrs=[]), node(), ("ipv4",))

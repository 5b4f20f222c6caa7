"""Strategies for the facts of a small cluster, so small that its objects meet: few names, few addresses, few ranges.

Everything comes in a good form most of the time and in a bad one now and then; the bad forms are those of
``tests/cases/plan``.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import strategies as st

from isthmus.model.facts import Endpoint, NodeFacts, ServiceFacts, ServicePort, SliceFacts

from .rig import NOW

NODES = ("n1", "n2", "n3", "n4")
SERVICES = ("shop/web", "shop/api", "bank/web")
VIPS = ("192.0.2.100", "192.0.2.101", "203.0.113.10", "2001:db8::100", "192.0.2.1")
OWN_NODE = "isthmus-lab-gw"
_CREATED = ("", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z")
_PODS = ("10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24", "fd00:1::/64", "fd00:2::/64", "192.0.0.0/16")
_ADDRESSES = ("192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8::11", "2001:db8::12", "198.51.100.7", "192.0.2.1")
_MACS = ("0a:58:00:00:00:01", "0a:58:00:00:00:02", "0a:58:00:00:00:03")


@st.composite
def _flannel(draw: st.DrawFn) -> dict[str, str]:
    if draw(st.integers(0, 9)) == 0:
        return {}
    prefix = "flannel.alpha.coreos.com/"
    mac = draw(st.sampled_from((*_MACS, *_MACS, "", "00:00:00:00:00:00")))
    data = f'{{"VNI":1,"VtepMAC":"{mac}"}}' if draw(st.integers(0, 9)) else "{"
    return {
        f"{prefix}backend-type": draw(st.sampled_from(("vxlan", "vxlan", "vxlan", "vxlan", "host-gw"))),
        f"{prefix}backend-data": data,
        f"{prefix}public-ip": draw(st.sampled_from(("192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8::11"))),
        f"{prefix}backend-v6-data": data,
        f"{prefix}public-ipv6": draw(st.sampled_from(("2001:db8::11", "2001:db8::12"))),
    }


@st.composite
def _attached(draw: st.DrawFn) -> dict[str, str]:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(({}, {"isthmus.dev/overlay.lab": "{"})))
    four = draw(
        st.sampled_from(("10.200.0.1/24", "10.200.0.2/24", "10.200.0.3/24", "10.200.0.254/24", "10.9.0.1/24"))
    )
    six = draw(st.sampled_from(("fd99::1/64", "fd99::2/64")))
    mac = draw(st.sampled_from(_MACS))
    text = f'{{"addresses":["{four}","{six}"],"mac":"{mac}","vni":7700,"port":7700,"mtu":1450}}'
    return {"isthmus.dev/overlay.lab": text}


def nodes(name: str) -> st.SearchStrategy[NodeFacts]:
    """Return Nodes of that name, with the annotations of every path."""
    return st.builds(
        NodeFacts,
        name=st.just(name),
        uid=st.just(f"uid-{name}"),
        created=st.sampled_from(_CREATED),
        addresses=st.lists(st.sampled_from(_ADDRESSES), max_size=2, unique=True).map(
            lambda texts: tuple(ip_address(text) for text in texts)
        ),
        pod_cidrs=st.lists(st.sampled_from(_PODS), max_size=2, unique=True).map(
            lambda texts: tuple(ip_network(text) for text in texts)
        ),
        labels=st.sampled_from(({}, {}, {"edge": "no"})),
        annotations=st.tuples(_flannel(), _attached()).map(lambda both: both[0] | both[1]),
        not_ready_since=st.sampled_from((None, None, None, NOW - 35, NOW - 100)),
        problems=st.sampled_from(((), (), ("spec.podCIDRs[1]: 'x' is no network",))),
    )


def own_node() -> st.SearchStrategy[NodeFacts]:
    """Return the Node by which flannel knows the device; now and then it is not labelled as ours."""
    pods = ((), ("10.244.9.0/24",), ("10.244.9.0/24", "fd00:9::/64"), ("fd00:9::/64",))
    return st.builds(
        NodeFacts,
        name=st.just(OWN_NODE),
        pod_cidrs=st.sampled_from(pods).map(lambda texts: tuple(ip_network(text) for text in texts)),
        labels=st.sampled_from(({"isthmus.dev/device": "gw"},) * 4 + ({},)),
    )


def services(key: str) -> st.SearchStrategy[ServiceFacts]:
    """Return Services ``namespace/name``, mostly ours."""
    namespace, _, name = key.partition("/")
    ports = (ServicePort("http", "tcp", 80), ServicePort("dns", "udp", 53))
    return st.builds(
        ServiceFacts,
        namespace=st.just(namespace),
        name=st.just(name),
        created=st.sampled_from(_CREATED),
        type=st.sampled_from(("LoadBalancer",) * 6 + ("ClusterIP",)),
        load_balancer_class=st.sampled_from(("isthmus.dev/load-balancer",) * 6 + ("example.org/other", None)),
        ports=st.sampled_from(((), ports[:1], ports[:1], ports)),
        session_affinity=st.booleans(),
        publish_not_ready=st.booleans(),
    )


def slices(service: str, name: str) -> st.SearchStrategy[SliceFacts]:
    """Return EndpointSlices of a Service ``namespace/name``."""
    namespace, _, of = service.partition("/")
    states: tuple[dict[str, Any], ...] = (
        {},
        {},
        {"ready": False, "serving": True, "terminating": True},
        {"ready": False, "serving": False, "terminating": True},
        {"ready": False, "serving": False},
    )

    def found(version: int) -> st.SearchStrategy[SliceFacts]:
        texts = ("10.244.1.5", "10.244.2.5", "10.244.3.5") if version == 4 else ("fd00:1::5", "fd00:2::5")
        endpoint = st.builds(
            lambda text, node, state: Endpoint(ip_address(text), node, **state),
            st.sampled_from(texts),
            st.sampled_from((*NODES, "unknown", None)),
            st.sampled_from(states),
        )
        return st.builds(
            SliceFacts,
            namespace=st.just(namespace),
            name=st.just(name),
            service=st.just(of),
            version=st.just(version),
            ports=st.sampled_from(((("http", "tcp", 8080),), (("http", "tcp", 8080), ("dns", "udp", 5353)))),
            endpoints=st.lists(endpoint, max_size=4).map(tuple),
        )

    return st.sampled_from((4, 4, 6)).flatmap(found)

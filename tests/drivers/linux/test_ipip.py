"""IP-in-IP tunnels on a Linux host: the messages as the kernel reads them, and the refusal where it has none.

The kernels that these tests run on may have no ipip; then what can be seen is that they say so. What the messages should hold
is told by iproute2's link_iptnl.c and the kernel's if_tunnel.h.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network

import pytest

from isthmus.drivers.linux import LinuxDriver, links
from isthmus.drivers.linux.kernel import Links
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.sentences import tunnel_of
from isthmus.drivers.linux.wire import attribute, attributes, nested, text
from isthmus.model.plan import Change
from isthmus.model.resources import IpTunnel, Route

from ..bench import by_identity, outcomes

LOCAL, REMOTE = ip_address("192.0.2.11"), ip_address("192.0.2.1")
TUNNEL = IpTunnel("isthic0000201", LOCAL, REMOTE)
NAME, INFO, ALIAS = 3, 18, 20


def test_the_messages_say_what_the_kernel_needs() -> None:
    """Made with both ends, a TTL of its own and path MTU discovery; marked as ours before it is brought up."""
    made, mark, *_, up = links.create_ip_tunnel(TUNNEL, 77, "isthmus main", reverse_path=0)
    found = attributes(made.payload, links.LINK.size)
    assert found[NAME].rstrip(b"\0") == b"isthic0000201"
    info = attributes(found[INFO])
    assert info[1].rstrip(b"\0") == b"ipip"
    assert attributes(info[2]) == {2: LOCAL.packed, 3: REMOTE.packed, 4: b"\x40", 10: b"\x01"}
    assert attributes(mark.payload, links.LINK.size)[ALIAS].rstrip(b"\0") == b"isthmus main"
    assert links.LINK.unpack_from(up.payload)[3] == links.UP
    assert {links.LINK.unpack_from(message.payload)[2] for message in (made, mark, up)} == {77}


@pytest.mark.parametrize(
    ("flags", "ends"), [(1, (LOCAL, REMOTE)), (0, (ip_address("0.0.0.0"), ip_address("0.0.0.0")))]
)
def test_a_tunnel_reads_back(flags: int, ends: tuple[object, object]) -> None:
    """A tunnel of ours is what it was made as; one that is down is like nothing that is wanted, so it is made anew."""
    data = nested(2, attribute(2, LOCAL.packed), attribute(3, REMOTE.packed))
    raw = (
        links.LINK.pack(0, 768, 77, flags, 0)
        + text(NAME, TUNNEL.name)
        + struct.pack("=HHI", 8, 4, 1480)
        + nested(INFO, text(1, "ipip"), data)
        + text(ALIAS, "isthmus main")
    )
    row = links.link_row(raw, 0, len(raw))
    found = tunnel_of(row, Links([row], Owner("main", 200)))
    assert isinstance(found, IpTunnel)
    assert (found.name, found.local, found.remote) == (TUNNEL.name, *ends)


@pytest.fixture
async def gateway() -> AsyncIterator[LinuxDriver]:
    driver = LinuxDriver()
    await driver.open()
    await driver.prepare()
    yield driver
    await driver.close()


@pytest.mark.packets
async def test_a_kernel_without_them_says_so_and_one_with_them_has_them(gateway: LinuxDriver) -> None:
    """Where the kernel has no ipip the tunnel is refused with the kernel's reason; else it stands, and the way back on it."""
    route = Route(ip_network("198.18.0.254/32"), ip_address("198.18.0.254"), TUNNEL.name, onlink=True)
    wanted = by_identity(TUNNEL, route)
    changes = [Change("create", one.identity, None, one) for one in gateway.adapt(wanted).resources.values()]
    first, second = await outcomes(gateway, changes)
    if first.result == "refused":
        assert "no IP-in-IP tunnels" in first.reason
        assert second.result == "refused"
        assert dict((await gateway.observe()).resources) == {}
    else:
        assert dict((await gateway.observe()).resources) == wanted

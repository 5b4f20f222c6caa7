"""Hearing of changes by somebody else: rtnetlink's multicast groups and nftables' notifications.

It turns notifications into *suspects*, identities at which something may have moved, and decides nothing: the driver
looks at the suspects and compares. Our own writes are dropped in the kernel by a filter on the sender's port (a big load
would flood us with news of ourselves), others are sifted on raw bytes. The one confusing thing: for FDB entries and IPv6
addresses the kernel does not say who wrote, so our own writes of these become suspects too, and are found to be as
expected.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
import threading
from collections.abc import Callable

from isthmus.drivers.linux import links, rtnetlink
from isthmus.drivers.linux.expected import Expected
from isthmus.drivers.linux.kernel import Links
from isthmus.drivers.linux.netlink import HEADER, enlarge
from isthmus.drivers.linux.nfnetlink import NETLINK_NETFILTER, NFTABLES
from isthmus.drivers.linux.owner import Owner
from isthmus.drivers.linux.rtnetlink import AF_BRIDGE, PERMANENT, mac_text
from isthmus.drivers.linux.sentences import prefix_of
from isthmus.drivers.linux.tables import neighbor_row, route_row
from isthmus.model.resources import ZERO_MAC, VirtualAddress

__all__ = ["Monitor"]

_ROUTE_GROUPS = (1, 3, 5, 7, 9, 11)  # link, neighbor, IPv4 address and route, IPv6 address and route
_NFT_GROUPS = (7,)
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 33, 26
_BUFFER = 32 << 20
_MOST_SUSPECTS = 20_000
_AT_ONCE = 256


class Monitor:
    """Listen until closed; ``moved`` is set whenever there is something to look at."""

    def __init__(self, owner: Owner, expected: Expected, *, route_port: int, table_port: int) -> None:
        self.owner = owner
        self.expected = expected
        self.moved = asyncio.Event()
        self.overrun = False
        self.facts_moved = False
        self._suspects: set[str] = set()
        self._links: dict[int, str] = {}
        self._our_links: set[int] = set()
        self._table_written = False  # for whoever waits for drift
        self._asked_written = False  # for whoever remembers the table
        self._table_lock = threading.Lock()
        self._table_name = owner.table.encode() + b"\0"
        self._route = _listen(socket.NETLINK_ROUTE, _ROUTE_GROUPS, route_port)
        self._table = _listen(NETLINK_NETFILTER, _NFT_GROUPS, table_port)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._route, self._hear_routes)
        self._loop.add_reader(self._table, self._hear_table)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._route)
        self._loop.remove_reader(self._table)
        self._route.close()
        with self._table_lock:
            self._table.close()

    def know(self, standing: Links) -> None:
        """Take over the links as they stand, so that events can be named."""
        self._links = dict(standing.names)
        self._our_links = {standing.index(name) for name in standing.ours}

    def take(self) -> tuple[set[str], bool, bool, bool]:
        """Return and forget: suspects, whether interfaces moved, whether our table was written, whether news got lost."""
        taken = (self._suspects, self.facts_moved, self._table_written, self.overrun)
        self._suspects, self.facts_moved, self.overrun = set(), False, False
        with self._table_lock:
            self._table_written = False
        self.moved.clear()
        return taken

    def table_untouched(self) -> bool:
        """Say whether nobody else wrote to our table since this was last asked; any thread may ask.

        Notifications are queued before a commit is over, so what is not queued now has not happened yet.
        """
        with self._table_lock:
            while self._read_table():
                pass
            written, self._asked_written = self._asked_written, False
            return not written

    def _hear_table(self) -> None:
        with self._table_lock:
            for _ in range(_AT_ONCE):
                if not self._read_table():
                    break
        if self._table_written:
            self.moved.set()

    def _read_table(self) -> bool:
        """Read one datagram of nftables' news; say whether there was one."""
        try:
            buffer = self._table.recv(1 << 16)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return False
            self._table_written = self._asked_written = True
            return True
        offset, end = 0, len(buffer)
        while offset + 20 <= end:
            length, kind, _flags, _sequence, _port = HEADER.unpack_from(buffer, offset)
            if length < 16:
                break
            # The first attribute of every nftables message but the generation's is the table's name.
            if kind >> 8 == NFTABLES and kind & 0xFF != 15 and buffer.startswith(self._table_name, offset + 24):
                self._table_written = self._asked_written = True
            offset += (length + 3) & ~3
        return True

    def _hear_routes(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                buffer = self._route.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self.overrun = True
                break
            offset, end = 0, len(buffer)
            while offset + 16 <= end:
                length, kind, _flags, _sequence, _port = HEADER.unpack_from(buffer, offset)
                if length < 16:
                    break
                hear = _HEARERS.get(kind)
                if hear is not None:
                    hear(self, buffer, offset + 16, offset + length, kind)
                offset += (length + 3) & ~3
        if len(self._suspects) > _MOST_SUSPECTS:
            self._suspects.clear()
            self.overrun = True
        if self._suspects or self.overrun or self.facts_moved:
            self.moved.set()

    def _suspect(self, identity: str) -> None:
        self._suspects.add(identity)

    def _hear_route(self, buffer: bytes, start: int, end: int, _kind: int) -> None:
        ours = buffer[start + 5] == self.owner.protocol
        if not ours and buffer[start + 4] not in (rtnetlink.MAIN_TABLE, 252):
            return
        row = route_row(buffer, start, end)
        if row is None or row.table != rtnetlink.MAIN_TABLE:
            return
        if ours or self.expected.concerns_route(row.key):
            self._suspect(f"route {prefix_of(row)}")
        elif self.expected.contests_routes and self.expected.concerns(identity := f"route {prefix_of(row)}"):
            self._suspect(identity)

    def _hear_neighbor(self, buffer: bytes, start: int, end: int, kind: int) -> None:
        row = neighbor_row(buffer, start, end)
        if row.family == AF_BRIDGE:
            if row.link in self._our_links and row.mac:
                mac = mac_text(row.mac)
                suffix = f" {_ip(row.destination)}" if mac == ZERO_MAC and row.destination else ""
                self._suspect(f"fdb {self._links[row.link]} {mac}{suffix}")
            return
        if not row.destination:
            return
        permanent = bool(row.state & PERMANENT) and kind == rtnetlink.NEW_NEIGHBOR
        name = self._links.get(row.link)
        if name is None or not (permanent or row.link in self._our_links or row.protocol == self.owner.protocol):
            return
        identity = f"neighbor {name} {_ip(row.destination)}"
        if self.expected.concerns(identity) or (permanent and row.link in self._our_links):
            self._suspect(identity)

    def _hear_address(self, buffer: bytes, start: int, end: int, kind: int) -> None:
        row = links.address_row(buffer, start, end)
        if row is None:
            return
        if row.lapses and kind == links.NEW_ADDRESS and row.protocol == self.owner.protocol:
            vip = self.expected.resources.get(f"vip {row.address}")
            if isinstance(vip, VirtualAddress) and vip.lapses and vip.link == self._links.get(row.link):
                return  # refreshed, each second
        identities = (f"vip {row.address}", f"source {row.address}")
        if row.protocol == self.owner.protocol or any(self.expected.concerns(identity) for identity in identities):
            self._suspects.update(identities)
        else:
            self.facts_moved = True

    def _hear_link(self, buffer: bytes, start: int, end: int, kind: int) -> None:
        if buffer[start] == AF_BRIDGE:
            return
        row = links.link_row(buffer, start, end)
        gone = kind == links.DEL_LINK
        if (
            row.alias == self.owner.alias
            or row.ifindex in self._our_links
            or f"tunnel {row.name}" in (self.expected.resources)
        ):
            self._suspect(f"tunnel {row.name}")
            (self._our_links.discard if gone else self._our_links.add)(row.ifindex)
        else:
            self.facts_moved = True
        if gone:
            self._links.pop(row.ifindex, None)
        else:
            self._links[row.ifindex] = row.name


_Hearer = Callable[[Monitor, bytes, int, int, int], None]
_HEARERS: dict[int, _Hearer] = {
    links.NEW_LINK: Monitor._hear_link,
    links.DEL_LINK: Monitor._hear_link,
    links.NEW_ADDRESS: Monitor._hear_address,
    links.DEL_ADDRESS: Monitor._hear_address,
    rtnetlink.NEW_ROUTE: Monitor._hear_route,
    rtnetlink.DEL_ROUTE: Monitor._hear_route,
    rtnetlink.NEW_NEIGHBOR: Monitor._hear_neighbor,
    rtnetlink.DEL_NEIGHBOR: Monitor._hear_neighbor,
}


def _ip(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _listen(protocol: int, groups: tuple[int, ...], own_port: int) -> socket.socket:
    """Return a socket that hears ``groups``, less what the netlink port ``own_port`` sends."""
    listener = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol
    )
    listener.bind((0, 0))
    enlarge(listener, _SO_RCVBUFFORCE, socket.SO_RCVBUF, _BUFFER)
    _drop_from(listener, own_port)
    for group in groups:
        listener.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return listener


def _drop_from(listener: socket.socket, port: int) -> None:
    """Let the kernel drop what the netlink port ``port`` causes: a classic BPF program on nlmsg_pid (offset 12)."""
    # BPF loads words in network order, nlmsg_pid stands in host order.
    wanted = socket.htonl(port)
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in ((0x20, 0, 0, 12), (0x15, 0, 1, wanted), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
    )
    held = ctypes.create_string_buffer(program)
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 4, ctypes.addressof(held)))

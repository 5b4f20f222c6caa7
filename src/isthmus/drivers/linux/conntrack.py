"""Forgetting connections whose pod serves them no longer.

A translated flow stays with its pod for as long as packets come, whatever the maps say; for UDP that is for ever. So
when a member is gone (drained ones are not), its entries are deleted and the next packet finds another pod. The same for
flows to a service from before it existed: the kernel remembers them as not translated. The one confusing thing: an entry
names the client's view (original) and the pod's (reply); the pod is the reply's sender.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Mapping

from isthmus.drivers.linux.netlink import Message, Netlink, split
from isthmus.drivers.linux.nfnetlink import NETLINK_NETFILTER, payload
from isthmus.drivers.linux.services import PROTOCOLS, member_key, service_key
from isthmus.drivers.linux.wire import attribute, attributes, be16, nested, u8, u32
from isthmus.errors import DeviceUnreachable
from isthmus.model.resources import VirtualServer
from isthmus.telemetry import get_logger

__all__ = ["Conntrack"]

_log = get_logger("linux")
_NEW, _GET, _DELETE = 1 << 8, 1 << 8 | 1, 1 << 8 | 2
_ORIGINAL, _REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_IP, _PROTO = 1, 2
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_BY_DESTINATION, _BY_PROTOCOL, _BY_PORT = 1 << 1, 1 << 3, 1 << 5
_FEW = 8
_SOURCE = {4: 1, 6: 3}
_DESTINATION = {4: 2, 6: 4}
_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}


class Conntrack:
    """The kernel's connection table."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETLINK_NETFILTER)

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    async def forget(self, servers: Iterable[VirtualServer]) -> int:
        """Delete entries to ``servers`` whose pod is not among the members (draining ones are); return how many."""
        keep = {
            service_key(server.address, server.protocol, server.port): (
                server,
                {member_key(member) for member in server.members},
            )
            for server in servers
        }
        if not keep:
            return 0
        return await asyncio.to_thread(self._forget, keep)

    def _forget(self, keep: Mapping[bytes, tuple[VirtualServer, set[bytes]]]) -> int:
        requests = [_filtered(server) for server, _ in keep.values()]
        if len(requests) > _FEW:
            versions = {server.address.version for server, _ in keep.values()}
            requests = [Message(_GET, 0, payload(family=_FAMILY[version])) for version in sorted(versions)]
        deletes: list[Message] = []
        try:
            for request in requests:
                for buffer, start, end in split(self._netlink.collect(request), _NEW):
                    message = _stale(buffer, start, end, keep)
                    if message is not None:
                        deletes.append(message)
        except DeviceUnreachable as error:
            # A kernel without ctnetlink still serves; flows to a pod that is gone then end by their own time-outs.
            _log.warning("cannot read the connection table", reason=str(error))
            return 0
        replies = self._netlink.exchange(deletes)
        return sum(1 for reply in replies if reply.errno in (0, errno.ENOENT))


def _filtered(server: VirtualServer) -> Message:
    """Return the request for the entries to one service; an older kernel ignores the filter and we sift anyway."""
    version = server.address.version
    tuple_ = nested(
        _ORIGINAL,
        nested(_IP, attribute(_DESTINATION[version], server.address.packed)),
        nested(_PROTO, u8(_PROTO_NUM, PROTOCOLS[server.protocol]), be16(_DST_PORT, server.port)),
    )
    flags = nested(_FILTER, u32(1, _BY_DESTINATION | _BY_PROTOCOL | _BY_PORT), u32(2, 0))
    return Message(_GET, 0, payload(tuple_, flags, family=_FAMILY[version]))


def _stale(
    buffer: bytes, start: int, end: int, keep: Mapping[bytes, tuple[VirtualServer, set[bytes]]]
) -> Message | None:
    """Return what deletes the entry in ``buffer[start:end]`` if its pod serves no longer."""
    family = buffer[start]
    version = 4 if family == socket.AF_INET else 6
    seen = attributes(buffer, start + 4, end)
    if _ORIGINAL not in seen or _REPLY not in seen:
        return None
    original, reply = attributes(seen[_ORIGINAL]), attributes(seen[_REPLY])
    wanted, proto = attributes(original.get(_IP, b"")), attributes(original.get(_PROTO, b""))
    number, port = proto.get(_PROTO_NUM, b"\0"), proto.get(_DST_PORT, b"\0\0")
    key = wanted.get(_DESTINATION[version], b"") + number + b"\0\0\0" + port + b"\0\0"
    if key not in keep:
        return None
    answering = attributes(reply.get(_IP, b"")).get(_SOURCE[version], b"")
    pod_port = attributes(reply.get(_PROTO, b"")).get(_SRC_PORT, b"\0\0")
    if answering + pod_port + b"\0\0" in keep[key][1]:
        return None
    parts = [attribute(_ORIGINAL | 0x8000, seen[_ORIGINAL])]
    parts += [attribute(kind, seen[kind]) for kind in (_ID, _ZONE) if kind in seen]
    return Message(_DELETE, 0, payload(*parts, family=family))

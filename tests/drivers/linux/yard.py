"""A small yard around the gateway under test: a client and pods in namespaces of their own, and sockets that live there.

The gateway is the test's own namespace. A socket belongs to the namespace in which it was made, for ever, so a thread
that visits the namespace for a moment is enough, and the test talks to all of them from one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar, cast

from .conftest import run

_T = TypeVar("_T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NET = 0x40000000

CLIENT4, CLIENT6 = "192.0.2.100", "2001:db8::100"
POD_PORT = 8080


def inside(name: str, do: Callable[[], _T]) -> _T:
    """Return what ``do`` returns inside the namespace ``name``."""
    results: list[_T] = []
    failures: list[BaseException] = []

    def visit() -> None:
        try:
            handle = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _LIBC.setns(handle, _NEW_NET):
                    raise OSError(ctypes.get_errno(), f"setns {name}")
                results.append(do())
            finally:
                os.close(handle)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def build(names: list[str]) -> None:
    """Add three pods (10.244.N.2, 2001:db8:f:N::2) behind the gateway, and the client's addresses on the segment."""
    run("ip", "-n", "seg", "address", "add", f"{CLIENT4}/24", "dev", "seg0")
    run("ip", "-n", "seg", "address", "add", f"{CLIENT6}/64", "dev", "seg0", "nodad")
    for n in (1, 2, 3):
        pod = f"pod{n}"
        run("ip", "netns", "add", pod)
        names.append(pod)
        run("ip", "link", "add", f"p{n}", "type", "veth", "peer", "name", "eth0", "netns", pod)
        run("ip", "link", "set", f"p{n}", "up")
        run("ip", "address", "add", f"10.244.{n}.1/24", "dev", f"p{n}")
        run("ip", "address", "add", f"2001:db8:f:{n}::1/64", "dev", f"p{n}", "nodad")
        run("ip", "-n", pod, "link", "set", "lo", "up")
        run("ip", "-n", pod, "link", "set", "eth0", "up")
        run("ip", "-n", pod, "address", "add", f"10.244.{n}.2/24", "dev", "eth0")
        run("ip", "-n", pod, "address", "add", f"2001:db8:f:{n}::2/64", "dev", "eth0", "nodad")
        run("ip", "-n", pod, "route", "add", "default", "via", f"10.244.{n}.1")
        run("ip", "-n", pod, "-6", "route", "add", "default", "via", f"2001:db8:f:{n}::1")
    run("ip", "-n", "seg", "route", "add", "203.0.113.0/24", "via", "192.0.2.1")
    run("ip", "-n", "seg", "-6", "route", "add", "2001:db8:cafe::/64", "via", "2001:db8::1")


def pod_address(n: int, version: int) -> IPv4Address | IPv6Address:
    """Return the address of pod ``n``."""
    return ip_address(f"10.244.{n}.2" if version == 4 else f"2001:db8:f:{n}::2")


def socket_in(name: str, version: int, kind: int, protocol: int = 0) -> socket.socket:
    """Return a non-blocking socket that lives in the namespace ``name``."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return inside(name, lambda: socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol))


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self.name = name
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        assert self.transport is not None
        self.transport.sendto(f"{self.name} {address[0]}".encode(), address)


async def serve_pods(stack: contextlib.AsyncExitStack) -> None:
    """Let every pod answer on TCP and UDP, both IP versions, with its name and the sender it sees; a line each time."""
    loop = asyncio.get_running_loop()
    for n in (1, 2, 3):
        for version in (4, 6):
            name = f"pod{n}"

            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
                peer = writer.get_extra_info("peername")[0]
                with contextlib.suppress(OSError):
                    while await reader.readline():
                        writer.write(f"{name} {peer}\n".encode())
                        await writer.drain()
                writer.close()

            listener = socket_in(name, version, socket.SOCK_STREAM)
            listener.bind((str(pod_address(n, version)), POD_PORT))
            server = await asyncio.start_server(talk, sock=listener)
            stack.callback(server.close)
            datagrams = socket_in(name, version, socket.SOCK_DGRAM)
            datagrams.bind((str(pod_address(n, version)), POD_PORT))
            transport, _ = await loop.create_datagram_endpoint(lambda name=name: _Echo(name), sock=datagrams)  # type: ignore[misc]
            stack.callback(transport.close)


class Connection:
    """A client's TCP connection, kept open."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def open(cls, address: str, port: int, where: str = "seg") -> Connection:
        """Connect from the namespace ``where``; raises what the network answers."""
        sock = socket_in(where, ip_address(address).version, socket.SOCK_STREAM)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (address, port)), 3)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def ask(self) -> list[str]:
        """Return the pod that answers, and the sender it sees."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.sock, b"who\n")
        return (await asyncio.wait_for(loop.sock_recv(self.sock, 200), 3)).decode().split()

    def close(self) -> None:
        self.sock.close()


async def ask_tcp(address: str, port: int) -> list[str]:
    """Return who answers one TCP connection, and the sender it sees."""
    connection = await Connection.open(address, port)
    try:
        return await connection.ask()
    finally:
        connection.close()


async def ask_udp(sock: socket.socket, address: str, port: int) -> list[str]:
    """Return who answers a datagram from ``sock``; raises ``TimeoutError`` or what ICMP said."""
    loop = asyncio.get_running_loop()
    if sock.getsockname()[1] == 0:
        await loop.sock_connect(sock, (address, port))
    await loop.sock_sendall(sock, b"who")
    return (await asyncio.wait_for(loop.sock_recv(sock, 200), 3)).decode().split()


async def ping(address: str, where: str = "seg") -> None:
    """Send an echo request from the namespace ``where`` and wait for its reply; raises ``TimeoutError``."""
    version = ip_address(address).version
    kind, reply, protocol = (8, 0, socket.IPPROTO_ICMP) if version == 4 else (128, 129, socket.IPPROTO_ICMPV6)
    loop = asyncio.get_running_loop()
    with socket_in(where, version, socket.SOCK_RAW, protocol) as sock:
        # Type, code, checksum, identifier, number: 16-bit words that add up to 0xFFFF (IPv6: the kernel sums).
        sock.sendto(struct.pack("!BBHHH", kind, 0, ~((kind << 8) + 0x1234 + 1) & 0xFFFF, 0x1234, 1), (address, 0))
        async with asyncio.timeout(3):
            while True:
                packet = await loop.sock_recv(sock, 2000)
                icmp = packet[(packet[0] & 15) * 4 :] if version == 4 else packet
                if icmp[0] == reply and icmp[4:6] == b"\x12\x34":
                    return


def sctp_init(source_port: int, port: int) -> bytes:
    """Return an SCTP packet with one INIT chunk (RFC 9260 §3.3.2), its CRC32c right."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x11223344, 65536, 1, 1, 1)
    head = struct.pack("!HHI", source_port, port, 0)
    return head + struct.pack("<I", _crc32c(head + bytes(4) + chunk)) + chunk


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF

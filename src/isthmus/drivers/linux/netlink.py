"""A netlink socket: batches with an answer for each message, and dumps.

It knows headers, acknowledgements and errors, nothing of routes or rules. Many messages go out in one send (the kernel
works through them in order) and each gets an ACK with an errno and, where the kernel offers one, a sentence
(NETLINK_EXT_ACK). The one confusing thing: sends and reads block for microseconds, so they run in a thread
(:meth:`Netlink.batch`, :meth:`Netlink.dump`), one at a time per socket; the event loop never waits.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.drivers.linux.wire import attributes
from isthmus.errors import DeviceUnreachable, DeviceUnsupported

__all__ = ["DONE", "ERROR", "HEADER", "SILENCE", "Message", "Netlink", "Reply", "split"]

HEADER = struct.Struct("=IHHII")
ERROR, DONE = 2, 3
REQUEST, ACK, ECHO, DUMP = 0x1, 0x4, 0x8, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

_DUMP_INTERRUPTED = 0x10
_ACK_TLVS = 0x200
_SOL_NETLINK = 270
_OPTIONS = ((10, "NETLINK_CAP_ACK"), (11, "NETLINK_EXT_ACK"))
_STRICT_CHECK = 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BATCH = 256
_BUFFER = 8 << 20


SILENCE = "no answer from the kernel"


class Message(NamedTuple):
    """What to send: message type, flags beyond REQUEST, the payload behind the header."""

    kind: int
    flags: int
    payload: bytes


class Reply(NamedTuple):
    """How the kernel answered one message: errno (0 is yes, none is no answer) and its sentence if it had one."""

    errno: int | None
    message: str = ""

    def sentence(self) -> str:
        """Return the reason for people: the kernel's own words, or the errno's."""
        if self.errno is None:
            return SILENCE
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.message or os.strerror(self.errno)} ({name})"


NO_ANSWER = Reply(None)


class Netlink:
    """One netlink socket; ``timeout`` seconds bound every wait."""

    def __init__(self, protocol: int, *, timeout: float = 5.0, strict: bool = False) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise DeviceUnsupported(f"this kernel has no netlink family {protocol}: {error}") from error
        self._socket.bind((0, 0))
        for option, _name in _OPTIONS:
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        if strict:
            self._socket.setsockopt(_SOL_NETLINK, _STRICT_CHECK, 1)
        enlarge(self._socket, _SO_RCVBUFFORCE, socket.SO_RCVBUF, _BUFFER)
        self.send_limit = enlarge(self._socket, _SO_SNDBUFFORCE, socket.SO_SNDBUF, _BUFFER)
        self._socket.settimeout(timeout)
        self._lock = threading.Lock()
        self._sequence = 0
        self.portid: int = self._socket.getsockname()[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def batch(self, messages: Sequence[Message]) -> list[Reply]:
        """Send ``messages`` in order, 256 at a time, and return an answer for each; a lost one has no errno."""
        return await asyncio.to_thread(self.exchange, messages)

    async def dump(self, request: Message) -> list[bytes]:
        """Return the buffers of a dump; raise ``DeviceUnreachable`` when the kernel refuses or does not answer."""
        return await asyncio.to_thread(self.collect, request)

    def exchange(self, messages: Sequence[Message]) -> list[Reply]:
        """Do what :meth:`batch` does, in this thread."""
        replies: list[Reply] = []
        with self._lock:
            for start in range(0, len(messages), _BATCH):
                part = messages[start : start + _BATCH]
                answers = self._exchange(part)
                replies += answers
                if any(answer.errno is None for answer in answers):
                    break
        replies += [NO_ANSWER] * (len(messages) - len(replies))
        return replies

    def _exchange(self, messages: Sequence[Message]) -> list[Reply]:
        first = self._sequence + 1
        self._sequence += len(messages)
        data = b"".join(
            HEADER.pack(16 + len(payload), kind, flags | REQUEST | ACK, first + offset, 0)
            + payload
            + bytes(-len(payload) & 3)
            for offset, (kind, flags, payload) in enumerate(messages)
        )
        answers: dict[int, Reply] = {}
        try:
            self._socket.send(data)
            while len(answers) < len(messages):
                answers.update(
                    (sequence, reply)
                    for sequence, reply in read_acks(self._socket.recv(1 << 16))
                    if first <= sequence < first + len(messages)
                )
        except OSError as error:
            if error.errno == errno.EMSGSIZE and len(messages) > 1:
                half = len(messages) // 2
                return self._exchange(messages[:half]) + self._exchange(messages[half:])
        return [answers.get(first + offset, NO_ANSWER) for offset in range(len(messages))]

    def transaction(self, data: bytes, begin: int, last: int) -> Reply:
        """Send ``data``, an nfnetlink batch whose frame begins with sequence ``begin``, and return how it ended.

        ``last`` is the one message that asks for an acknowledgement. Errors come in order and before it; one that names
        the frame itself (no memory, commit failed) ends it at once. Raises ``OSError``: EMSGSIZE when too long.
        """
        first_error: Reply | None = None
        with self._lock:
            self._socket.send(data)
            while True:
                for sequence, reply in read_acks(self._socket.recv(1 << 16)):
                    if not begin <= sequence <= last:
                        continue
                    if reply.errno and first_error is None:
                        first_error = reply
                    if sequence in (begin, last):
                        return first_error or reply

    def ask(self, request: Message) -> bytes:
        """Return the one message that answers ``request``; raise ``DeviceUnreachable`` when there is none."""
        with self._lock:
            self._sequence += 1
            sequence, payload = self._sequence, request.payload
            header = HEADER.pack(16 + len(payload), request.kind, request.flags | REQUEST, sequence, 0)
            try:
                self._socket.send(header + payload)
                while True:
                    buffer = self._socket.recv(1 << 16)
                    length, kind, _flags, seen, _pid = HEADER.unpack_from(buffer)
                    if seen == sequence:
                        if kind == ERROR:
                            raise _error_of(buffer, length)
                        return buffer
            except OSError as error:
                raise DeviceUnreachable(f"netlink request failed: {error.strerror or error}") from error

    def sequence(self, count: int) -> int:
        """Reserve ``count`` sequence numbers and return the first."""
        with self._lock:
            first = self._sequence + 1
            self._sequence += count
            return first

    def collect(self, request: Message) -> list[bytes]:
        """Do what :meth:`dump` does, in this thread.

        A dump that changed under our reading is taken again, five times at most: then the last one stands, in which
        something may be missing that was added meanwhile, and its own notification tells.
        """
        with self._lock:
            for _ in range(5):
                buffers, consistent = self._collect(request)
                if consistent:
                    break
            return buffers

    def _collect(self, request: Message) -> tuple[list[bytes], bool]:
        self._sequence += 1
        sequence, payload = self._sequence, request.payload
        header = HEADER.pack(16 + len(payload), request.kind, request.flags | REQUEST | DUMP, sequence, 0)
        buffers: list[bytes] = []
        consistent = True
        try:
            self._socket.send(header + payload)
            while True:
                buffer = self._socket.recv(1 << 18)
                length, kind, flags, seen, _pid = HEADER.unpack_from(buffer)
                if seen != sequence:
                    continue
                if flags & _DUMP_INTERRUPTED:
                    consistent = False
                if kind == ERROR:
                    raise _error_of(buffer, length)
                last = _last_kind(buffer)
                if kind != DONE:
                    buffers.append(buffer)
                if last == DONE:
                    return buffers, consistent
        except TimeoutError as error:
            raise DeviceUnreachable("the kernel did not answer a netlink dump in time") from error
        except OSError as error:
            raise DeviceUnreachable(f"netlink dump failed: {error.strerror or error}") from error


def read_acks(buffer: bytes) -> list[tuple[int, Reply]]:
    """Return the acknowledgements in ``buffer`` as (sequence, reply)."""
    replies: list[tuple[int, Reply]] = []
    offset, end = 0, len(buffer)
    while offset + 20 <= end:
        length, kind, flags, sequence, _pid = HEADER.unpack_from(buffer, offset)
        if length < 16:
            break
        if kind == ERROR:
            (code,) = struct.unpack_from("=i", buffer, offset + 16)
            sentence = ""
            if code and flags & _ACK_TLVS:
                # With NETLINK_CAP_ACK only the header of the request is echoed, and the attributes follow it.
                told = attributes(buffer, offset + 36, offset + length).get(1)
                sentence = told.rstrip(b"\0").decode(errors="replace") if told else ""
            replies.append((sequence, Reply(-code, sentence)))
        offset += (length + 3) & ~3
    return replies


def _error_of(buffer: bytes, length: int) -> OSError:
    (code,) = struct.unpack_from("=i", buffer, 16)
    told = attributes(buffer, 36, length).get(1)
    sentence = told.rstrip(b"\0").decode(errors="replace") if told else os.strerror(-code)
    return OSError(-code, sentence)


def _last_kind(buffer: bytes) -> int:
    offset, kind, end = 0, 0, len(buffer)
    while offset + 16 <= end:
        length, kind = struct.unpack_from("=IH", buffer, offset)
        if length < 16:
            break
        offset += (length + 3) & ~3
    return int(kind)


def split(buffers: Sequence[bytes], wanted: int) -> list[tuple[bytes, int, int]]:
    """Return (buffer, start, end) of the payload of each message of type ``wanted``."""
    found: list[tuple[bytes, int, int]] = []
    unpack = struct.Struct("=IH").unpack_from
    for buffer in buffers:
        offset, end = 0, len(buffer)
        while offset + 16 <= end:
            length, kind = unpack(buffer, offset)
            if length < 16:
                break
            if kind == wanted:
                found.append((buffer, offset + 16, offset + length))
            offset += (length + 3) & ~3
    return found


def enlarge(sock: socket.socket, force: int, polite: int, size: int) -> int:
    """Give ``sock`` a buffer of ``size`` bytes, or what an unprivileged user may have; return what it got."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, polite, size)
    return sock.getsockopt(socket.SOL_SOCKET, polite)

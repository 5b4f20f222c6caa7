"""Where to listen, as people write it: ``127.0.0.1:9441``, ``[::1]:9441``."""

from __future__ import annotations

from typing import NamedTuple

from isthmus.errors import InputError

__all__ = ["Address"]


class Address(NamedTuple):
    """Where to listen; port 0 takes any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, option: str = "--listen") -> Address:
        """Read the ``ADDR:PORT`` of ``option``; an IPv6 address may stand in brackets. Raises InputError."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
            raise InputError(
                f"{option} {text!r}", "is no address with a port", "write for example 127.0.0.1:9441 or [::1]:9441"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

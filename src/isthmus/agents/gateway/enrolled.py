"""Who may ask: the clients that were enrolled, by certificate, and the tokens by which new ones become so.

The one confusing thing: a certificate that our CA has signed is not enough. Its serial number must also be on the list, so
that taking a name off the list ends that client at once, with no revocation list to distribute.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography import x509

from isthmus.agents.gateway.shared_file import SharedFile
from isthmus.drivers.linux.remote.tokens import Token, digest

__all__ = ["Clients", "Issued", "NameTaken", "Tokens"]

_MOST_PER_NAME = 8
_MOST_TOKENS = 100


class NameTaken(Exception):
    """A client of that name has a certificate that still holds."""


class Issued(msgspec.Struct, frozen=True):
    """A certificate that a client got: ``serial`` in hexadecimal."""

    serial: str
    since: datetime
    until: datetime

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Issued:
        """Return what is kept of ``certificate``."""
        return cls(serial_text(certificate), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


_Clients = Mapping[str, tuple[Issued, ...]]


class Clients:
    """The list of clients, by name, each with the certificates it may come with."""

    def __init__(self, path: Path) -> None:
        self._file: SharedFile[_Clients] = SharedFile(path, dict[str, tuple[Issued, ...]], dict)

    def all(self) -> _Clients:
        """Return the clients by name."""
        return dict(sorted(self._file.read().items()))

    def name_of(self, serial: str, now: datetime) -> str | None:
        """Return whose certificate that is; none if it is not on the list, or over."""
        for name, issued in self._file.read().items():
            if any(one.serial == serial and one.until > now for one in issued):
                return name
        return None

    def is_taken(self, name: str, now: datetime) -> bool:
        """Say whether a client of that name has a certificate that holds."""
        return any(one.until > now for one in self._file.read().get(name, ()))

    def add(self, name: str, certificate: x509.Certificate, *, renews: str | None = None) -> None:
        """Put a certificate on the list; raise ``NameTaken`` for a new client with another's name. Blocks.

        ``renews`` is the serial number of the one that the client came with. It stays on the list whatever else goes: a
        client that could not keep its new certificate still has the old one.
        """
        now = datetime.now(UTC)

        def work(clients: _Clients) -> tuple[_Clients, None]:
            standing = tuple(one for one in clients.get(name, ()) if one.until > now)
            if renews is None and standing:
                raise NameTaken(name)
            if renews is not None and all(one.serial != renews for one in standing):
                raise NameTaken(name)  # taken off the list meanwhile, even if another has the name by now
            held = [one for one in standing if one.serial == renews]
            others = [one for one in standing if one.serial != renews][-(_MOST_PER_NAME - 2) :]
            return {**clients, name: (*held, *others, Issued.of(certificate))}, None

        self._file.change(work)

    def revoke(self, name: str) -> bool:
        """Take a client off the list; say whether it was there. Blocks."""

        def work(clients: _Clients) -> tuple[_Clients, bool]:
            return {key: value for key, value in clients.items() if key != name}, name in clients

        return self._file.change(work)


class _Kept(msgspec.Struct, frozen=True):
    digest: str
    until: datetime


_Tokens = Mapping[str, _Kept]


class Tokens:
    """Tokens that were not used yet; of their secrets only a hash is kept."""

    def __init__(self, path: Path) -> None:
        self._file: SharedFile[_Tokens] = SharedFile(path, dict[str, _Kept], dict)

    def create(self, ca_fingerprint: str, lifetime: timedelta) -> Token:
        """Return a new token that holds for ``lifetime``. Blocks."""
        now = datetime.now(UTC)
        token = Token.new(ca_fingerprint)

        def work(tokens: _Tokens) -> tuple[_Tokens, None]:
            holding = {key: kept for key, kept in tokens.items() if kept.until > now}
            newest = dict(sorted(holding.items(), key=lambda item: item[1].until)[-(_MOST_TOKENS - 1) :])
            return {**newest, token.id: _Kept(token.digest(), now + lifetime)}, None

        self._file.change(work)
        return token

    def redeem(self, token: str, secret: str) -> bool:
        """Use a token up; say whether it was there, still held, and had that secret. Blocks."""
        now = datetime.now(UTC)

        def work(tokens: _Tokens) -> tuple[_Tokens, bool]:
            # An unknown token is compared, too: how long the answer takes tells nothing.
            kept = tokens.get(token, _Kept(digest(""), now))
            right = hmac.compare_digest(kept.digest.encode(), digest(secret).encode()) and kept.until > now
            return ({key: value for key, value in tokens.items() if key != token} if right else tokens), right

        return self._file.change(work)


def serial_text(certificate: x509.Certificate) -> str:
    """Return a serial number as it is kept and shown."""
    return f"{certificate.serial_number:040x}"

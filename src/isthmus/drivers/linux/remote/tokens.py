"""The one string that an operator carries from a gateway to the controller's machine, as with kubeadm's tokens.

It holds a name by which the agent finds it, a secret that works once, and the SHA-256 of the agent's CA, so that the other
end knows whom it talks to before it says the secret. The fingerprint comes last: a token that was cut off is too short and
is recognised before anything is sent.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from isthmus.errors import InputError

__all__ = ["Token", "fingerprint"]

_PREFIX = "isthmus1"
_SHAPE = re.compile(rf"{_PREFIX}\.([0-9a-f]{{12}})\.([A-Za-z0-9_-]{{43}})\.([0-9a-f]{{64}})")


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


@dataclass(frozen=True, slots=True)
class Token:
    """A one-time token; what is secret in it is never printed by accident."""

    id: str
    secret: str = field(repr=False)
    ca_fingerprint: str

    @classmethod
    def new(cls, ca_fingerprint: str) -> Token:
        """Return a token that nobody can guess."""
        return cls(secrets.token_hex(6), secrets.token_urlsafe(32), ca_fingerprint)

    @classmethod
    def parse(cls, text: str, place: str = "token") -> Token:
        """Return the token that ``text`` spells; raise ``InputError`` without repeating it."""
        found = _SHAPE.fullmatch(text.strip())
        if found is None:
            raise InputError(
                place,
                "is not a whole enrolment token",
                "copy all that `isthmus agent gateway token` printed, from isthmus1. to the last digit",
            )
        return cls(*found.groups())

    def text(self) -> str:
        """Return the string to carry over."""
        return f"{_PREFIX}.{self.id}.{self.secret}.{self.ca_fingerprint}"

    def digest(self) -> str:
        """Return what may be stored of the secret."""
        return digest(self.secret)


def digest(secret: str) -> str:
    """Return what may be stored of ``secret``; it has 256 bits of chance, so a plain hash cannot be guessed back."""
    return base64.b64encode(hashlib.sha256(secret.encode()).digest()).decode()

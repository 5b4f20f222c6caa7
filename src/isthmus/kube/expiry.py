"""When what we show an API expires, as far as it says so itself; read without being verified, to warn people in time.

Whether a token or certificate is good is the API's decision. What cannot be read has no expiry here and is no error.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import msgspec

from isthmus.metrics import CREDENTIAL_EXPIRY

__all__ = ["certificate_expiry", "tell_expiry", "token_expiry"]


class _Claims(msgspec.Struct):
    exp: float | None = None


def token_expiry(token: str | None) -> float | None:
    """Return when a JWT (RFC 7519) expires, in epoch seconds; none for tokens of another form."""
    parts = (token or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(claims, type=_Claims).exp
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return None


def certificate_expiry(pem: str | Path | None) -> float | None:
    """Return when the first certificate in ``pem`` (text, or the path of a file) ends, in epoch seconds."""
    if pem is None:
        return None
    from cryptography import x509  # 12 MB, and most clusters are entered with a token

    try:
        data = pem.read_bytes() if isinstance(pem, Path) else pem.encode()
        return x509.load_pem_x509_certificate(data).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def tell_expiry(cluster: str, credential: str, at: float | None) -> None:
    """Show when a credential expires; one that does not say has no series."""
    if at is not None:
        CREDENTIAL_EXPIRY.labels(cluster, credential).set(at)
        return
    try:
        CREDENTIAL_EXPIRY.remove(cluster, credential)
    except KeyError:
        return

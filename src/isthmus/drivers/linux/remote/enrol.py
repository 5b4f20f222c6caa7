"""How a controller's machine gets its certificate from an agent: look at the CA, compare, and only then say the secret.

::

    GET  /v1/enrol   nobody is verified yet      <- the agent's CA
         SHA-256 of that CA == the token's fingerprint, or stop
    POST /v1/enrol   verified by that CA alone   -> the token's secret, a request to sign
                                                 <- the certificate
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from cryptography import x509

from isthmus.drivers.linux.remote.credentials import Credentials, Requested
from isthmus.drivers.linux.remote.exchange import Exchange
from isthmus.drivers.linux.remote.messages import AskEnrol, Authority, Enrolled
from isthmus.drivers.linux.remote.tokens import Token, fingerprint
from isthmus.drivers.linux.remote.typed import Reader
from isthmus.errors import DeviceError, DeviceRefused

__all__ = ["enrol"]

_authority, _enrolled = Reader(Authority), Reader(Enrolled)
_LIMIT = 15.0


async def enrol(token: Token, url: str, name: str, directory: Path, device: str) -> x509.Certificate:
    """Get and keep a certificate for ``device`` at ``url``, as ``name``; raise a ``DeviceError`` or ``StateError``."""
    place = f"the gateway agent at {url}"
    ca = await _trusted_ca(token, url, place)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca)
    requested = Requested.new(name)
    exchange = Exchange(url, place, context)
    try:
        asked = AskEnrol(name, token.id, token.secret, requested.csr)
        answer = await exchange.ask("POST", "/v1/enrol", asked, _enrolled, limit=_LIMIT)
    finally:
        await exchange.close()
    credentials = Credentials(directory, device)
    try:
        await asyncio.to_thread(credentials.store, requested, answer.certificate, ca)
    except ValueError as error:
        raise DeviceError(f"{place}: what it signed cannot be used: {error}") from error
    return credentials.certificate()


async def _trusted_ca(token: Token, url: str, place: str) -> str:
    """Return the agent's CA, once it is the one that the token speaks of."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.minimum_version = ssl.TLSVersion.TLSv1_2
    # Nothing secret is said on this connection; what comes back is held against the fingerprint.
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    exchange = Exchange(url, place, unverified)
    try:
        answer = await exchange.ask("GET", "/v1/enrol", None, _authority, limit=_LIMIT)
    finally:
        await exchange.close()
    try:
        certificate = x509.load_pem_x509_certificate(answer.ca.encode())
    except ValueError as error:
        raise DeviceError(f"{place}: what it shows is no certificate: {error}") from error
    if fingerprint(certificate) != token.ca_fingerprint:
        raise DeviceRefused(
            f"{place} is not the one that made this token: its CA has SHA-256 {fingerprint(certificate)}, the token says "
            f"{token.ca_fingerprint}; the token's secret was not sent"
        )
    return answer.ca

"""By what a controller is known to a gateway's agent, and whom it believes there: two files in the device's own folder.

``client.pem`` holds certificate and key together, so that a renewal replaces both in one step. ``ca.crt`` is the agent's own
CA and the only one believed. Nothing here is ever printed.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from isthmus.drivers.linux.remote.private_files import make_private_directory, read_small, write_private
from isthmus.errors import DeviceUnsupported, StateError

__all__ = ["Credentials", "Requested", "common_name"]

CLIENT, CA = "client.pem", "ca.crt"
_RENEW_AFTER = 2 / 3


def common_name(certificate: x509.Certificate) -> str:
    """Return the name in a certificate's subject."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


@dataclass(frozen=True, slots=True)
class Requested:
    """A new key and the request to sign it."""

    key: ec.EllipticCurvePrivateKey
    csr: str

    @classmethod
    def new(cls, name: str) -> Requested:
        """Return a request for ``name`` with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "isthmus")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        return cls(key, request.public_bytes(Encoding.PEM).decode())

    def with_certificate(self, certificate: str) -> bytes:
        """Return certificate and key as one text; raise ``ValueError`` if the certificate is for another key."""
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        if parsed.public_key() != self.key.public_key():
            raise ValueError("the certificate is for another key")
        return parsed.public_bytes(Encoding.PEM) + self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )


class Credentials:
    """The files of one device."""

    def __init__(self, directory: Path, device: str) -> None:
        self.device = device
        self.folder = directory / device

    def certificate(self) -> x509.Certificate:
        """Return our certificate; raise ``DeviceUnsupported`` with what to do where there is none that can be used."""
        try:
            raw = read_small(self.folder / CLIENT)
        except StateError as error:
            raise DeviceUnsupported(f"{error}; the controller must be able to read its own key") from error
        if raw is None or not (self.folder / CA).exists():
            raise DeviceUnsupported(
                f"{self.folder} holds no credentials for this gateway; run `isthmus gateway enrol {self.device}`"
            )
        try:
            return x509.load_pem_x509_certificate(raw)
        except ValueError as error:
            raise DeviceUnsupported(f"{self.folder / CLIENT} holds no certificate: {error}") from error

    def context(self, *, now: datetime | None = None) -> ssl.SSLContext:
        """Return how to connect: our certificate, their CA, nothing below TLS 1.2; raise ``DeviceUnsupported``."""
        certificate = self.certificate()
        moment = now or datetime.now(UTC)
        if certificate.not_valid_after_utc <= moment:
            raise DeviceUnsupported(
                f"our certificate for this gateway expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; "
                f"run `isthmus gateway enrol {self.device}` again"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(self.folder / CA)
            context.load_cert_chain(self.folder / CLIENT)
        except (OSError, ssl.SSLError) as error:
            raise DeviceUnsupported(f"{self.folder}: the credentials cannot be used: {error.strerror}") from error
        return context

    def store(self, requested: Requested, certificate: str, ca: str) -> None:
        """Keep what an enrolment brought; raise ``StateError`` or ``ValueError``."""
        make_private_directory(self.folder)
        together = requested.with_certificate(certificate)
        write_private(self.folder / CA, x509.load_pem_x509_certificate(ca.encode()).public_bytes(Encoding.PEM))
        write_private(self.folder / CLIENT, together)

    def check_writable(self, certificate: x509.Certificate) -> None:
        """Raise ``StateError`` where a new certificate could not be kept, so that none is asked for in vain."""
        if not os.access(self.folder, os.W_OK):
            raise StateError(
                f"{self.folder} cannot be written, so the certificate there ends on "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}; enrol anew before and replace it"
            )

    def renew(self, requested: Requested, certificate: str) -> None:
        """Replace our certificate and key, in one step; raise ``StateError`` or ``ValueError``."""
        write_private(self.folder / CLIENT, requested.with_certificate(certificate))


def due(certificate: x509.Certificate, now: datetime) -> bool:
    """Say whether two thirds of a certificate's life are over."""
    life: timedelta = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return now >= certificate.not_valid_before_utc + life * _RENEW_AFTER

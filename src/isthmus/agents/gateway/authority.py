"""The agent's own certificate authority: made at the first start, known to nobody else, signing one server and its clients.

The server's own certificate is made anew under it when two thirds of its life are over or the host has got another name or
address; connections made from then on use it, without a restart. What clients pin is the CA, which stays.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from isthmus.drivers.linux.remote.credentials import due
from isthmus.drivers.linux.remote.private_files import make_private_directory, read_small, write_private
from isthmus.drivers.linux.remote.tokens import fingerprint
from isthmus.errors import StateError

__all__ = ["Authority", "BadRequest"]

_CA, _SERVER, _CA_PUBLIC = "ca.pem", "server.pem", "ca.crt"
_CA_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=90)
_BEFORE = timedelta(hours=1)
"""Certificates begin an hour ago: the other end's clock may be a little behind."""


class BadRequest(Exception):
    """A request to sign that is not signed."""


class Authority:
    """The CA in ``directory``, made there if there is none. Its construction and its methods block."""

    def __init__(self, directory: Path) -> None:
        make_private_directory(directory)
        self.directory = directory
        self._key, self.certificate = self._load() or self._make()
        # OpenSSL reads files only, and the one with the key is nobody's to trust.
        write_private(directory / _CA_PUBLIC, self.certificate.public_bytes(Encoding.PEM))

    @property
    def pem(self) -> str:
        """Return the CA's certificate as text."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the CA."""
        return fingerprint(self.certificate)

    def server_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """Return how to listen: at least TLS 1.2, certificates of our own clients are checked if one is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(self.directory / _CA_PUBLIC)
        # A session that is taken up again would not show its certificate again.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        self.renew_server(names)
        context.load_cert_chain(self.directory / _SERVER)
        return context

    def renew_server(self, names: Iterable[str], context: ssl.SSLContext | None = None) -> bool:
        """Make the server's certificate anew if it is due or lacks a name; use it in ``context``; say whether."""
        wanted = set(names)
        raw = read_small(self.directory / _SERVER)
        if raw is not None and not self._is_due(raw, wanted):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([_alternative(name) for name in sorted(wanted)])
        certificate = self._sign(
            "isthmus gateway agent", key.public_key(), _SERVER_LIFE, ExtendedKeyUsageOID.SERVER_AUTH, alternative
        )
        write_private(self.directory / _SERVER, _together(certificate, key))
        if context is not None:
            context.load_cert_chain(self.directory / _SERVER)
        return True

    def issue(self, csr: str, name: str, lifetime: timedelta) -> x509.Certificate:
        """Return a client's certificate for the key in ``csr``; raise ``BadRequest``. What else it asks for is ignored."""
        try:
            request = x509.load_pem_x509_csr(csr.encode())
            key = request.public_key()
            if not request.is_signature_valid:
                raise BadRequest("its signature is wrong")
        except (ValueError, InvalidSignature) as error:
            raise BadRequest("it is no request to sign in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise BadRequest("its key is not on the curve P-256")
        return self._sign(name, key, lifetime, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _is_due(self, raw: bytes, names: set[str]) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(raw)
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
            return True
        held = {str(one.value) for one in extension.value}
        return due(certificate, datetime.now(UTC)) or not names <= held

    def _load(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
        path = self.directory / _CA
        raw = read_small(path)
        if raw is None:
            return None
        try:
            certificate, key = x509.load_pem_x509_certificate(raw), load_pem_private_key(raw, None)
        except (ValueError, TypeError) as error:
            raise StateError(f"{path} is damaged; without it every client must be enrolled again: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise StateError(f"{path} holds a key and a certificate that do not belong together")
        return key, certificate

    def _make(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        # The name tells two agents' CAs apart: a chain is looked up by it.
        name = _name(f"isthmus gateway CA {identifier.digest.hex()[:16]}")
        certificate = (
            _begun(name, name, key.public_key(), _CA_LIFE)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_private(self.directory / _CA, _together(certificate, key))
        return key, certificate

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        lifetime: timedelta,
        purpose: ObjectIdentifier,
        alternative: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _begun(_name(name), self.certificate.subject, key, lifetime)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if alternative is not None:
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + lifetime)
    )


def _together(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + private


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )

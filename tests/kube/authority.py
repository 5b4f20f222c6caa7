"""A certificate authority for tests: server and client certificates, made in milliseconds, kept in a temporary folder."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Pair:
    """A certificate and its key, as PEM texts and as files."""

    certificate: str
    key: str
    certificate_file: Path
    key_file: Path


class Authority:
    """Signs certificates; ``ca_file`` is what clients trust."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.ca = certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        self.ca_file = folder / f"{name.replace(' ', '-')}.crt"
        self.ca_file.write_text(self.ca)

    def issue(self, common_name: str, *names: str, password: bytes | None = None, organization: str = "") -> Pair:
        """Return a certificate for ``names`` (addresses or host names); an API server takes an organization for a group."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        builder = self._builder(x509.Name(subject), key.public_key())
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ).decode()
        pair = Pair(certificate, private, self.folder / f"{common_name}.crt", self.folder / f"{common_name}.key")
        pair.certificate_file.write_text(certificate)
        pair.key_file.write_text(private)
        return pair

    def server(self, *names: str, clients: bool = False) -> ssl.SSLContext:
        """Return a server's context for ``names``; with ``clients`` it asks for a certificate of ours."""
        pair = self.issue("server", *(names or ("127.0.0.1",)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate_file, pair.key_file)
        if clients:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self.ca_file)
        return context

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

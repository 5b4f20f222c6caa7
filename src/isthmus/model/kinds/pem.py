"""A CA's certificate as text inside an object: PEM (RFC 7468), and never a key."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from isthmus.model.kinds.wrong import Wrong

__all__ = ["PemCertificate"]


def _certificate(value: str) -> str:
    if "PRIVATE KEY-----" in value:
        raise Wrong("holds a private key", "write the CA's certificate only, and consider that key lost")
    if "-----BEGIN CERTIFICATE-----" not in value:
        raise Wrong("is not a PEM certificate", "it begins with -----BEGIN CERTIFICATE-----")
    return value


PemCertificate = Annotated[str, AfterValidator(_certificate)]
"""PEM text with a certificate and no private key."""

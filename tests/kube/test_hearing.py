"""One line when a cluster is not heard and one when it is, however many watches it has; and when credentials expire."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from isthmus.errors import KubeUnreachable
from isthmus.kube.expiry import certificate_expiry, tell_expiry, token_expiry
from isthmus.kube.hearing import Hearing
from isthmus.metrics import REGISTRY
from isthmus.telemetry import CALM
from loop.clock import virtually


def test_four_watches_that_fail_are_one_line_and_their_return_is_one() -> None:
    """The first that fails says why, the last that is well ends it; flapping adds two lines, not two a second."""

    async def tell() -> None:
        hearing = Hearing("prod")
        kinds = ("nodes", "services", "endpointslices", "namespaces")
        for kind in kinds:
            hearing.failed(kind, KubeUnreachable(f"watch {kind}: no answer in time"))
        for kind in kinds:
            assert len(said) == 1
            hearing.well(kind)
        assert len(said) == 2
        for _ in range(10):
            hearing.failed("nodes", KubeUnreachable("again"))
            await asyncio.sleep(3)
            hearing.well("nodes")
            await asyncio.sleep(3)
        assert len(said) == 3
        await asyncio.sleep(CALM)

    with capture_logs() as said:
        virtually(tell)
    assert [entry["event"] for entry in said] == ["cluster not heard", "cluster heard again"] * 2
    assert said[0]["reason"] == "watch nodes: no answer in time"
    assert [entry["after"] for entry in said if "after" in entry] == [4, 10]


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJSUzI1NiJ9.{body}.c2lnbmF0dXJl"


def test_a_token_says_when_it_expires() -> None:
    """A JWT does; an opaque token and one without an end do not."""
    assert token_expiry(token({"exp": 1_800_000_000, "sub": "x"})) == 1_800_000_000
    for other in (token({"sub": "x"}), token(["no", "claims"]), "opaque", "", None, "a.b.c"):
        assert token_expiry(other) is None


@given(st.text(max_size=60))
def test_no_token_crashes_it(text: str) -> None:
    """Whatever a file holds, it has an expiry or none."""
    token_expiry(text)
    token_expiry(f"a.{text}.c")


def test_a_certificate_says_when_it_ends(tmp_path: Path) -> None:
    """From text or from a file; a file that is gone or no certificate says nothing. The figure goes with the credential."""
    key, end = ec.generate_private_key(ec.SECP256R1()), datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "isthmus")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(end - timedelta(days=365))
        .not_valid_after(end)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM).decode()
    (tmp_path / "tls.crt").write_text(pem)
    assert certificate_expiry(pem) == certificate_expiry(tmp_path / "tls.crt") == end.timestamp()
    for other in (None, "nonsense", tmp_path / "gone"):
        assert certificate_expiry(other) is None
    labels = {"cluster": "test_hearing", "credential": "client_certificate"}
    shown = "isthmus_credential_expiry_timestamp_seconds"
    tell_expiry("test_hearing", "client_certificate", end.timestamp())
    assert REGISTRY.get_sample_value(shown, labels) == end.timestamp()
    for _ in range(2):
        tell_expiry("test_hearing", "client_certificate", None)
        assert REGISTRY.get_sample_value(shown, labels) is None

"""Who is let in, and who is not: no certificate, a forged one, another CA's, one that is over, one off the list.

Whoever is refused has changed nothing on the device, and no secret is in what was logged or said.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from isthmus.agents.gateway.authority import Authority
from isthmus.app.gateway_agent import revoke
from isthmus.drivers.linux.remote.credentials import Requested
from isthmus.drivers.linux.remote.messages import AskApply, encode, spell_changes
from isthmus.errors import DeviceRefused, DeviceUnreachable, DeviceUnsupported
from isthmus.model.plan import Change
from isthmus.model.resources import Route

from ..bench import outcomes
from .rig import Rig, opened, running

ROUTE = Route(ip_network("10.244.1.0/24"), ip_address("192.0.2.11"), "eth0")
CREATE = Change("create", ROUTE.identity, None, ROUTE)
APPLY = encode(AskApply(9, spell_changes([CREATE])))
PATHS = [
    ("GET", "/v1/hello"),
    ("POST", "/v1/observe"),
    ("POST", "/v1/apply"),
    ("POST", "/v1/prepare"),
    ("POST", "/v1/vacate"),
    ("POST", "/v1/probe"),
    ("GET", "/v1/drift"),
    ("POST", "/v1/renew"),
]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        await rig.enrol()
        yield rig


def certificate(
    folder: Path,
    *,
    issuer: x509.Certificate | None = None,
    key_of_issuer: ec.EllipticCurvePrivateKey | None = None,
    name: str = "controller",
    serial: int | None = None,
    until: timedelta = timedelta(hours=1),
) -> Path:
    """Write a client certificate and its key; without an issuer it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + until)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key_of_issuer or key, hashes.SHA256())
    )
    path = folder / "made.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


def shown(rig: Rig, path: Path) -> ssl.SSLContext:
    context = rig.context(None)
    context.load_cert_chain(path)
    return context


def ours(rig: Rig) -> x509.Certificate:
    return x509.load_pem_x509_certificate((rig.folder / "controller" / "gw1" / "client.pem").read_bytes())


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_without_a_certificate_nothing_is_answered(rig: Rig, method: str, path: str) -> None:
    """Every path but health and enrolment wants one, and says so."""
    looks = rig.memory.observes
    status, said = await rig.ask(method, path, APPLY if method == "POST" else None, context=rig.context(None))
    assert (status, said["type"]) == (401, "urn:isthmus:problem:not-enrolled")
    assert "gateway enrol" in said["remedy"]
    assert (rig.memory.writes, rig.memory.observes) == (0, looks)


async def test_health_is_told_to_anybody(rig: Rig) -> None:
    """A load balancer or a person may ask whether it lives, and learns no more."""
    assert await rig.ask("GET", "/healthz", context=rig.context(None)) == (200, "ok\n")


async def handshake_fails(rig: Rig, context: ssl.SSLContext) -> None:
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await rig.ask("POST", "/v1/apply", APPLY, context=context)
    assert rig.memory.resources == {}


async def test_a_forged_certificate_does_not_pass_tls(rig: Rig, tmp_path: Path) -> None:
    """The same name, the same serial number, the same issuer's name: it is the signature that counts."""
    own = ours(rig)
    await handshake_fails(rig, shown(rig, certificate(tmp_path, serial=own.serial_number)))
    ca = x509.load_pem_x509_certificate((rig.state / "tls" / "ca.crt").read_bytes())
    other = ec.generate_private_key(ec.SECP256R1())
    forged = certificate(tmp_path, issuer=ca, key_of_issuer=other, serial=own.serial_number)
    await handshake_fails(rig, shown(rig, forged))


async def test_another_agents_client_does_not_pass_tls(rig: Rig, tmp_path: Path) -> None:
    """A certificate that another gateway's CA has signed is none here."""
    other = Authority(tmp_path / "other")
    requested = Requested.new("controller")
    issued = other.issue(requested.csr, "controller", timedelta(days=1))
    path = tmp_path / "foreign.pem"
    path.write_bytes(requested.with_certificate(issued.public_bytes(Encoding.PEM).decode()))
    await handshake_fails(rig, shown(rig, path))


async def test_an_expired_certificate_does_not_pass_tls(rig: Rig, tmp_path: Path) -> None:
    """Signed by the right CA, and over."""
    authority = Authority(rig.state / "tls")
    requested = Requested.new("controller")
    issued = authority.issue(requested.csr, "controller", timedelta(minutes=-5))
    path = tmp_path / "expired.pem"
    path.write_bytes(requested.with_certificate(issued.public_bytes(Encoding.PEM).decode()))
    await handshake_fails(rig, shown(rig, path))


async def test_our_own_expired_certificate_is_named_before_anybody_is_asked(rig: Rig) -> None:
    """The driver says when it expired and what to do."""
    driver = await rig.client()
    driver._clock = lambda: datetime.now(UTC) + timedelta(days=91)
    with pytest.raises(DeviceUnsupported, match=r"expired on .*isthmus gateway enrol gw1"):
        await driver.open()


async def test_a_signed_certificate_that_is_not_on_the_list_is_refused(rig: Rig, tmp_path: Path) -> None:
    """Who could sign is not who may come in."""
    authority = Authority(rig.state / "tls")
    requested = Requested.new("controller")
    issued = authority.issue(requested.csr, "controller", timedelta(days=1))
    path = tmp_path / "unlisted.pem"
    path.write_bytes(requested.with_certificate(issued.public_bytes(Encoding.PEM).decode()))
    status, said = await rig.ask("POST", "/v1/apply", APPLY, context=shown(rig, path))
    assert (status, said["type"]) == (403, "urn:isthmus:problem:not-enrolled")
    assert rig.memory.resources == {}


async def test_the_agents_own_certificate_is_no_clients(rig: Rig) -> None:
    """The server's certificate is for serving: shown as a client's, it does not pass."""
    await handshake_fails(rig, shown(rig, rig.state / "tls" / "server.pem"))


async def test_a_revoked_client_ends_at_once(rig: Rig) -> None:
    """Also in the middle of listening, and on a connection that is open already."""
    async with opened(await rig.client()) as driver:
        assert [one.result for one in await outcomes(driver, [CREATE])] == ["done"]
        drifting = asyncio.create_task(driver.drift())
        await asyncio.sleep(0.05)
        await asyncio.to_thread(revoke, rig.state, "controller")
        with pytest.raises(DeviceUnreachable):
            await asyncio.wait_for(drifting, 3)
        await driver.close()
        with pytest.raises(DeviceRefused, match="not on the list"):
            await driver.open()
    assert len(rig.memory.resources) == 1


async def test_a_client_that_asks_too_often_is_told_to_wait(rig: Rig) -> None:
    """One client's hurry is its own: it gets 429 with Retry-After, another client is served."""
    await rig.enrol("patient")
    async with aiohttp.ClientSession() as session:
        context = rig.context()
        statuses = []
        for _ in range(320):
            async with session.get(rig.url + "/v1/hello", ssl=context) as answer:
                statuses.append((answer.status, answer.headers.get("Retry-After")))
        assert (429, "1") in statuses
        async with session.get(rig.url + "/v1/hello", ssl=rig.context("patient")) as answer:
            assert answer.status == 200


async def test_strangers_are_limited_by_address(rig: Rig) -> None:
    """Who knocks without a certificate again and again is told to wait."""
    statuses = [(await rig.ask("GET", "/v1/hello", context=rig.context(None)))[0] for _ in range(12)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


async def test_an_old_tls_is_refused(rig: Rig) -> None:
    """Nothing below TLS 1.2."""
    context = rig.context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    await handshake_fails(rig, context)


async def test_no_secret_is_logged(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a token, nor a key, in whatever comes out of an enrolment and of requests that fail."""
    token = await asyncio.to_thread(rig.token)
    await rig.enrol("second", token=token)
    with pytest.raises(DeviceRefused):
        await rig.enrol("third", token=token)
    printed = "".join(capfd.readouterr())
    assert "client enrolled" in printed
    assert token not in printed
    assert token.split(".")[2] not in printed
    assert "PRIVATE KEY" not in printed
    stored = (rig.state / "tls" / "tokens.json").read_text() if (rig.state / "tls" / "tokens.json").exists() else ""
    assert token.split(".")[2] not in stored


async def test_keys_are_for_their_owner_alone(rig: Rig) -> None:
    """No key, list or epoch is readable by anybody else, on either side."""
    for place in (rig.state, rig.folder / "controller"):
        for path in [place, *place.rglob("*")]:
            if path.name != "applied" and "applied" not in path.parts:
                assert not path.stat().st_mode & 0o077, path

"""Whom we talk to is known before anything is said: by a CA, or by one pinned certificate."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from drivers.netscaler.nitro.rig import Given, appliance, options
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.errors import DeviceRefused, DeviceUnreachable
from isthmus.lab.nitro import Appliance, Endpoint, serving


def fingerprint(endpoint: Endpoint) -> str:
    """Return the SHA-256 of the certificate that is shown, as `openssl x509 -fingerprint -sha256` prints it."""
    parts = urlsplit(endpoint.url)
    assert parts.hostname is not None
    assert parts.port is not None
    pem = ssl.get_server_certificate((parts.hostname, parts.port))
    digits = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digits[index : index + 2] for index in range(0, 64, 2))


@asynccontextmanager
async def client(url: str, **more: object) -> AsyncIterator[Nitro]:
    """Give a client of ``url`` that trusts as ``more`` says."""
    nitro = Nitro("adc1", options(url, plainHttp=False, **more), Given())
    try:
        yield nitro
    finally:
        await nitro.close()


async def shown(endpoint: Endpoint) -> str:
    """Return the fingerprint without holding up the loop that serves."""
    return await asyncio.to_thread(fingerprint, endpoint)


def untouched(device: Appliance) -> bool:
    """Return whether no request has reached ``device``, and so no password."""
    return not device.faults.requests


@pytest.mark.parametrize("as_text", [False, True])
async def test_a_ca_of_ones_own(as_text: bool) -> None:
    """The CA may stand in a file or in the object; a device that it signed is believed."""
    async with serving(appliance(), tls=True) as endpoint:
        assert endpoint.ca_path is not None
        trust = {"ca": endpoint.ca_path.read_text()} if as_text else {"caFile": str(endpoint.ca_path)}
        async with client(endpoint.url, **trust) as nitro:
            await nitro.open()
            assert await nitro.get("vxlan") == []


async def test_nobody_signed_it() -> None:
    """Without a word about it the system's CAs decide, and the error says what to write; the password stays here."""
    device = appliance()
    async with serving(device, tls=True) as endpoint, client(endpoint.url) as nitro:
        with pytest.raises(DeviceRefused, match=r"not trusted: .*caFile.*certificateSha256"):
            await nitro.open()
        assert untouched(device)


async def test_another_name() -> None:
    """A certificate that the CA signed for somebody else is refused."""
    device = appliance()
    async with serving(device, "0.0.0.0", tls=True) as endpoint:
        url = endpoint.url.replace("127.0.0.1", "127.0.0.3")
        async with client(url, caFile=str(endpoint.ca_path)) as nitro:
            with pytest.raises(DeviceRefused, match="not trusted"):
                await nitro.open()
        assert untouched(device)


async def test_a_pinned_certificate() -> None:
    """One certificate is believed whoever signed it and whatever name it bears."""
    async with serving(appliance(), "0.0.0.0", tls=True) as endpoint:
        pin = await shown(endpoint)
        async with client(endpoint.url.replace("127.0.0.1", "127.0.0.3"), certificateSha256=pin) as nitro:
            await nitro.open()
            assert await nitro.get("vxlan") == []


async def test_the_certificate_has_changed() -> None:
    """Another certificate than the pinned one gets no password; the error shows what it is, ready to be written."""
    first, second = appliance(), appliance()
    async with serving(first, tls=True) as endpoint:
        pin, url = await shown(endpoint), endpoint.url
        port = urlsplit(url).port
        assert port is not None
    async with serving(second, port=port, tls=True) as endpoint, client(url, certificateSha256=pin) as nitro:
        new = await shown(endpoint)
        with pytest.raises(DeviceRefused, match="another certificate than the pinned one") as changed:
            await nitro.open()
        assert new.replace(":", "").lower() in str(changed.value)
        assert untouched(second)
        async with client(url, certificateSha256=new) as again:
            await again.open()


async def test_it_changes_under_way() -> None:
    """A device whose certificate is replaced is refused by the next connection, in the middle of work."""
    device = appliance()
    async with serving(device, tls=True) as endpoint:
        pin, port = await shown(endpoint), urlsplit(endpoint.url).port
        assert port is not None
        nitro = Nitro("adc1", options(endpoint.url, plainHttp=False, certificateSha256=pin), Given())
        await nitro.open()
    async with serving(device, port=port, tls=True):
        with pytest.raises(DeviceRefused, match="another certificate"):
            await nitro.get("vxlan")
        await nitro.close()


async def test_a_new_ca_in_the_same_file(tmp_path: Path) -> None:
    """A CA that is rotated is read again without a restart; one that is away for a moment does not open the door."""
    device, file = appliance(), tmp_path / "ca.pem"
    clock = [0.0]
    async with serving(device, tls=True) as endpoint:
        assert endpoint.ca_path is not None
        file.write_bytes(endpoint.ca_path.read_bytes())
        port = urlsplit(endpoint.url).port
        assert port is not None
        said = options(endpoint.url, plainHttp=False, caFile=str(file))
        nitro = Nitro("adc1", said, Given(), clock=lambda: clock[0])
        await nitro.open()
        await nitro.close()
    async with serving(device, port=port, tls=True) as endpoint:
        assert endpoint.ca_path is not None
        file.unlink()
        clock[0] += 5
        with pytest.raises(DeviceRefused, match="not trusted"):
            await nitro.open()
        file.write_bytes(endpoint.ca_path.read_bytes())
        clock[0] += 5
        await nitro.open()
        await nitro.close()


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"])
async def test_a_ca_that_is_none(tmp_path: Path, content: str | None) -> None:
    """A file that is missing, empty or nonsense is named, and nobody is talked to."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    device = appliance()
    async with serving(device, tls=True) as endpoint, client(endpoint.url, caFile=str(file)) as nitro:
        with pytest.raises(DeviceRefused, match=r"ca\.pem cannot be used"):
            await nitro.open()
        assert untouched(device)


async def test_no_tls_where_it_is_wanted() -> None:
    """A device that speaks plain HTTP on the port of an https URL is out of reach, with a word about it."""
    device = appliance()
    async with serving(device) as endpoint, client(endpoint.url.replace("http:", "https:")) as nitro:
        with pytest.raises((DeviceUnreachable, DeviceRefused), match="adc1"):
            await nitro.open()
        assert untouched(device)

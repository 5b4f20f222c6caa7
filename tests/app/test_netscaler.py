"""A controller and a NetScaler over HTTP: what goes wrong is said where the user looks, and passes when it is mended."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.home.rig import node, thing, until
from isthmus.app import controller as controller_module
from isthmus.app.controller import Controller
from isthmus.lab.kube import KubeApi
from isthmus.lab.nitro import Appliance, serving
from isthmus.metrics import DEVICE_UNSAVED, Reading
from isthmus.registry.state import StateDirectory

PASSWORD = "planted-Passw0rd-0815"


class Place:
    """A configuration with one NetScaler, and the cluster behind it."""

    def __init__(self, directory: Path, kubeconfig: Path) -> None:
        self.config, self.state, self.secret = directory / "config", directory / "state", directory / "adc1"
        self.config.mkdir()
        self.secret.mkdir()
        self.write("KubeCluster", "prod", {"kubeconfig": {"path": str(kubeconfig)}})
        self.write(
            "ClusterLink", "main", {"cluster": "prod", "devices": ["adc1"], "path": "direct", "services": False}
        )
        self.credentials(PASSWORD)

    def write(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        (self.config / f"{kind}-{name}.json").write_text(json.dumps(thing(kind, name, spec)))

    def device(self, url: str, **more: Any) -> None:
        """Write the EdgeDevice."""
        said = {
            "urls": [url],
            "plainHttp": url.startswith("http:"),
            "credentials": {"directory": str(self.secret)},
            "enableFeatures": True,
            "saveAfter": "0s",
            **more,
        }
        self.write(
            "EdgeDevice", "adc1", {"driver": "netscaler", "tunnelAddresses": ["192.0.2.50"], "netscaler": said}
        )

    def credentials(self, password: str) -> None:
        for name, text in (("username", "isthmus"), ("password", password)):
            fresh = self.secret / f".{name}"
            fresh.write_text(f"{text}\n")
            fresh.replace(self.secret / name)

    def said(self) -> dict[str, Any]:
        """Return the status of the device, as `isthmus status` shows it."""
        if not self.state.exists():
            return {}
        with StateDirectory.read(self.state) as reader:
            entry = reader.read_status().get(("EdgeDevice", "adc1"))
            return {} if entry is None else dict(entry.value)

    def readings(self) -> Iterable[Reading]:
        """Return what the running controller shows to whoever scrapes it."""
        return self.running.health.readings()

    @asynccontextmanager
    async def controller(self) -> AsyncIterator[None]:
        """Run a controller with the drivers that there are."""
        async with StateDirectory(self.state) as state:
            running = self.running = Controller(self.config, state)
            task = asyncio.create_task(running.run())
            try:
                yield
            finally:
                running.stop()
                await asyncio.wait({task}, timeout=15)
                await task


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(controller_module, "_TELL", 0.05)
    api = KubeApi(tls=False)
    api.put(node(1))
    async with api.serving() as endpoint:
        yield Place(tmp_path, endpoint.kubeconfig_path)


def appliance(**more: Any) -> Appliance:
    """Return a device that has an address among the nodes."""
    made = Appliance(users={"isthmus": PASSWORD, "nsroot": "nsroot"}, **more)
    snip = {"ipaddress": "192.0.2.50", "netmask": "255.255.255.0", "type": "SNIP"}
    made.write("POST", "nsip", {"nsip": snip})
    made.config.end_save()
    return made


def says(place: Place, *words: str) -> Callable[[], bool]:
    """Return whether the device's status holds ``words``."""
    return lambda: all(word in place.said().get("message", "") for word in words)


def in_sync(place: Place) -> Callable[[], bool]:
    return lambda: place.said().get("inSync") is True


async def test_wrong_credentials(place: Place) -> None:
    """The status says so, the device has seen one login, and the right password is used within seconds of being written."""
    device = appliance()
    place.credentials("wrong-Passw0rd")
    async with serving(device) as endpoint:
        place.device(endpoint.url)
        async with place.controller():
            await until(says(place, "name or password are wrong"))
            await asyncio.sleep(1)
            assert device.faults.requests[("login", "login")] == 1
            assert "wrong-Passw0rd" not in json.dumps(place.said())
            place.credentials(PASSWORD)
            await until(in_sync(place))
    assert device.sessions.live() == []


async def test_no_credentials(place: Place) -> None:
    """A file that is not there is named, and the device is not asked."""
    device = appliance()
    (place.secret / "password").unlink()
    async with serving(device) as endpoint:
        place.device(endpoint.url)
        async with place.controller():
            await until(says(place, f"{place.secret / 'password'}: no such file"))
            assert not device.faults.requests
            place.credentials(PASSWORD)
            await until(in_sync(place))


async def test_a_changed_certificate(place: Place) -> None:
    """The status shows the new fingerprint; nothing was sent; once the user has written it the device is in sync."""
    device = appliance()
    async with serving(device, tls=True) as endpoint:
        where = urlsplit(endpoint.url)
        pem = await asyncio.to_thread(ssl.get_server_certificate, (where.hostname or "", where.port or 0))
        shown = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        place.device(endpoint.url, certificateSha256="00" * 32)
        async with place.controller():
            await until(says(place, "another certificate than the pinned one", shown))
            assert not device.faults.requests
            place.device(endpoint.url, certificateSha256=shown)
            await until(in_sync(place))


async def test_a_device_of_an_unknown_version(place: Place) -> None:
    """What it says of itself is shown, nothing is written to it, and after its upgrade it is used."""
    device = appliance(release="NetScaler NS10.5: Build 70.12.nc, Date: Oct 30 2018, 16:36:18   (64-bit)")
    async with serving(device) as endpoint:
        place.device(endpoint.url)
        async with place.controller():
            await until(says(place, "release 10.5 is too old", "11.1 is the oldest"))
            assert device.faults.writes == 0
            device.release = "NetScaler NS13.1: Build 53.24.nc, Date: Apr 1 2024, 12:00:00   (64-bit)"
            await until(in_sync(place))


async def test_a_feature_that_we_may_not_switch_on(place: Place) -> None:
    """Where load balancing is off and not ours to switch on, routes are served all the same, and nothing is switched."""
    device = appliance()
    async with serving(device) as endpoint:
        place.device(endpoint.url, enableFeatures=False)
        async with place.controller():
            await until(in_sync(place))
            assert device.running.find("route", network="10.244.1.0")
            assert "LB" not in device.running.features
            assert device.faults.requests[("enable", "nsfeature")] == 0


async def test_a_full_disk(place: Place) -> None:
    """The device serves and is in sync; that it would not after a restart is said for as long as it is so."""
    device = appliance()
    device.faults.disk_full = True
    async with serving(device) as endpoint:
        place.device(endpoint.url)
        async with place.controller():
            await until(says(place, "in sync", "not saved", "no space left on device"))
            assert place.said()["unsaved"]
            gauges = {labels: value for family, labels, value in place.readings() if family is DEVICE_UNSAVED}
            assert gauges == {("adc1",): 1.0}
            device.faults.disk_full = False
        assert not device.config.changed, "the end is one more occasion to save"

"""A NetScaler's credentials in a Secret of the home cluster: read by name, again when refused, and never shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isthmus.app.device_credentials import SecretCredentials, netscaler_credentials
from isthmus.drivers.netscaler.nitro import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.credentials import Credential
from isthmus.kube.connection import Connection
from isthmus.kube.kubeconfig import load
from isthmus.lab.kube import KubeApi
from isthmus.lab.nitro import Appliance, serving
from isthmus.model.kinds.netscaler import NetScalerOptions, SecretReference

WHERE = SecretReference(namespace="default", name="adc1")


@dataclass
class Home:
    """A home cluster, and a clock that a test moves."""

    api: KubeApi
    connection: Connection
    now: float = 100.0

    def put(self, **data: str) -> None:
        """Write the Secret."""
        metadata = {"name": "adc1", "namespace": "default"}
        self.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def credentials(self) -> SecretCredentials:
        return SecretCredentials(WHERE, self.connection, clock=lambda: self.now)


@pytest.fixture
async def home() -> AsyncIterator[Home]:
    api = KubeApi()
    async with api.serving() as endpoint:
        yield Home(api, load(endpoint.kubeconfig_path))


async def test_a_secret_is_read_by_its_name(home: Home) -> None:
    """One get of one Secret, however often somebody asks; nothing is listed or watched."""
    home.put(username="isthmus\n", password="pass word\n")
    credentials = home.credentials()
    for _ in range(3):
        assert await credentials.current() == Credential("isthmus", "pass word")
    asked = [(one, count) for one, count in home.api.faults.requests.items() if "secrets" in str(one)]
    assert [count for _, count in asked] == [1]


async def test_a_rotated_password_is_found(home: Home) -> None:
    """When the device refuses what the Secret said, it is read again, not more than once in five seconds."""
    home.put(username="isthmus", password="old")
    credentials = home.credentials()
    old = await credentials.current()
    home.put(username="isthmus", password="new")
    assert (await credentials.renewed(old)).password == "old"
    home.now += 6
    assert (await credentials.renewed(old)).password == "new"
    assert (await credentials.current()).password == "new"


async def test_a_home_cluster_that_is_away(home: Home) -> None:
    """What we hold is used on while the Secret cannot be read."""
    home.put(username="isthmus", password="old")
    credentials = home.credentials()
    old = await credentials.current()
    home.api.delete("Secret", "adc1", "default")
    home.now += 6
    assert await credentials.renewed(old) == old


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "Secret default/adc1: is not there"),
        ({"username": "isthmus"}, "Secret default/adc1: has no key password"),
        ({"username": "", "password": "planted"}, "Secret default/adc1: username is empty"),
        ({"username": "a", "password": "planted\x00"}, "Secret default/adc1: password is longer than any"),
    ],
)
async def test_a_secret_that_is_none(home: Home, data: dict[str, str] | None, words: str) -> None:
    """What is missing or cannot be meant is said by the Secret's name, and nothing of its content is."""
    if data is not None:
        home.put(**data)
    with pytest.raises(NitroError, match=words) as wrong:
        await home.credentials().current()
    assert wrong.value.meaning is Meaning.CREDENTIALS
    assert wrong.value.retry_after == 5
    assert "planted" not in str(wrong.value)


async def test_no_right_to_read_it() -> None:
    """The error names the right that is missing: get, on that Secret alone."""
    api = KubeApi(tokens={"t": "isthmus"})
    async with api.serving() as endpoint:
        api.faults.deny("isthmus", verb="get", resource="secrets")
        credentials = SecretCredentials(WHERE, load(endpoint.kubeconfig_path))
        with pytest.raises(NitroError, match=r"may not read it; grant get on secrets with resourceNames: \[adc1\]"):
            await credentials.current()


async def test_no_home_cluster() -> None:
    """Where objects come from files alone there is no Secret to read."""
    with pytest.raises(NitroError, match="no home cluster"):
        await SecretCredentials(WHERE, None).current()


async def test_a_rotation_under_a_running_client(home: Home, tmp_path: Path) -> None:
    """The password is changed on the device and in the Secret; the next login finds it, and nobody restarted anything."""
    device = Appliance(users={"isthmus": "old"})
    home.put(username="isthmus", password="old")
    async with serving(device) as endpoint:
        said = {"urls": [endpoint.url], "plainHttp": True, "credentials": {"secret": WHERE.model_dump()}}
        options = NetScalerOptions.model_validate(said)
        nitro = Nitro("adc1", options, netscaler_credentials(options, home.connection))
        await nitro.open()
        device.sessions.users["isthmus"] = "new"
        home.put(username="isthmus", password="new")
        device.sessions.kill_all()
        nitro._pair.nodes[0].session._credentials._looked -= 6  # type: ignore[attr-defined]
        assert await nitro.get("vxlan") == []
        assert device.faults.requests[("login", "login")] == 3
        await nitro.close()

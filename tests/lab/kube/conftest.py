"""A running server for each test; for the contract, the lab's and the real one."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest

from isthmus.lab.kube import KubeApi
from lab.kube.talking import Client, Json
from realapi import RealApi
from realapi.wiping import wipe


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is in ``test_contract_*.py`` against both servers."""
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_contract"):
        for name in ("client", "kubectl"):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, ["lab", "real"], indirect=True)


@pytest.fixture
def options() -> Json:
    """Return the arguments of the server under test; a module or test overrides it by its own fixture."""
    return {"tls": False}


@pytest.fixture
def api(options: Json) -> KubeApi:
    return KubeApi(**options)


@pytest.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if getattr(request, "param", "lab") == "lab":
        api: KubeApi = request.getfixturevalue("api")
        async with (
            api.serving() as endpoint,
            aiohttp.ClientSession(endpoint.url, headers=_headers(endpoint.token)) as session,
        ):
            client = Client(session, endpoint, api.compact)
            yield client
            client.close()
    else:
        real: RealApi = request.getfixturevalue("real_api")
        endpoint = real.endpoint
        context = ssl.create_default_context(cafile=endpoint.ca_path)
        async with aiohttp.ClientSession(
            endpoint.url, headers=_headers(endpoint.token), connector=aiohttp.TCPConnector(ssl=context)
        ) as session:
            client = Client(session, endpoint, real.compact)
            yield client
            client.close()
            await wipe(session)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "User-Agent": "tests/1"}

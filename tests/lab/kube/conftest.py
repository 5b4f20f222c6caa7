"""A running server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from isthmus.lab.kube import KubeApi
from lab.kube.talking import Client, Json


@pytest.fixture
def options() -> Json:
    """Return the arguments of the server under test; a module or test overrides it by its own fixture."""
    return {"tls": False}


@pytest.fixture
def api(options: Json) -> KubeApi:
    return KubeApi(**options)


@pytest.fixture
async def client(api: KubeApi) -> AsyncIterator[Client]:
    async with api.serving() as endpoint:
        headers = {"Authorization": f"Bearer {endpoint.token}", "User-Agent": "tests/1"}
        async with aiohttp.ClientSession(endpoint.url, headers=headers) as session:
            client = Client(session, endpoint)
            yield client
            client.close()

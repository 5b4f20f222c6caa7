"""The real API server: one for each process that runs tests, started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from realapi import RealApi, require


@pytest.fixture(scope="session")
def real_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    """Return a running API server that all tests of this process share; each cleans up what it makes."""
    programs = require()
    server = RealApi(programs, tmp_path_factory.mktemp("real-api") / "server")
    try:
        server.start()
        yield server
    finally:
        server.stop()

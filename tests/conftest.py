"""What all tests share: the real API server, how Hypothesis is set up, and that no test speaks for another's log.

The server runs once for each process that runs tests, started by the first test that asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from realapi import RealApi, require

# How long one example takes is a matter of the machine and of what else runs on it; a test that hangs is ended as a whole.
settings.register_profile("isthmus", deadline=None)
settings.load_profile("isthmus")


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


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process has set up for its log, or the tests after it hear warnings alone."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()

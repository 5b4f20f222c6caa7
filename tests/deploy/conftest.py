"""A real API server with our manifests in it, which tells who asked for what."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.home.rig import real_place
from deploy.installed import Installed
from realapi import RealApi, require


@pytest.fixture
async def installed(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Installed]:
    """Return a cluster in which an overlay (netscaler, or the parameter) has been applied, on an audited server of its own.

    The server has no streaming lists, so that what older ones are asked for is seen, too.
    """
    server = RealApi(require(), tmp_path / "server", audited=True, streaming_lists=False)
    try:
        server.start()
        async with real_place(tmp_path, server) as made, AsyncExitStack() as stack:
            # Not below pytest's own directory, which only its user may enter.
            mounted = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-accounts-")))
            mounted.chmod(0o755)
            found = Installed(server, made, getattr(request, "param", "netscaler"), mounted)
            space, name = found.controller
            for key, value in found.environment(space, name).items():
                monkeypatch.setenv(key, value)
            yield found
    finally:
        server.stop()

"""A real API server with our manifests in it, which tells who asked for what."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.home.rig import Place, real_place
from deploy.installed import Installed
from realapi import RealApi, require


@pytest.fixture
async def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installed]:
    """Return a cluster in which overlays/netscaler has been applied, on a server of its own that is audited, and older."""
    server = RealApi(require(), tmp_path / "server", audited=True, streaming_lists=False)
    server.start()
    try:
        async with real_place(tmp_path, server) as made, AsyncExitStack() as stack:
            place: Place = made
            # Not below pytest's own directory, which only its user may enter.
            mounted = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isthmus-accounts-")))
            mounted.chmod(0o755)
            found = Installed(server, place, "netscaler", mounted)
            for name, value in found.environment("isthmus-system", "isthmus-controller").items():
                monkeypatch.setenv(name, value)
            yield found
    finally:
        server.stop()

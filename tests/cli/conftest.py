"""What holds for every test of a command in this process."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _logging_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets up this process' logging for good; here other tests come after it and read the log."""
    monkeypatch.setattr("structlog.configure", lambda **_: None)

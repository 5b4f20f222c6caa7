"""The names and the shape of our logs, in one place.

At a terminal logs are coloured lines on stderr; in a pipe they are one JSON object a line. An event is a constant text,
everything that varies is a key. Keys that look like credentials are redacted whatever their value.

The one confusing thing is the import of structlog: it loads rich if it finds it, for tracebacks that also show the values of
local variables. Those may be secrets, so such tracebacks are not wanted, and a process that serves for months is spared
the 9 MB that rich takes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Literal

_RICH = sys.modules.get("rich")
if _RICH is None:
    sys.modules["rich"] = None  # type: ignore[assignment]  # this is how a module is told to be missing
import structlog  # noqa: E402 - with rich out of sight

if _RICH is None:
    del sys.modules["rich"]

_SECRET = ("password", "passwd", "token", "secret", "authorization", "private_key", "client_key", "kubeconfig_data")
REDACTED = "[redacted]"
CALM = 60.0
"""Seconds for which something that flaps must be well before that is said."""
Format = Literal["auto", "console", "json"]
_format: Format = "auto"
_process = secrets.token_hex(3)
_serial = itertools.count(1)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every key that names a credential."""
    for key in event:
        if any(word in key.lower() for word in _SECRET):
            event[key] = REDACTED
    return event


def choose_format(format: Format) -> None:
    """Choose how :func:`setup_logging` writes; ``auto`` is JSON in a pipe and lines at a terminal."""
    global _format
    _format = format


def setup_logging(*, level: str = "info") -> None:
    """Configure structlog for this process: ``level`` by name, the format as it was chosen."""
    plain = not sys.stderr.isatty() if _format == "auto" else _format == "json"
    renderer: Any = structlog.processors.JSONRenderer(sort_keys=True)
    if not plain:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if plain else []),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def get_logger(room: str) -> Any:
    """Return a logger bound to ``room``, the part of the program that speaks."""
    return structlog.get_logger(room=room)


@contextmanager
def reconciling() -> Iterator[str]:
    """Give all that is logged inside one reconcile id, new in this process and told apart from other processes'."""
    number = f"{_process}-{next(_serial)}"
    with structlog.contextvars.bound_contextvars(reconcile=number):
        yield number


def reconcile_id() -> str:
    """Return the id of the pass or duty that runs now, empty outside of one."""
    return str(structlog.contextvars.get_contextvars().get("reconcile", ""))


class Voice:
    """Says once that something failed and once that it is well again.

    What fails anew within :data:`CALM` seconds of its recovery flaps: then its next recovery is only said when it has lasted
    that long, so that a log holds two lines about it and not two a second.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._bad = False
        self._well_at = float("-inf")
        self._flaps = False
        self._soon: asyncio.TimerHandle | None = None

    def failed(self, say: Callable[[], None]) -> None:
        """Take one failure; ``say`` is called if this one is news."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self.failures += 1
        if not self._bad:
            self._bad = True
            self._flaps = asyncio.get_running_loop().time() - self._well_at < CALM
            say()

    def well(self, say: Callable[[int], None]) -> None:
        """Take the news that it works; ``say`` gets the number of failures, now or when that has proven true."""
        if not self._bad or self._soon is not None:
            return
        if self._flaps:
            self._soon = asyncio.get_running_loop().call_later(CALM, self._say_well, say)
        else:
            self._say_well(say)

    def _say_well(self, say: Callable[[int], None]) -> None:
        failures, self.failures = self.failures, 0
        self._bad, self._soon = False, None
        self._well_at = asyncio.get_running_loop().time()
        say(failures)

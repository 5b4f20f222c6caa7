"""The names and the shape of our logs, in one place.

At a terminal logs are coloured lines on stderr; in a pipe they are one JSON object a line. An event is a constant text,
everything that varies is a key. Keys that look like credentials are redacted whatever their value.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRET = ("password", "passwd", "token", "secret", "authorization", "private_key", "client_key", "kubeconfig_data")
REDACTED = "[redacted]"


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every key that names a credential."""
    for key in event:
        if any(word in key.lower() for word in _SECRET):
            event[key] = REDACTED
    return event


def setup_logging(*, level: str = "info", json: bool | None = None) -> None:
    """Configure structlog for this process: ``level`` by name, ``json`` by choice (by default when stderr is a pipe)."""
    plain = not sys.stderr.isatty() if json is None else json
    renderer: Any = structlog.processors.JSONRenderer(sort_keys=True) if plain else structlog.dev.ConsoleRenderer()
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

"""Takes secrets out of text that leaves the house: those that are known word for word, and whatever looks like one.

It would rather take too much. The one confusing thing: names of files with secrets stay (``tokenFile: /etc/...``), because
where a credential is read from is what support asks first; what stands in them never does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.telemetry import REDACTED

__all__ = ["Scrub"]

_WORDS = (
    r"token|passw|secret|credential|authorization|api[_-]?key|private[_-]?key|client[_-]?key|key[_-]?data|"
    r"cert\w*[_-]?data"
)
_SECRET_KEY = re.compile(_WORDS, re.IGNORECASE)
_PLACE_KEY = re.compile(r"(file|path|dir|directory|name|ref|namespace)$", re.IGNORECASE)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]*(\.[\w-]*)?"), REDACTED),
    (re.compile(r"\b(bearer|basic)\s+[\w+/=.~-]{6,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"(://)[^/\s@\"']+@"), rf"\1{REDACTED}@"),
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), REDACTED),
    (re.compile(r"[A-Za-z0-9+/_-]{120,}={0,2}"), REDACTED),
)
_PAIR = re.compile(
    rf"(?P<key>[\"']?[\w.-]*(?:{_WORDS})[\w.-]*[\"']?)(?P<between>\s*[:=]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;}}]+)",
    re.IGNORECASE,
)
_SHORTEST = 6


class Scrub:
    """Scrubs text and plain data; ``known`` are secrets that must not appear whatever they look like."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = sorted({one for one in known if len(one) >= _SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self._known:
            text = text.replace(secret, REDACTED)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return _PAIR.sub(_pair, text)

    def data(self, value: Any, key: str = "") -> Any:
        """Return plain data without secrets: by the key it stands under, and by what it looks like."""
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.data(one, str(name)) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(one, key) for one in value]
        if isinstance(value, str):
            return REDACTED if _is_secret(key) and value else self.text(value)
        return value


def _is_secret(key: str) -> bool:
    return bool(_SECRET_KEY.search(key)) and not _PLACE_KEY.search(key)


def _pair(found: re.Match[str]) -> str:
    key = found["key"].strip("\"'")
    if not _is_secret(key) and (_PLACE_KEY.search(key) and "/" in found["value"]):
        return found[0]
    return f"{found['key']}{found['between']}{REDACTED}"

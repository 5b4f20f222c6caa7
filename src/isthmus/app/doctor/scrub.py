"""Takes secrets out of text that leaves the house: those that are known word for word, and whatever looks like one.

It would rather take too much. The one confusing thing: names of files with secrets stay (``tokenFile: /etc/...``), because
where a credential is read from is what support asks first; what stands in them never does.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from isthmus.telemetry import REDACTED

__all__ = ["Scrub"]

_WORDS = (
    r"token|pass(?:w|phrase|code)|pwd|pre[_-]?shared|cookie|secret|credential|authorization|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|client[_-]?key|key[_-]?data|cert\w*[_-]?data"
)
_SECRET_KEY = re.compile(_WORDS, re.IGNORECASE)
_PLACE_KEY = re.compile(r"(file|path|dir|directory|name|ref|namespace)$", re.IGNORECASE)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]*(\.[\w-]*)?"), REDACTED),
    (re.compile(r"\bisthmus1\.[\w.-]{8,}"), REDACTED),
    (re.compile(r"\b(gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[\w-]{10,}"), REDACTED),
    (
        re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(\s*:\s*)[^\s\"'\\][^\n\"']*", re.IGNORECASE),
        rf"\1\2{REDACTED}",
    ),
    (re.compile(r"\b(bearer|basic)\s+[\w+/=.~-]{6,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    (re.compile(r"(://)(?:[^/\s\"']{1,512}|[^/\s:@\"']{1,128}:[^\s@\"']{0,384})@"), rf"\1{REDACTED}@"),
    (re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"), REDACTED),
    (re.compile(r"[A-Za-z0-9+/_-]{120,}={0,2}"), REDACTED),
)
_PAIR = re.compile(
    rf"(?P<key>(?:{_WORDS})[\w.-]{{0,80}}\\{{0,8}}[\"']?)(?P<between>\s{{0,20}}[:=]\s{{0,20}})"
    r"(?P<value>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?P<quote>\\{1,8}[\"'])(?:(?!(?P=quote)).)*(?P=quote)|[^\s,;}}]+)",
    re.IGNORECASE,
)
"""A key, from the word on that betrays it, and its value; the quotes may be escaped, as in JSON within a text in JSON."""
_OPTION = re.compile(
    rf"(?<![\w-])(?P<key>--?[\w-]{{0,80}}(?:{_WORDS})[\w-]{{0,80}})(?P<between>\s{{1,20}})(?P<value>[^\s-]\S*)",
    re.IGNORECASE,
)
_SHORTEST = 6


class Scrub:
    """Scrubs text and plain data; ``known`` are secrets that must not appear whatever they look like."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        spelled = {spelling for one in known if len(one) >= _SHORTEST for spelling in _spellings(one)}
        self._known = sorted(spelled, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for secret in self._known:
            text = text.replace(secret, REDACTED)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return _OPTION.sub(_pair, _PAIR.sub(_pair, text))

    def data(self, value: Any, key: str = "") -> Any:
        """Return plain data without secrets: by the key it stands under, and by what it looks like."""
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.data(one, _key(str(name), key, value)) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(one, _option_before(value, at) or key) for at, one in enumerate(value)]
        if _is_secret(key) and isinstance(value, str | int | float) and not isinstance(value, bool):
            return REDACTED if value != "" else value
        return self.text(value) if isinstance(value, str) else value


def _spellings(secret: str) -> set[str]:
    """Return a secret as it may be written: plain, in base64, in a URL, in JSON."""
    raw = secret.encode(errors="surrogatepass")
    packed = {base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    return {secret, *packed, quote(secret, safe="", errors="replace"), json.dumps(secret)[1:-1]}


def _key(name: str, above: str, beside: Mapping[Any, Any]) -> str:
    """Return under which key a value counts as standing: its own, unless something around it says that it is secret."""
    if beside.get("kind") == "Secret" and name in ("data", "stringData"):
        return "secret"
    if name == "value" and isinstance(beside.get("name"), str) and _is_secret(beside["name"]):
        return str(beside["name"])
    return above if _is_secret(above) and not _PLACE_KEY.search(name) else name


def _option_before(values: Sequence[Any], at: int) -> str:
    """Return the option whose value stands at ``at`` in a list of arguments, or an empty text."""
    before = values[at - 1] if at else None
    return before if isinstance(before, str) and re.match(r"--?\w[\w-]*$", before) and _is_secret(before) else ""


def _is_secret(key: str) -> bool:
    return bool(_SECRET_KEY.search(key)) and not _PLACE_KEY.search(key)


def _pair(found: re.Match[str]) -> str:
    key = found["key"].strip("\\\"'")
    if not _is_secret(key) and (_PLACE_KEY.search(key) and "/" in found["value"]):
        return found[0]
    return f"{found['key']}{found['between']}{REDACTED}"

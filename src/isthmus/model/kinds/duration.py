"""Durations as people write them: ``40s``, ``5m``, ``1h30m``, ``250ms``, or a bare number of seconds.

Inside, a duration is a float of seconds; nothing else in the code base converts. The units are those of Go's and
Kubernetes' durations, plus ``d`` for days; a sign is refused, since nothing here waits a negative time.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from isthmus.model.kinds.wrong import Wrong

__all__ = ["PATTERN", "Duration", "format_duration", "parse_duration"]

PATTERN = r"^([0-9]+(\.[0-9]+)?(d|h|ms|m|s))+$|^[0-9]+$"
# Longer than any wait that is meant: a slip of the unit ("5000h") should be an error, not a silent never.
LONGEST = 366 * 86400.0

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_WHOLE = re.compile(PATTERN)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(d|h|ms|m|s)")


def parse_duration(value: object) -> float:
    """Return the seconds that ``value`` says: text such as ``1h30m``, or a number of seconds; raise ``Wrong``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Wrong("must be a duration", 'write it like "40s", "5m" or "1h30m"')
    if isinstance(value, str):
        text = value.strip()
        if not _WHOLE.match(text):
            raise Wrong(f'"{value}" is not a duration', 'write it like "40s", "5m" or "1h30m"')
        if text.isdigit():
            seconds = float(text)
        else:
            seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    else:
        seconds = float(value)
    if not 0 <= seconds <= LONGEST:
        raise Wrong(f"{value} is out of range", "a duration is between 0s and 366d")
    return seconds


def format_duration(seconds: float) -> str:
    """Return ``seconds`` in the largest whole units, so that ``parse_duration`` gives the same value back."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            text += f"{count}{unit}"
    return text


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": PATTERN}),
]

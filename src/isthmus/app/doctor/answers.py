"""One answer of the doctor: what was looked at, the verdict, the sentence, the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

__all__ = ["Answer", "Level", "fail", "few", "ok", "warn"]

Level: TypeAlias = Literal["ok", "warn", "fail"]
T = TypeVar("T")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """``subject`` says what was looked at (``device gw1``), ``remedy`` what to do about it; empty where all is well."""

    subject: str
    level: Level
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Answer:
    """Return that all is well."""
    return Answer(subject, "ok", text)


def warn(subject: str, text: str, remedy: str = "") -> Answer:
    """Return something that may become, or hide, trouble."""
    return Answer(subject, "warn", text, remedy)


def fail(subject: str, text: str, remedy: str = "") -> Answer:
    """Return something that loses packets, or will not work."""
    return Answer(subject, "fail", text, remedy)


def few(things: Sequence[T], tell: Callable[[T], Answer], rest: Callable[[int], Answer]) -> Iterable[Answer]:
    """Yield an answer for each of the first things, and one for all the others."""
    yield from map(tell, things[:_SHOWN])
    if len(things) > _SHOWN:
        yield rest(len(things) - _SHOWN)

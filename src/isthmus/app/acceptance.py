"""Whether what an object says counts, and if not, why and what to do: the answer that belongs into the object's own status.

Not every problem keeps an object from counting: a link with one unknown device serves the others, and a warning is only
one. The confusing thing is the third case: an object that cannot be used *any more* (it was edited into something wrong, or
another object now wants the same) still stands as it was, and the answer says both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isthmus.app.origins import Configuration
from isthmus.model.kinds import KINDS, Key
from isthmus.registry.problems import InputWarning, Problem

__all__ = ["Acceptance", "acceptances"]

_LONGEST = 4000
_STANDS = "what it said before stays in force"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whether an object counts, a CamelCase reason, and the sentence for people."""

    ok: bool
    reason: str
    message: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as plain data."""
        return {"ok": self.ok, "reason": self.reason, "message": self.message}


def acceptances(configuration: Configuration, known: Callable[[Key], bool]) -> dict[Key, Acceptance]:
    """Return the answer for every object; ``known`` are those that already work (and go on)."""
    snapshot = configuration.snapshot
    by_key: dict[Key, list[Problem]] = {}
    for problem in snapshot.problems:
        if isinstance(problem, Problem) and problem.key is not None and problem.key not in configuration.refused:
            by_key.setdefault(problem.key, []).append(problem)
    keys = snapshot.objects.keys() | {key for key in by_key if key[0] in KINDS}
    return {key: _one(key, by_key.get(key, []), configuration, known=known(key)) for key in sorted(keys)}


def refused(problem: Problem) -> Acceptance:
    """Return the answer for an object of a home cluster that a file says, too."""
    return Acceptance(False, "DuplicateOrigin", f"{problem.reason}; {problem.remedy}")


def said(problems: list[Problem]) -> str:
    """Return what is wrong as one text, each with its place and the way out."""
    return "; ".join(str(problem) for problem in problems)[:_LONGEST]


def _one(key: Key, problems: list[Problem], configuration: Configuration, *, known: bool) -> Acceptance:
    wrong = [problem for problem in problems if not isinstance(problem, InputWarning)]
    snapshot = configuration.snapshot
    if key in configuration.broken or key not in snapshot.objects:
        return Acceptance(False, "Invalid", said(wrong) + (f"; {_STANDS}" if key in snapshot.objects else ""))
    if key in snapshot.unusable:
        return Acceptance(False, "Unusable", said(wrong) + (f"; {_STANDS}" if known else ""))
    if wrong:
        return Acceptance(True, "WithProblems", said(wrong))
    if problems:
        return Acceptance(True, "WithWarnings", said(problems))
    return Acceptance(True, "Accepted")

"""Carry out the scripts of many changes together: phase by phase, like rows in one request, each change for itself.

A change whose step is refused goes no further, the others do. What was refused because it exists already, or because a part
of it was not there any more, is not judged here: whoever asked looks again and compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from isthmus.drivers.base import Result as Ending
from isthmus.drivers.netscaler.nitro import Meaning, Nitro, NitroError, Result, Row
from isthmus.drivers.netscaler.steps import Op, Step

__all__ = ["Course", "carry_out"]


@dataclass(slots=True)
class Course:
    """How one change goes: its steps, and how it ended. ``look`` says that only another look can tell."""

    steps: list[Step]
    ending: Ending = "done"
    reason: str = ""
    look: bool = False
    wrote: list[tuple[str, int | None]] = field(default_factory=list)
    """Of each step that was sent: its kind, and how many objects more there are for it; none where nobody knows."""

    @property
    def goes_on(self) -> bool:
        return self.ending == "done" and not self.look

    def end(self, ending: Ending, reason: str) -> None:
        self.ending, self.reason = ending, reason


async def carry_out(nitro: Nitro, courses: Sequence[Course], may_write: Callable[[], None]) -> None:
    """Do the steps of ``courses``; ``may_write`` raises where nothing may be sent any more."""
    phases = sorted({step.phase for course in courses for step in course.steps})
    for phase in phases:
        batches: dict[tuple[Op, str], list[tuple[Course, Step]]] = {}
        for course in courses:
            if course.goes_on:
                for step in course.steps:
                    if step.phase == phase:
                        batches.setdefault((step.op, step.kind), []).append((course, step))
        for (op, kind), batch in batches.items():
            live = [(course, step) for course, step in batch if course.goes_on]
            await _send(nitro, op, kind, live, may_write)


async def _send(
    nitro: Nitro, op: Op, kind: str, batch: Sequence[tuple[Course, Step]], may_write: Callable[[], None]
) -> None:
    if not batch:
        return
    may_write()
    if op == "apply":
        [result] = await _request(nitro, op, kind, [{}])
        results = [result] * len(batch)
    else:
        results = await _request(nitro, op, kind, [step.row for _, step in batch])
    again: list[tuple[Course, Step]] = []
    for (course, step), result in zip(batch, results, strict=True):
        course.wrote.append((kind, _more(op, result)))
        if step.instead is not None and result.error is not None and result.error.meaning not in _NO_REFUSAL:
            again.append((course, step.instead))
        else:
            _judge(course, step, result)
    for then in dict.fromkeys((step.op, step.kind) for _, step in again):
        await _send(nitro, *then, [one for one in again if (one[1].op, one[1].kind) == then], may_write)


def _more(op: Op, result: Result) -> int | None:
    if result.unknown:
        return None
    if result.error is not None:
        return 0
    return {"add": 1, "bind": 1, "remove": -1}.get(op, 0)


async def _request(nitro: Nitro, op: Op, kind: str, rows: list[Row]) -> list[Result]:
    match op:
        case "add":
            return await nitro.add(kind, rows)
        case "put":
            return await nitro.add(kind, rows, idempotent=True)
        case "bind":
            return await nitro.bind(kind, rows)
        case "update":
            return await nitro.update(kind, rows)
        case "remove":
            return await nitro.remove(kind, rows)
    return await nitro.act(kind, op, rows)


_LATER = (Meaning.BUSY, Meaning.UNAVAILABLE, Meaning.SESSION, Meaning.SECONDARY)
_NO_REFUSAL = (Meaning.MISSING, *_LATER)


def _judge(course: Course, step: Step, result: Result) -> None:
    if result.done:
        return
    if result.unknown:
        course.end("unknown", result.why or "no answer")
        return
    error = result.error
    assert isinstance(error, NitroError), "a result that is neither done nor unknown has an error"
    if step.op == "remove" and error.meaning in (Meaning.MISSING, Meaning.EXISTS):
        return
    if error.meaning in _LATER:
        course.end("unknown", str(error))
        return
    if step.op == "remove" and step.kind in ("nsip", "nsip6") and error.meaning is Meaning.IN_USE:
        # Somebody has come to use it: it stays, and another look tells whose it is now.
        if not step.spared:
            course.look, course.reason = True, str(error)
        return
    if error.meaning is Meaning.EXISTS or (step.op != "add" and error.meaning is Meaning.MISSING):
        course.look, course.reason = True, str(error)
        return
    course.end("refused", str(error))

"""Several items in one request: stop at the first that fails, go on, or take everything back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isthmus.lab.nitro.answers import DONE, Answer, Refusal
from isthmus.lab.nitro.running import Running

Json = dict[str, Any]
Step = Callable[[], object]

MODES = ("exit", "continue", "rollback")


def run(
    running: Running,
    steps: Sequence[Step],
    on_error: str,
    refused: Callable[[int], Refusal | None],
    *,
    status: int,
) -> Answer:
    """Do ``steps`` and return the answer: ``status`` if all went well, 207 with a response for each item tried if not."""
    responses: list[Json] = []
    first: Refusal | None = None

    def each() -> None:
        nonlocal first
        for index, step in enumerate(steps):
            try:
                with running.attempt():
                    if (refusal := refused(index)) is not None:
                        raise refusal
                    step()
                responses.append(dict(DONE))
            except Refusal as refusal:
                first = first or refusal
                responses.append(refusal.body())
                if on_error != "continue":
                    break
        if first is not None and on_error == "rollback":
            raise first

    try:
        with running.attempt():
            each()
    except Refusal:
        taken_back = Refusal(1241).body()
        responses = [taken_back if response["errorcode"] == 0 else response for response in responses]
    if first is None:
        return Answer(status)
    failed = Refusal(1243)
    return Answer(207, {**failed.body(), "response": responses})

"""Durations on the command line, spelled as in the user's objects: 40s, 5m, 1h30m, 90d."""

from __future__ import annotations

import click

from isthmus.model.kinds.duration import parse_duration
from isthmus.model.kinds.wrong import Wrong


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except Wrong as wrong:
            self.fail(f"{wrong.reason} ({wrong.remedy})" if wrong.remedy else wrong.reason, param, ctx)


DURATION = _Duration()

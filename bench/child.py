"""Run one bench in this process and leave its rows in a file: ``python -m bench.child NAME FILE``."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from pathlib import Path

import msgspec
import structlog

from bench.cases import CASES


def main(name: str, answer: str) -> None:
    """Run the bench called ``name``."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    module = importlib.import_module(f"bench.cases.{CASES[name].module}")
    rows = asyncio.run(module.measure())
    Path(answer).write_bytes(msgspec.json.encode(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])

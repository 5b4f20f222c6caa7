"""The page about the device says what its codes mean to us."""

from __future__ import annotations

import re

from docs.pages import ROOT
from isthmus.drivers.netscaler.nitro.errors import MEANINGS


def test_every_code_is_documented() -> None:
    """The table in docs/devices/netscaler.md holds each code that we act on, under its meaning, and no other."""
    text = (ROOT / "docs" / "devices" / "netscaler.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z-]+) \| ([0-9, ]+) \|", text, re.MULTILINE)
    said = {int(code): meaning for meaning, codes in rows for code in codes.split(",")}
    assert said == {code: meaning.value for code, meaning in MEANINGS.items()}
